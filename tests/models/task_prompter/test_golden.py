"""TaskPrompter against its public code, and its published counts.

The values are those of github.com/prismformore/Multi-Task-Transformer, commit
870c6be100b95d44ffa0a9591775dd3faa2d5664, folder TaskPrompter, in double precision on two images of 96x192 (Swin) and
64x128 (ViT): every tensor filled by `manifest.formula` of its public name, no stochastic depth, plain batch norms. The
loss is the mean square of each output at the size of the images; of 3-D detection, of each of the four maps that its
head reads.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.backbones import Swin, VisionTransformer, create_backbone
from mtdense.core.errors import CheckpointError
from mtdense.models.task_prompter import PromptOptions, SwinPrompting, TaskPrompterNetwork, ViTPrompting
from mtdense.models.task_prompter.published import from_official, official_sources
from tests.models.bridgenet.manifest import formula, image, pick

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
PUBLIC = {"edges": "edge", "detection_3d": "3ddet"}


def swin() -> TaskPrompterNetwork:
    small = {
        "embed_dim": 16,
        "depths": [2, 2, 3, 2],
        "num_heads": [1, 2, 4, 4],
        "window_size": 2,
        "drop_path_rate": 0.0,
    }
    backbone = create_backbone("swin_base_patch4_window12_384", output_norm="last", overrides=small)
    options = PromptOptions(channel_attention="pixels", channel_width=16, unused_parts=True)
    assert isinstance(backbone, Swin)
    prompting = SwinPrompting(backbone, 3, options, (96, 192))
    return TaskPrompterNetwork(prompting, {"semseg": 5, "depth": 1}, {"detection_3d": nn.Identity()}, 12, 20)


def vit(heads: int, cross_task: bool) -> TaskPrompterNetwork:
    small = {"embed_dim": 32, "depth": 4, "num_heads": 4, "drop_path_rate": 0.0}
    backbone = create_backbone("vit_base", img_size=(64, 128), class_token=False, overrides=small)
    options = PromptOptions(
        channel_attention="pixels", channel_heads=heads, channel_output="discarded", unused_parts=True
    )
    assert isinstance(backbone, VisionTransformer)
    outputs = {"semseg": 5, "depth": 1, "normals": 3, "edges": 1}
    return TaskPrompterNetwork(ViTPrompting(backbone, 4, options, cross_task), outputs, {}, 12, 20, None, cross_task)


def public_names(network: TaskPrompterNetwork) -> dict[str, str]:
    """{our name: the public code's}."""
    return {key: source.names[0] for key, source in official_sources(network).items()}


def public_state(network: TaskPrompterNetwork) -> dict[str, Tensor]:
    own, state = network.state_dict(), {}
    for key, name in public_names(network).items():
        rows = list(own[key].shape)
        if name == "backbone.pos_embed":
            rows[1] += 1
        state[name] = formula(name, tuple(rows))
    return state


@pytest.mark.parametrize("name", ["swin", "vit_cross_task", "vit"])
def test_public_code(name: str) -> None:
    network = swin() if name == "swin" else vit(*((4, True) if "cross" in name else (1, False)))
    network.double()
    network.load_state_dict(from_official(network, public_state(network)))
    public = public_names(network)
    size = (96, 192) if name == "swin" else (64, 128)
    for mode in ("eval", "train"):
        golden: dict[str, Any] = GOLDEN[name][mode]
        network.train(mode == "train")
        network.zero_grad()
        outputs = network(image(2, *size)).final
        assert {PUBLIC.get(task, task) for task in outputs} == set(golden["final"])
        losses = []
        for task, logits in outputs.items():
            wanted = torch.tensor(golden["final"][PUBLIC.get(task, task)], dtype=torch.float64)
            maps = logits if task == "detection_3d" else [F.interpolate(logits, size, mode="bilinear")]
            torch.testing.assert_close(torch.stack([pick(x) for x in maps]), wanted.view(len(maps), 8))
            losses += [x.square().mean() for x in maps]
        torch.stack(losses).sum().backward()
        for part, norm in golden["gradients"].items():
            grads = [p.grad for key, p in network.named_parameters() if part in public[key] and p.grad is not None]
            assert torch.stack([g.square().sum() for g in grads]).sum().sqrt().item() == pytest.approx(norm, rel=1e-6)


def test_checkpoints_that_do_not_fit() -> None:
    network = vit(1, False)
    state = public_state(network)
    lacking = {key: value for key, value in state.items() if "task_prompts" not in key}
    with pytest.raises(CheckpointError, match=r"lacks backbone\.task_prompts"):
        from_official(network, lacking)
    with pytest.raises(CheckpointError, match="has extra too many"):
        from_official(network, {**state, "extra": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"heads\.depth\.linear_pred\.bias is \(2,\)"):
        from_official(network, {**state, "heads.depth.linear_pred.bias": torch.zeros(2)})
