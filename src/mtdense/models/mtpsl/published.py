"""MTPSL's official checkpoints in our names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from mtdense.core.errors import CheckpointError
from mtdense.data.nyud.mtan import MTAN_NORMALS_AXES
from mtdense.models.layers.published_code import PublishedCode
from mtdense.models.layers.published_names import (
    Source,
    Sources,
    collect,
    layer_sources,
    norm_sources,
)
from mtdense.models.layers.segnet import SEGNET_UNITS, SegNetNetwork
from mtdense.models.mtl_baseline import SharedEncoderNetwork
from mtdense.models.mtpsl.network import MTPSLNetwork

__all__ = ["PUBLISHED", "from_official", "official_sources"]

_TASKS = ["semseg", "depth", "normals"]
# The mapping network lies beside the network in the file; its class holds another one of the same name.
_MAPPER = "mapfns.mapfns"
# Weights of losses that are learnt and not used, and statistics that the mapping network never reads.
_NOT_READ = re.compile(r"logsigma|mapfns\..*\.(running_mean|running_var|num_batches_tracked)")


def from_official(
    network: MTPSLNetwork | SegNetNetwork | SharedEncoderNetwork, state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Our state dict from one of the official code (class `SegNet` of MTPSL's `segnet_mtl`, and `Mapfns`).

    Args:
        network: MTPSL on SegNet, or SegNet alone (the MTL baseline's) for a file without a mapping network; with the
            tasks semseg, depth, normals, in this order; Cityscapes has the first two.
        state: The official state dict, with or without `module.` before the names; that of `Mapfns` with `mapfns.`.

    Raises:
        CheckpointError: The network is another, or a tensor is missing, left over, or of another shape.
    """
    sources = official_sources(network)
    given = {re.sub(r"^(mapfns\.)?module\.", r"\1", key): value for key, value in state.items()}
    # FiLM's have a column for each pair there, a row here.
    given = {
        key: value.T if key.endswith((".gamma", ".beta")) else value
        for key, value in given.items()
        if not _NOT_READ.fullmatch(key)
    }
    mapped = any(key.startswith(f"{_MAPPER}.") for key in given)
    if mapped != isinstance(network, MTPSLNetwork):
        told = "has" if mapped else "has no"
        raise CheckpointError(
            f"the file {told} mapping network (`mapfns`), which MTPSL trains with and the MTL baseline has not",
            f"import it into an experiment of {'mtpsl' if mapped else 'mtl_baseline'} on SegNet: "
            f"`--config nyud_mtan/one-label/{'mtpsl' if mapped else 'mtl_baseline'}-segnet.yaml`.",
        )
    return collect(network.state_dict(), given, sources)


def official_sources(network: MTPSLNetwork | SegNetNetwork | SharedEncoderNetwork) -> Sources:
    """Where everything comes from.

    Raises:
        CheckpointError: The official code has no such network, or the tasks are others.
    """
    main, own = (network.main, "main.") if isinstance(network, MTPSLNetwork) else (network, "")
    if not isinstance(main, SegNetNetwork):
        raise CheckpointError("the official code has no such network", "use `backbone: segnet`.")
    tasks = list(main.heads)
    if tasks != _TASKS[: len(tasks)]:
        raise CheckpointError(
            f"the tasks are {', '.join(tasks)}; the official code has {', '.join(_TASKS)}",
            "name them in its order: `--data.tasks '[semseg, depth, normals]'`.",
        )
    sources: Sources = {}
    stages = len(SEGNET_UNITS)
    for i, units in enumerate(SEGNET_UNITS):
        for unit in range(units):
            for part, stage in (("encoder", i), ("decoder", stages - 1 - i)):
                name = _unit_name(i, unit, units, f"{part}_block", f"conv_block_{part[:3]}")
                sources |= layer_sources(f"{own}backbone.{part}.{stage}.{3 * unit}", [f"{name}.0"])
                sources |= norm_sources(f"{own}backbone.{part}.{stage}.{3 * unit + 1}", [f"{name}.1"])
    for number, task in enumerate(tasks, 1):
        for i in (0, 1):
            sources |= layer_sources(f"{own}heads.{task}.{i}", [f"pred_task{number}.{i}"])
    if isinstance(network, MTPSLNetwork):
        sources |= _mapper(tasks)
    return sources


def _mapper(tasks: list[str]) -> Iterator[tuple[str, Source]]:
    for i, task in enumerate(tasks):
        stem = f"{_MAPPER}.pred_encoder_source.{i}"
        yield from layer_sources(f"mapper.stems.{task}.conv", [f"{stem}.0"])
        yield from layer_sources(f"mapper.stems.{task}", [f"{stem}.1"])
    for i, units in enumerate(SEGNET_UNITS):
        for unit in range(units):
            own = f"mapper.stages.{i}.{unit}"
            name = f"{_MAPPER}.{_unit_name(i, unit, units, 'encoder_block', 'conv_block_enc')}"
            yield from layer_sources(f"{own}.conv", [f"{name}.conv"])
            yield from layer_sources(own, [f"{name}.bn"])
            for kind in ("gamma", "beta"):
                yield f"{own}.{kind}", Source((f"{name}.{kind}",))


def _unit_name(stage: int, unit: int, units: int, first: str, others: str) -> str:
    """Public name of a convolution with its norm: two further ones of a stage lie in a sequence of their own."""
    if unit == 0:
        return f"{first}.{stage}"
    return f"{others}.{stage}" if units == 2 else f"{others}.{stage}.{unit - 1}"


PUBLISHED = PublishedCode(
    from_official,
    heads=("main.heads.{task}|heads.{task}",),
    methods=("mtpsl", "mtl_baseline"),
    normalised=False,
    normals_axes=MTAN_NORMALS_AXES,
    beside=("mapfns",),
)
