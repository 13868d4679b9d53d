"""TaskPrompter's official checkpoints in our names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

from mtdense.core.errors import CheckpointError
from mtdense.models.layers.published_names import PUBLISHED_TASKS
from mtdense.models.task_prompter.network import TaskPrompterNetwork

__all__ = ["from_official", "public_names"]

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


def from_official(network: TaskPrompterNetwork, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict from one of the official code (class `TaskPrompterWrapper` of Multi-Task-Transformer).

    Its detection head has no counterpart here tensor by tensor (`branches` stays out of the result and its tensors out
    of the state's check).

    Args:
        network: Built like the official network: with `channel_attention: pixels`, its `input_size`, `unused_parts`,
            and the tasks in its order.
        state: The official state dict, with or without `module.` before the names.

    Raises:
        CheckpointError: A tensor is missing, left over, or of another shape.
    """
    given = {key.removeprefix("module."): value for key, value in state.items()}
    own = network.state_dict()
    found: dict[str, Tensor] = {}
    for key, public in public_names(network).items():
        if public not in given:
            raise CheckpointError(
                f"the checkpoint has no '{public}', which '{key}' comes from",
                "build the network as its recipe says, with `unused_parts: true`.",
            )
        value = given.pop(public)
        if public == "backbone.pos_embed":
            # The first place is a class token's, which the code never reads.
            value = value[:, 1:]
        if value.shape != own[key].shape:
            raise CheckpointError(
                f"'{public}' is {tuple(value.shape)} in the checkpoint and {tuple(own[key].shape)} here",
                "build the network as its recipe says; `channel_attention: pixels` knows one input size only.",
            )
        found[key] = value
    left = [key for key in given if not key.endswith(_BUFFERS) and not key.startswith("heads.3ddet.")]
    if left:
        raise CheckpointError(f"{len(left)} tensors have no place, such as '{left[0]}'", "use the network's own file.")
    return found


def public_names(network: TaskPrompterNetwork) -> dict[str, str]:
    """{our name of a tensor: the official code's}, the detection head left out."""
    names = {key: _public_name(key) for key in network.state_dict() if not key.startswith("branches.")}
    for key, public in names.items():
        if found := re.fullmatch(r"(heads\.\w+)\.mt_proj\.(\d+)\.(\w+)", public):
            last = len(cast(nn.Sequential, network.heads[key.split(".")[1]])) - 1
            if int(found[2]) == last:
                names[key] = f"{found[1]}.linear_pred.{found[3]}"
    return names


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
    task = {**PUBLISHED_TASKS, "detection_3d": "3ddet"}.get(task, task)
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
