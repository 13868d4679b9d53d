"""TaskPrompter's official checkpoints in our names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from mtdense.models.layers.detection_head import DetectionBranch
from mtdense.models.layers.published_code import PublishedCode, require_options
from mtdense.models.layers.published_names import (
    PUBLISHED_TASKS,
    Source,
    Sources,
    bare_names,
    check_task_order,
    collect,
    layer_sources,
)
from mtdense.models.task_prompter.network import TaskPrompterNetwork
from mtdense.models.task_prompter.swin_prompting import SwinPrompting

if TYPE_CHECKING:
    from mtdense.models.base import DenseModule

__all__ = ["PUBLISHED", "from_official", "official_sources"]

_CHANNEL = {
    "reduce": "token_trans",
    "query": "chan_q",
    "key_value": "chan_kv",
    "project": "chan_proj",
    "expand": "token_trans1",
}
_CARRIER = {"prompts": "task_prompts_up", "channel": "process_chan_attn", "spatial": "spa_attn_ds"}
# What the published code keeps and timm computes.
_BUFFERS = ("relative_position_index", "attn_mask")
# Groups of outputs of its detection head, in the order of its lists, and those with a factor for each level.
_BOX_GROUPS = ("offset", "depth", "size", "rotation", "box")
_FACTORS = ("offset", "depth", "size", "box")
_OTHER_GROUPS = {"classes": "cls", "direction": "dir_cls", "centerness": "centerness"}


def from_official(network: TaskPrompterNetwork, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict from one of the official code (class `TaskPrompterWrapper` of Multi-Task-Transformer).

    Args:
        network: Built like the official network: with `channel_attention: pixels`, its `input_size`, `unused_parts`,
            and the tasks in its order: semseg, depth, human_parts, saliency, normals, edges, detection_3d.
        state: The official state dict, with or without `module.` before the names.

    Raises:
        CheckpointError: The network is another, or a tensor is missing, left over, or of another shape.
    """
    given = {key: value for key, value in bare_names(state).items() if not key.endswith(_BUFFERS)}
    table = given.get("backbone.pos_embed")
    if table is not None:
        # The first place is a class token's, which the code never reads.
        given["backbone.pos_embed"] = table[:, 1:]
    return collect(network.state_dict(), given, official_sources(network))


def official_sources(network: TaskPrompterNetwork) -> Sources:
    """Where everything comes from.

    Raises:
        CheckpointError: The tasks stand in another order.
    """
    check_task_order(network.tasks)
    sources: Sources = {}
    for key in network.state_dict():
        if not key.startswith("branches."):
            sources[key] = Source((_with_last_layer(network, key, _public_name(key)),))
    for task, branch in network.branches.items():
        if isinstance(branch, DetectionBranch):
            sources |= _detection(f"branches.{task}", f"heads.{PUBLISHED_TASKS[task]}", branch)
    return sources


def _with_last_layer(network: TaskPrompterNetwork, key: str, public: str) -> str:
    """The last layer of a head is not one of its sequence in the official code."""
    found = re.fullmatch(r"(heads\.\w+)\.mt_proj\.(\d+)\.(\w+)", public)
    if found and int(found[2]) == len(cast(nn.Sequential, network.heads[key.split(".")[1]])) - 1:
        return f"{found[1]}.linear_pred.{found[3]}"
    return public


def _public_name(key: str) -> str:
    key = key.removeprefix("prompting.")
    if key == "prompts":
        return "backbone.task_prompts"
    if found := re.fullmatch(r"backbone\.network\.layers\.(\d+)\.downsample\.(.*)", key):
        # The original merges at the end of a stage, timm at the beginning of the next.
        return f"backbone.layers.{int(found[1]) - 1}.downsample.{found[2]}"
    if key.startswith("backbone.network."):
        return key.replace("backbone.network.", "backbone.", 1)
    if found := re.fullmatch(r"channel\.(\d+)\.(\d+)\.(\w+)\.(\w+)", key):
        return f"backbone.layers.{found[1]}.blocks.{found[2]}.{_CHANNEL[found[3]]}.{found[4]}"
    if found := re.fullmatch(r"channel\.(\d+)\.(\w+)\.(\w+)", key):
        name = {"query": "token_trans", "expand": "token_trans1"}[found[2]]
        return f"backbone.blocks.{found[1]}.attn.{name}.{found[3]}"
    if found := re.fullmatch(r"carriers\.(\d+)\.(\w+)\.(\w+)", key):
        return f"backbone.layers.{found[1]}.downsample.{_CARRIER[found[2]]}.{found[3]}"
    return _public_decoder_name(key)


def _public_decoder_name(key: str) -> str:
    part, *rest = key.split(".")
    task = rest[0] if part in ("merge", "heads") else rest[1]
    task = PUBLISHED_TASKS.get(task, task)
    if part == "merge":
        return f"backbone.multi_scale_fuse.{task}.{rest[1]}"
    if part == "cross_task":
        return f"backbone.ctr_attn_conv.{rest[0]}.{task}.{'.'.join(rest[3:])}"
    if part == "decoders":
        branch = {"spatial": "fea_decode_spa", "channel": "fea_decode_chan", "fuse": "fea_fuse"}[rest[2]]
        inner = rest[3:] if rest[2] == "fuse" else ["0", *rest[3:]]
        return f"backbone.{branch}.{rest[0]}.{task}.{'.'.join(inner)}"
    assert part == "heads"
    return f"heads.{task}.mt_proj.{rest[1]}.{rest[2]}"


def _detection(own: str, public: str, branch: DetectionBranch) -> Iterator[tuple[str, Source]]:
    """The pyramid (`FPN`) and the head (`FCOS3DHead`)."""
    pyramid, head = branch.pyramid, branch.head
    for i in range(len(pyramid.laterals)):
        yield from layer_sources(f"{own}.pyramid.laterals.{i}", [f"{public}.neck.lateral_convs.{i}.conv"])
        yield from layer_sources(f"{own}.pyramid.outputs.{i}", [f"{public}.neck.fpn_convs.{i}.conv"])
    for i in range(len(pyramid.extra)):
        name = f"{public}.neck.fpn_convs.{len(pyramid.outputs) + i}.conv"
        yield from layer_sources(f"{own}.pyramid.extra.{i}", [name])
    for tower, name in (("class_tower", "cls_convs"), ("box_tower", "reg_convs")):
        units = cast(nn.Sequential, getattr(head, tower))
        for i, unit in enumerate(units):
            yield from _unit(f"{own}.head.{tower}.{i}", f"{public}.{name}.{i}")
            if hasattr(cast(nn.Sequential, unit)[0], "offset"):
                yield from layer_sources(f"{own}.head.{tower}.{i}.0.offset", [f"{public}.{name}.{i}.conv.conv_offset"])
    for group, layers in head.branches.items():
        if group in _BOX_GROUPS:
            place = _BOX_GROUPS.index(group)
            before, last = f"{public}.conv_reg_prevs.{place}", f"{public}.conv_regs.{place}"
        else:
            before, last = f"{public}.conv_{_OTHER_GROUPS[group]}_prev", f"{public}.conv_{_OTHER_GROUPS[group]}"
        hidden = len(cast(nn.Sequential, layers)) - 1
        for i in range(hidden):
            yield from _unit(f"{own}.head.branches.{group}.{i}", f"{before}.{i}")
        yield from layer_sources(f"{own}.head.branches.{group}.{hidden}", [last])
    for place, group in enumerate(_FACTORS):
        levels = head.factors[group].shape[0]
        yield f"{own}.head.factors.{group}", Source(tuple(f"{public}.scales.{i}.{place}.scale" for i in range(levels)))


def _unit(own: str, public: str) -> Iterator[tuple[str, Source]]:
    """Convolution and group norm."""
    yield from layer_sources(f"{own}.0", [f"{public}.conv"])
    yield from layer_sources(f"{own}.1", [f"{public}.gn"])


def _check(model: DenseModule) -> None:
    pyramid = isinstance(cast(TaskPrompterNetwork, model.network).prompting, SwinPrompting)
    output = "used" if pyramid else "discarded"
    require_options(model.hparams, {"attention_maps": "raw", "channel_output": output}, "`--model`")
    boxes = model.tasks.get("detection_3d")
    if boxes is not None:
        needed = {
            **{"angle_coding": "taskprompter", "direction_offset": None, "cell_points": "taskprompter"},
            **{"box_relu": True, "base_depth": 1.0, "base_size": [1.0, 1.0, 1.0]},
        }
        require_options(boxes.spec, needed, "`data.task_options.detection_3d`")


PUBLISHED = PublishedCode(from_official, heads=("heads.{task}",), check=_check)
