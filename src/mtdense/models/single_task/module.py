"""The single-task baseline as a LightningModule."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from mtdense.core.errors import ConfigError
from mtdense.models.mtl_baseline import MTLBaseline

__all__ = ["SingleTask"]


class SingleTask(MTLBaseline):
    """The MTL baseline's network with exactly one task: the reference of Δm.

    Args:
        preset: `paper` (width 512), `small` (128) or `tiny` (16, for tests).
        kwargs: See `DenseModule`.

    Raises:
        ConfigError: More than one task.
    """

    method: ClassVar[str] = "single_task"

    def __init__(self, preset: Literal["paper", "small", "tiny"] = "paper", **kwargs: Any) -> None:
        super().__init__(preset=preset, **kwargs)
        if len(self.tasks) != 1:
            raise ConfigError(
                f"a single-task network with the tasks {', '.join(self.tasks)}",
                "name one task in `data.tasks`, or use MTLBaseline.",
            )
