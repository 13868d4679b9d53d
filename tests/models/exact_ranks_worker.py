"""What a rank of test_exact_ranks does: five steps of an architecture, on its share of the images of each step."""

from __future__ import annotations

import contextlib
import inspect
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import mtdense.models
from mtdense.core.errors import ConfigError
from mtdense.models import DenseModule
from mtdense.training import create_optimizer, reducer
from tests.models.helpers import SPECS, fix_statistics, make_batch, share, training_step

STEPS = 5
_SIZE = (64, 80)  # DiffusionMTL attends over positions at stride 32: there must be more than one.

_SWIN = {"embed_dim": 8, "depths": [1, 2, 1, 1], "num_heads": [1, 2, 2, 4], "window_size": 2}
_VIT = {"embed_dim": 16, "depth": 4, "num_heads": 2}

# Where an architecture has several networks or losses, or does nothing to compare with its defaults: options by class.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "DiffusionMTL": {"feature": {"variant": "feature"}, "prediction": {"variant": "prediction"}},
    "PromptedBaseline": {"task_prompter": {"prompting": "task_prompter"}, "tsp": {"prompting": "tsp"}},
    # Thresholds so wide that pseudo-labels count in an untrained network.
    "SemiSupervised": {"": {"value_threshold": 5.0, "vector_threshold": 3.0}},
    "MTLBaseline": {"": {}, "atrc": {"loss_family": "atrc"}, "checkpointed": {"checkpoint_encoder": True}},
    # The affine maps of its pairs have a learning rate of their own, and rounding would grow on the way.
    "MTPSL": {"": {"film_lr": None, "mapper_downsample": 4}},
    # Prompts live in a Swin or a ViT, and nowhere else.
    "TaskPrompter": {
        "swin": {"backbone": "swin_t", "backbone_options": {"overrides": _SWIN}, "input_size": list(_SIZE)},
        "vit": {"backbone": "vit_base", "backbone_options": {"overrides": _VIT}, "input_size": list(_SIZE)},
    },
    "TSPTransformer": {
        "": {"backbone": "vit_base", "backbone_options": {"overrides": _VIT}, "input_size": list(_SIZE)},
    },
}

# Seeds of weights where those of seed 0 put a unit so near zero that rounding turns it on or off, or make a bias's
# gradient the small rest of large sums. In float64 every seed does.
SEEDS = {
    "BridgeNet": 1,
    "DiffusionMTL-feature": 1,
    "InvPT": 2,
    "PromptedBaseline-task_prompter": 1,
    "TSPTransformer": 2,
}

# Labels of the four images of each micro-batch (rank 0 has the first two): tasks by their first letter.
ONE_LABEL = ["s s d n", "s n d s", "n d d n", "d d n n", "s s s s"]
# The second: rank 1 has no label at all. The fourth: nobody has depth. The last: rank 0 has no semseg.
RANDOM_LABEL = ["sd n dn s", "sn d - -", "d sn s dn", "s sn n s", "sd dn n sd"]
RANDOM_LABEL += ["n n sd d", "sn sd dn s", "d s - sn", "dn dn sn sd", "d n sd sn"]
SETTINGS = {"one-label": (ONE_LABEL, 1), "random-label": (RANDOM_LABEL, 2)}
"""{setting: (labels by micro-batch, micro-batches of a step)}."""

CASES: dict[str, tuple[str, torch.dtype, float, dict[str, Any]]] = {
    "one-label float32": ("one-label", torch.float32, 1e-5, {}),
    "random-label float32": ("random-label", torch.float32, 1e-5, {}),
    # Far enough that the weights move; in float32 rounding would grow on the way. And divided by counts of labels:
    # these differ between ranks, while means over images are the same by rank and over all.
    "random-label float64": ("random-label", torch.float64, 1e-3, {"loss_family": "atrc"}),
}
"""{case: (setting, precision, learning rate, options)}."""


def architectures() -> list[str]:
    """`Class` or `Class-variant` of every architecture that the suite exports, in one order."""
    classes = {name: getattr(mtdense.models, name) for name in sorted(mtdense.models.__all__)}
    names = [n for n, c in classes.items() if inspect.isclass(c) and issubclass(c, DenseModule)]
    names = [name for name in names if not inspect.isabstract(classes[name])]
    return [f"{name}-{v}" if v else name for name in names for v in VARIANTS.get(name, {"": {}})]


def build(name: str, **more: Any) -> DenseModule:
    """The architecture at preset tiny, in training, without anything that is random or of a rank's own batch."""
    class_name, _, variant = name.partition("-")
    module_class = getattr(mtdense.models, class_name)
    options = {"backbone": "tiny", "preset": "tiny", **VARIANTS.get(class_name, {}).get(variant, {}), **more}
    torch.manual_seed(SEEDS.get(name, 0))
    try:
        model: DenseModule = module_class(tasks=SPECS, **options)
    except ConfigError:  # for networks of one task
        torch.manual_seed(SEEDS.get(name, 0))
        model = module_class(tasks={"semseg": SPECS["semseg"]}, **options)
    model.train()
    fix_statistics(model)
    for key, weight in model.named_parameters():
        # A predicted normal of length near zero has a gradient that float32 cannot hold: let them point somewhere.
        if "normals" in key and key.endswith("bias") and weight.shape == (3,):
            weight.data += torch.tensor([0.0, 0.0, 2.0])
    for module in model.modules():
        for chance in ("p", "drop_prob", "dropout", "rate"):
            if isinstance(getattr(module, chance, None), float):
                setattr(module, chance, 0.0)
    model.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    return model


def micro_batch(model: DenseModule, setting: str, number: int, dtype: torch.dtype) -> Any:
    """A global batch of four images, of its own pictures and labels."""
    words = SETTINGS[setting][0][number].split()
    specs = {task: SPECS[task] for task in model.tasks}
    batch: Any = make_batch(specs, {task: [task[0] in word for word in words] for task in specs}, _SIZE)
    generator = torch.Generator().manual_seed(number)
    batch["image"] = torch.rand(batch["image"].shape, generator=generator)
    batch["id"] = [f"{number}-{i}" for i in range(len(words))]
    return _as(batch, dtype)


def _as(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, dict):
        return {key: _as(part, dtype) for key, part in value.items()}
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def train(name: str, case: str, rank: int, world: int, wide: bool = False) -> dict[str, Tensor]:
    """{what: values} of all steps: gradients as the optimiser sees them, and the weights at the end.

    `wide` takes float64 whatever the case says.
    """
    setting, dtype, rate, options = CASES[case]
    dtype = torch.float64 if wide else dtype
    # Where a network asks for `float`, it means at least that.
    at_least = mock.patch.object(Tensor, "float", Tensor.double)
    with at_least if dtype == torch.float64 else contextlib.nullcontext():
        return _train(build(name, **options).to(dtype), setting, rate, rank, world)


def _train(model: DenseModule, setting: str, rate: float, rank: int, world: int) -> dict[str, Tensor]:
    dtype = next(model.parameters()).dtype
    step = training_step(model, world)
    optimizer = create_optimizer(model.parameter_groups(), "sgd", rate, 1e-4, 0.9)
    micro = SETTINGS[setting][1]
    seen: dict[str, Tensor] = {}
    for number in range(STEPS):
        optimizer.zero_grad()
        for part in range(micro):
            last = part == micro - 1
            batch = share(micro_batch(model, setting, number * micro + part, dtype), rank, world)
            with contextlib.nullcontext() if last or world == 1 else step.no_sync():
                (step(batch) / micro).backward()
        for key, weight in model.named_parameters():
            if weight.grad is not None:
                seen[f"gradient of {key} in step {number}"] = weight.grad.clone()
        optimizer.step()
    return seen | {f"weight {key}": weight.detach().clone() for key, weight in model.named_parameters()}


def run(rank: int, world: int, names: str, cases: str, mutate: str = "") -> dict[str, dict[str, Tensor]]:
    """{architecture and case: what `train` gives}; `mutate`: each rank takes the mean over its own images."""
    if mutate:
        reducer.sum_over_ranks, reducer.world_size = lambda values: values.detach(), lambda: 1
    return {f"{n} {case}": train(n, case, rank, world) for n in names.split(",") for case in cases.split(",")}


def difference(one: dict[str, Tensor], two: dict[str, Tensor]) -> dict[str, tuple[float, str]]:
    """{"gradient", "weight": (largest relative difference, where)}.

    Relative to the largest entry of the tensor; or to a thousandth of the network's largest gradient or weight where
    that is more, for some tensors (a key's bias before a softmax) are moved by rounding alone.
    """
    assert one.keys() == two.keys()
    found = {}
    for kind in ("gradient", "weight"):
        keys = [key for key in one if key.startswith(kind)]
        largest = max(float(one[key].abs().max()) for key in keys)
        assert largest > 1e-3
        found[kind] = max(
            (float((one[k] - two[k]).abs().max()) / max(float(one[k].abs().max()), 1e-3 * largest), k) for k in keys
        )
    return found
