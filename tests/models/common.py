"""What tests of decoders on HRNet and ResNet share: golden numbers of public code, counts without memory.

PAD-Net, MTI-Net, ATRC, Cross-Stitch, NDDR-CNN, DeMT and MQTransformer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtdense.backbones import Backbone
from mtdense.models import DenseModule
from mtdense.models.canvas import upsample
from mtdense.models.outputs import Outputs
from mtdense.reports.profile import CONVENTIONS, count_by_convention, full_macs
from tests.models.diffusion_mtl.formula import fill_network, sampled, wave

NYUD: dict[str, dict[str, Any]] = {"semseg": {"num_classes": 40}, "depth": {}, "normals": {}, "edges": {}}
GOLDEN_OUTPUTS = {"semseg": 5, "depth": 1, "normals": 3, "edges": 1}
GOLDEN_SIZE = (32, 64)


def read_golden(test: str) -> dict[str, Any]:
    """The figures that lie beside a test's file."""
    golden: dict[str, Any] = json.loads((Path(test).parent / "golden.json").read_text())
    return golden


class GivenMaps(Backbone):
    """Gives the same maps whatever it is shown; they are parameters, so that gradients arrive at them."""

    def __init__(self, channels: Sequence[int] = (16, 18, 24, 32), batch: int = 2) -> None:
        super().__init__(channels, (4, 8, 16, 32))
        height, width = GOLDEN_SIZE
        self.maps = nn.ParameterList(
            torch.zeros(batch, c, height // s, width // s) for c, s in zip(self.channels, self.strides, strict=True)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        return list(self.maps)


def millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


HRNET = {"hrnet_w18": (18, 36, 72, 144), "hrnet_w48": (48, 96, 192, 384)}
HRNET_W18_PARAMS = 3_860_720


class Shapes(Backbone):
    """Maps of a real backbone's shapes, without parameters or cost: whole HRNets take half a minute to build."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int] = (4, 8, 16, 32)) -> None:
        super().__init__(channels, strides)

    def forward(self, image: Tensor) -> list[Tensor]:
        sizes = [(-(-image.shape[-2] // s), -(-image.shape[-1] // s)) for s in self.strides]
        return [image.new_empty(len(image), c, *size) for c, size in zip(self.channels, sizes, strict=True)]


def on_meta(
    module_class: type[DenseModule], channels: Sequence[int], strides: Sequence[int] = (4, 8, 16, 32), **options: Any
) -> DenseModule:
    """The architecture on maps of these channels, without memory for its weights."""
    own = type(module_class.__name__, (module_class,), {"build_backbone": lambda self: Shapes(channels, strides)})
    with torch.device("meta"):
        module: DenseModule = own(**options)
    return module.eval()


def run_on_meta(module: DenseModule, size: tuple[int, int]) -> Outputs:
    with torch.device("meta"), torch.no_grad():
        outputs: Outputs = module(torch.empty(1, 3, *size))
    return outputs


def giga_macs(module: DenseModule, size: tuple[int, int]) -> float:
    """1e9 MACs, attention included."""
    return full_macs(module, lambda: run_on_meta(module, size))[""] / 1e9


def ptflops(module: DenseModule, size: tuple[int, int]) -> float:
    """1e9 MACs under the counter of TIF's tables."""
    return count_by_convention(CONVENTIONS["ptflops"], module.network, lambda: run_on_meta(module, size))[1] / 1e9


def golden_functional(groups: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """A number made of all predictions at the size of the image, for its gradients."""
    total = torch.zeros(())
    for i, group in enumerate(groups):
        for name, logits in group.items():
            large = upsample(logits, GOLDEN_SIZE)
            total = total + (wave(f"loss/{name}/{i}", large.shape) * large).sum() / 100
    return total


def golden_image() -> Tensor:
    return wave("image", (2, 3, *GOLDEN_SIZE))


def silence_dropout(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, (nn.Dropout, nn.Dropout2d)):
            module.p = 0.0


def check_golden(network: nn.Module, golden: dict[str, Any], second: str | None = None) -> None:
    """Outputs in evaluation, and all predictions' gradients in training, are those of the public code.

    Args:
        network: Ours.
        golden: {"eval": 64 values of the outputs at the image's size, "train": the same of all predictions in training,
            "gradients": {parameter: norm}}.
        second: Entry of `features` that holds predictions, too.
    """
    fill_network(network)
    silence_dropout(network)
    image = golden_image()

    def large(group: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
        return {f"{number}/{name}": upsample(x, GOLDEN_SIZE) for name, x in group.items()}

    with torch.no_grad():
        outputs: Outputs = network.eval()(image)
    assert sampled(large(outputs.final, 0)) == pytest.approx(golden["eval"], rel=1e-4, abs=1e-4)
    outputs = network.train()(image)
    groups = [outputs.final, *outputs.preliminary, *([outputs.features[second]] if second else [])]
    together = {key: x for i, group in enumerate(groups) for key, x in large(group, i).items()}
    assert sampled(together) == pytest.approx(golden["train"], rel=1e-4, abs=1e-4)
    golden_functional(groups).backward()
    norms = {name: p.grad.norm().item() for name, p in network.named_parameters() if p.grad is not None}
    assert norms == pytest.approx(golden["gradients"], rel=1e-3, abs=2e-5)
