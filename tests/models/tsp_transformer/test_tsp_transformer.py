"""TSP-Transformer: what every architecture must do, its prompts, its counts, values of its public code.

The public code is github.com/tb2-sy/TSP-Transformer, commit 9479b495af398b4d7160f4e9255e29fd9097605c; it was run as
InvPT's, on which it is built: see `tests/models/bridgenet/test_golden.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mtdense.backbones import VisionTransformer, create_backbone
from mtdense.cli.configs import merged_configs
from mtdense.cli.weights import SOURCES
from mtdense.core.errors import CheckpointError, ConfigError
from mtdense.data.nyud.atrc_writer import write_atrc_replica
from mtdense.models import InvPT, TSPTransformer
from mtdense.models.imported import ARCHITECTURES, public_code
from mtdense.models.invpt import InvPTNetwork
from mtdense.models.tsp_transformer import TSPNetwork
from mtdense.models.tsp_transformer.network import PromptPlan
from mtdense.models.tsp_transformer.published import from_official
from mtdense.reports.profile import full_macs, image_batch
from tests.conftest import CONF
from tests.models.architecture_tester import ArchitectureTester
from tests.models.bridgenet.golden_checks import SIZE, check_golden
from tests.models.bridgenet.manifest import formula, read_manifest
from tests.models.bridgenet.test_bridgenet import check_gradients
from tests.models.helpers import SPECS, make_batch
from tests.models.invpt.test_invpt import DATA, GROUPS, HERE
from tests.whole_run import Main, whole_run

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
VIT = {"embed_dim": 16, "depth": 4, "num_heads": 2}
OUTPUTS = {"semseg": 5, "depth": 1, "normals": 3, "edges": 1}


def build(specs: dict[str, dict[str, Any]] = SPECS, **options: Any) -> TSPTransformer:
    torch.manual_seed(0)
    small = {"backbone": "vit_base", "backbone_options": {"overrides": VIT}, "input_size": [32, 40], "preset": "tiny"}
    return TSPTransformer(tasks=specs, **{**small, **options})


class TestTSPTransformer(ArchitectureTester):
    module_class = TSPTransformer

    def build(self, **kwargs: Any) -> TSPTransformer:
        return build(**kwargs)

    def test_every_parameter_gets_a_gradient(self) -> None:
        check_gradients(self.build())


# ---- the public code -------------------------------------------------------------------------------------------------
def small_network(plan: PromptPlan) -> TSPNetwork:
    backbone = create_backbone("vit_base", img_size=SIZE, overrides={"depth": 4, "embed_dim": 32, "num_heads": 2})
    assert isinstance(backbone, VisionTransformer)
    return TSPNetwork(backbone, OUTPUTS, 20, 32, (24, 12, 6), plan, unused_parts=True).double()


def public_state() -> dict[str, Tensor]:
    shapes = read_manifest(HERE / "golden_vit.txt")
    shapes |= {f"backbone.{letter}Prompt_Tokens": (2, 5, 32) for letter in "SDNE"}
    return {name: formula(name, shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("share_blocks", [True, False])
@pytest.mark.parametrize("placement", ["late", "early"])
def test_public_code(placement: Any, share_blocks: bool) -> None:
    network = small_network(PromptPlan(placement=placement, share_blocks=share_blocks))
    network.load_state_dict(from_official(network, public_state()))
    check_golden(network, GOLDEN[placement], {**GROUPS, "Prompt_Tokens": ("prompts.",)})


def test_checkpoints_that_do_not_fit() -> None:
    network, state = small_network(PromptPlan()), public_state()
    with pytest.raises(CheckpointError, match=r"lacks backbone\.DPrompt_Tokens, the prompts of depth"):
        from_official(network, {key: value for key, value in state.items() if "DPrompt" not in key})
    with pytest.raises(CheckpointError, match=r"SPrompt_Tokens|prompts\.semseg is \(3, 5, 32\)"):
        from_official(network, {**state, "backbone.SPrompt_Tokens": torch.zeros(3, 5, 32)})


@pytest.mark.parametrize(
    ("data", "blocks", "total"),
    [("nyud_atrc", range(12, 24), 402_338_648), ("pascal_context", range(12), 423_237_010)],
)
def test_rows(data: str, blocks: range, total: int) -> None:
    """The shipped rows are the public code's: its recipe, and its counts to the digit."""
    name = f"{data}/full/tsp_transformer-vit_large.yaml"
    merged = merged_configs([name, f"{data}/full/tsp_transformer-recipe_release.yaml"])
    options, trainer = merged["model"]["init_args"], merged["trainer"]
    assert (options["lr"], options["weight_decay"], options["prompt_std"]) == (2e-5, 1e-6, 0.0)
    assert (trainer["max_steps"], trainer["sync_batchnorm"], trainer.get("gradient_clip_val")) == (40_000, True, None)
    plain = merged_configs([name])
    assert plain["data"]["init_args"]["batch_size"] == merged["data"]["init_args"]["batch_size"] * trainer["devices"]
    specs = DATA["nyud" if data == "nyud_atrc" else "pascal"][0]
    with torch.device("meta"):
        network = TSPTransformer(tasks=specs, **{**options, "pretrained": False}).network
    assert sum(p.numel() for p in network.parameters()) == total
    # 12 x 5 x 1024 numbers a task; everything else is InvPT's.
    assert [p.shape for p in network.prompts.values()] == [(12, 5, 1024)] * len(specs)
    assert round(total / 1e6 - 0.06144 * len(specs), 2) == {"nyud_atrc": 402.09, "pascal_context": 422.93}[data]
    assert network.prompted == blocks and not network.plan.share_blocks


def test_cost_of_running_the_backbone_per_task() -> None:
    """On NYUD-v2 at 448x576, in GMACs: InvPT has 601.9, of which a half of ViT-L is 177.4."""
    specs, size = DATA["nyud"]
    with torch.device("meta"):
        model = TSPTransformer(tasks=specs, backbone="vit_large", input_size=list(size), unused_parts=True).eval()
    batch = image_batch(size, "meta")
    assert round(full_macs(model, lambda: model.run_network(batch))[""] / 1e9, 1) == 1138.0


@pytest.mark.slow
def test_a_row_on_a_replica(mtdense_main: Main, tmp_path: Path) -> None:
    root = write_atrc_replica(tmp_path / "set", 6, 3, seed=3, size=(32, 40))
    small = ("--model.backbone", "vit_base", "--model.backbone_options", f"{{overrides: {VIT}}}".replace("'", ""))
    own = ("--config", CONF / "tiny.yaml", *small, "--model.input_size", "[32, 40]")
    found = whole_run(
        mtdense_main,
        tmp_path / "run",
        "nyud_atrc/full/tsp_transformer-vit_large.yaml",
        *own,
        "--model.pretrained",
        "false",
        "--model.prompt_layers",
        "2",
        "--data.root",
        root,
    )
    assert found.fitted["method"] == "tsp_transformer"
    assert set(found.scored["tasks"]) == {"semseg", "depth", "normals", "edges"}


# ---- prompts ---------------------------------------------------------------------------------------------------------
def test_without_prompts_of_influence_it_is_invpt() -> None:
    """Prompts whose values are zero and whose keys are far away change nothing: all tasks see InvPT's maps."""
    model = build(prompt_layers=1)
    network = model.network.eval()
    invpt = InvPT(
        tasks=SPECS, backbone="vit_base", preset="tiny", backbone_options={"overrides": VIT}, input_size=[32, 40]
    )
    twin = invpt.network.eval()
    assert isinstance(twin, InvPTNetwork)
    missing, extra = twin.load_state_dict(network.state_dict(), strict=False)
    assert missing == [] and sorted(extra) == sorted(f"prompts.{task}" for task in SPECS)
    attn = network.backbone.blocks[3].attn
    seen: list[Tensor] = []
    attn.proj.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    image = torch.rand(2, 3, 32, 40)
    with torch.no_grad():
        expected = twin(image).final
        found = network(image).final
        assert not any(torch.allclose(found[task], expected[task]) for task in SPECS)
        assert seen[0].shape[1] == 1 + 2 * 3 + 5
        # Cut off before the block instead of after it.
        network.prompts = torch.nn.ParameterDict({t: torch.nn.Parameter(p[:, :0]) for t, p in network.prompts.items()})
        for task, logits in network(image).final.items():
            torch.testing.assert_close(logits, expected[task])


def test_a_task_is_its_own_prompts() -> None:
    network = build().network.eval()
    image = torch.rand(2, 3, 32, 40)
    with torch.no_grad():
        before = network.task_maps(image)
        network.prompts["depth"] += torch.randn_like(network.prompts["depth"])
        after = network.task_maps(image)
    assert [x.shape[1] for x in before] == [1, 1, 3, 3]
    changed = [(a != b).flatten(2).any(2).all(0).tolist() for a, b in zip(before, after, strict=True)]
    assert changed == [[False], [False], [False, True, False], [False, True, False]]
    assert [x.shape[1] for x in build(prompt_placement="early").network.task_maps(image)] == [3, 3, 3, 3]


def test_prompts_that_begin_equal_stay_equal() -> None:
    for std in (0.0, 0.02):
        model = build(prompt_std=std)
        model.training_loss(make_batch(SPECS))[0].backward()
        for prompts in model.network.prompts.values():
            grad = prompts.grad
            assert grad is not None and bool(grad.any())
            same = torch.allclose(grad, grad[:, :1].expand_as(grad), rtol=1e-3, atol=1e-7 * float(grad.abs().max()))
            assert same == (std == 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts_per_task": 0}, "prompts_per_task is 0"),
        ({"prompt_layers": 5}, "prompts in 5 of 4 blocks"),
        ({"prompt_layers": 0}, "prompt_layers is 0"),
        ({"prompt_placement": "middle"}, "prompt_placement is 'middle'"),
        ({"prompt_std": -1.0}, "prompt_std is -1"),
        ({"preset": "huge"}, "preset is 'huge'"),
        ({"backbone": "tiny", "backbone_options": {}}, "'tiny', which is no ViT of four maps"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**options)


def test_weights_can_be_imported() -> None:
    """The command knows all that the models know, and each says what it needs of a checkpoint."""
    assert (*ARCHITECTURES, "internimage") == SOURCES and "tsp_transformer" in ARCHITECTURES
    assert all(public_code(name).heads for name in ARCHITECTURES)
