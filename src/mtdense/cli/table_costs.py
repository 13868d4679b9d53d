"""Networks of the rows of printed tables, built for counting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtdense.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from data_modules import DenseDataModule
    from mtdense.models import DenseModule
    from mtdense.reports.paper_tables.structure import Block, Row

__all__ = ["build_row", "row_costs"]


def build_row(
    block: Block, row: Row, task: str | None = None, *, counting: bool = False
) -> tuple[DenseModule, DenseDataModule]:
    """Model and data module of a row, without weights or a run; of the data nothing is read.

    Args:
        block: The row's block.
        row: A row with an experiment.
        task: The one task of a network of a `single_task` row.
        counting: With what the row's costs are counted with.

    Raises:
        ConfigError: The suite lacks the row's method, or its configuration is at fault.
    """
    from mtdense.cli.building import build_experiment
    from mtdense.cli.configs import config_file, merge
    from mtdense.reports.paper_tables.structure import row_overrides

    if row.experiment is None:
        raise ConfigError(f"the row {row.id} has no experiment: {row.missing}", "choose another row.")
    overrides = row_overrides(block, row, task)
    if counting and row.costs is not None:
        overrides = merge(overrides, row.costs.overrides)
    with config_file(overrides) as path:
        return build_experiment([row.experiment, str(path)])


def row_costs(row: Row, block: Block, device: torch.device | None = None) -> dict[str, float]:
    """`mtdense.reports.paper_tables.costs.measure_costs` with the networks of the command line.

    Args:
        row: A row with an experiment.
        block: Its block, which has costs.
        device: Where latency and memory are measured; None: they are not.
    """
    from mtdense.reports.paper_tables.costs import measure_costs

    return measure_costs(row, block, lambda b, r, task: build_row(b, r, task, counting=True)[0], device)
