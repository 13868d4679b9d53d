"""A training step of BridgeNet beside that of its public code: time and peak memory, same weights, same mathematics.

    python -m benchmarks.published_bridgenet --code DIR --threads 2

DIR is the folder `BridgeNet` of a checkout of the repository EEMTL, which is not part of mtdense and has no licence; it
needs `pip install easydict einops`. Each network runs in a process of its own, which reports the seconds of forward,
losses and backward (the first step warms up) and the most memory that it ever held. Both get the same weights, one
noise image, our losses, no stochastic depth; their losses and norms of gradients must agree, else the figures are
not shown. ViT-B, NYUD-v2, four tasks, as in `experiments/nyud_atrc/full/bridgenet-vit_base.yaml`.

* J. Zhang et al. BridgeNet: Comprehensive and Effective Feature Interactions via Bridge Feature for Multi-task Dense
  Predictions.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from torch import Tensor, nn

from mtdense.core.errors import ConfigError, DataError
from mtdense.models import BridgeNet
from mtdense.models.bridgenet.network import BridgeNetwork
from mtdense.models.bridgenet.published import from_official
from mtdense.models.outputs import Outputs
from mtdense.reports.bench.train import random_batch

CONFIG = "configs/nyud/nyud_vitB_bridgenet.yml"
TASKS: dict[str, dict[str, Any]] = {
    "semseg": {"num_classes": 40, "class_names": [f"class {i}" for i in range(40)]},
    "depth": {},
    "normals": {},
    "edges": {},
}
THEIR_NAMES = {"edges": "edge"}
WHICH = ("published", "ours")


# ---- networks --------------------------------------------------------------------------------------------------------
def build_ours(size: tuple[int, int], **options: Any) -> BridgeNet:
    """Ours, with the parts that the public code has and does not use, so that weights fit."""
    defaults = {"backbone": "vit_base", "preset": "paper", "tfr_size": "huge", "loss_family": "atrc"}
    model = BridgeNet(tasks=TASKS, input_size=list(size), unused_parts=True, **{**defaults, **options})
    without_chance(model)
    model.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    return model.train()


def build_published(code: Path, size: tuple[int, int], config: dict[str, Any] | None = None) -> nn.Module:
    """The public network, from its own classes and configuration file, with plain batch normalisation."""
    stand_in_for_imports(code)
    config = config or yaml.safe_load((code / CONFIG).read_text(encoding="utf-8"))
    parameters = importlib.import_module("easydict").EasyDict(config)
    vit = importlib.import_module("models.transformers.vit")
    decoder = importlib.import_module("models.transformers.transformer_decoder")
    nets = importlib.import_module("models.transformer_net")
    names = [THEIR_NAMES.get(name, name) for name in TASKS]
    channels, blocks, heads = (config.get(key, value) for key, value in (("dim", 768), ("blocks", 12), ("heads", 12)))
    parameters.TASKS = {"NAMES": names, "NUM_OUTPUT": dict(zip(names, (40, 1, 3, 1), strict=True))}
    parameters.backbone_channels = [channels] * 4
    parameters.spatial_dim = [[size[0] // 16, size[1] // 16]] * 4
    parameters.final_embed_dim = parameters.embed_dim + parameters.PRED_OUT_NUM_CONSTANT
    backbone = vit.VisionTransformer(
        select_list=[blocks // 4, blocks // 2, blocks * 3 // 4],
        img_size=size,
        patch_size=16,
        embed_dim=channels,
        depth=blocks,
        num_heads=heads,
        qkv_bias=True,
    )
    outputs = parameters.TASKS.NUM_OUTPUT
    layers = nn.ModuleDict({name: decoder.MLPHead(parameters.final_embed_dim, outputs[name]) for name in names})
    network: nn.Module = nets.TransformerNet(parameters, backbone, parameters.backbone_channels, layers)
    without_chance(network)
    return network.train()


def stand_in_for_imports(code: Path) -> None:
    """Gives the public code what it imports and this environment has under another name, or not at all."""
    import timm.layers

    layers, helpers = types.ModuleType("timm.models.layers"), types.ModuleType("timm.models.helpers")
    for name in ("PatchEmbed", "Mlp", "DropPath", "trunc_normal_", "lecun_normal_"):
        setattr(layers, name, getattr(timm.layers, name))
    for name in ("build_model_with_cfg", "named_apply", "adapt_input_conv"):
        setattr(helpers, name, None)
    package, inner = types.ModuleType("utils"), types.ModuleType("utils.utils")
    inner.to_2tuple = lambda x: (x, x)  # type: ignore[attr-defined]
    own = {"timm.models.layers": layers, "timm.models.helpers": helpers, "utils": package, "utils.utils": inner}
    sys.modules.update(own)
    sys.path.insert(0, str(code))
    nn.SyncBatchNorm = nn.BatchNorm2d  # type: ignore[misc,assignment]


def without_chance(network: nn.Module) -> None:
    """Switches off stochastic depth and dropout: both networks then compute the same."""
    for module in network.modules():
        for name in ("drop_prob", "rate"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def fill(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the public network by its names, the same in every process."""
    filled = {}
    for name, value in state.items():
        if not value.is_floating_point():
            filled[name] = torch.zeros(value.shape, dtype=value.dtype)
            continue
        generator = torch.Generator().manual_seed(sum((i + 1) * ord(c) for i, c in enumerate(name)))
        noise = torch.rand(value.shape, generator=generator) * 2 - 1
        if value.dim() > 1:
            filled[name] = noise * 1.4 * math.sqrt(value.shape[0] / value.numel())
        elif name.endswith(("bias", "running_mean")):
            filled[name] = noise * 0.1
        else:
            filled[name] = 1 + 0.2 * noise
    return filled


# ---- measuring -------------------------------------------------------------------------------------------------------
def measure(which: str, code: Path, size: tuple[int, int], runs: int, names: Path) -> dict[str, Any]:
    """Steps in this process: {"seconds": [...], "peak_gb", "loss", "gradient"}.

    The published network leaves the names of its weights in a file, from which ours is filled.
    """
    # Where the public network is measured, of ours only losses and normalisation are needed.
    model = build_ours(size, **({} if which == "ours" else {"backbone": "tiny", "preset": "tiny"}))
    batch = random_batch(model.tasks, 1, size)
    network: nn.Module = model.network
    if which == "published":
        network = build_published(code, size)
        torch.save(network.to("meta").state_dict(), names)
        network.to_empty(device="cpu").load_state_dict(fill(torch.load(names)))
    else:
        network.load_state_dict(from_official(cast(BridgeNetwork, network), fill(torch.load(names))))
    seconds, loss = [], torch.zeros(())
    for _ in range(runs + 1):
        network.zero_grad(set_to_none=True)
        start = time.perf_counter()
        image = model.normalise(batch["image"])
        loss = loss_of(model, their_outputs(network(image)) if which == "published" else network(image), batch)
        loss.backward()
        seconds.append(time.perf_counter() - start)
    squares = [p.grad.square().sum() for p in network.parameters() if p.grad is not None]
    return {
        "seconds": seconds[1:],
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "loss": loss.item(),
        "gradient": torch.stack(squares).sum().sqrt().item(),
    }


def their_outputs(outputs: dict[str, Any]) -> Outputs:
    """The public network's dictionary as ours."""
    final = {name: outputs[THEIR_NAMES.get(name, name)] for name in TASKS}
    early = outputs["inter_preds"]
    return Outputs(final, [{name: early[THEIR_NAMES.get(name, name)] for name in TASKS}])


def loss_of(model: BridgeNet, outputs: Outputs, batch: Any) -> Tensor:
    """Weighted task losses of final and preliminary predictions."""
    losses = model.losses(outputs, batch)
    return torch.stack([model.loss_weights[name] * value for name, value in losses.items()]).sum()


def main(argv: list[str] | None = None) -> int:
    """Measures both in turn and prints a table.

    Raises:
        ConfigError: The public code is not there.
        DataError: The networks do not agree.
    """
    parser = argparse.ArgumentParser(description="BridgeNet's training step beside its public code's.")
    parser.add_argument("--code", type=Path, required=True, metavar="DIR", help="folder BridgeNet of the public code")
    parser.add_argument("--size", type=int, nargs=2, default=(448, 576), metavar=("H", "W"))
    parser.add_argument("--runs", type=int, default=3, help="timed steps of a process (3)")
    parser.add_argument("--rounds", type=int, default=2, help="processes of each, in turn (2)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--names", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=WHICH, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    size = (args.size[0], args.size[1])
    if not (args.code / CONFIG).is_file():
        raise ConfigError(f"{args.code} has no {CONFIG}", "name the folder BridgeNet of a checkout of EEMTL.")
    if args.only:
        torch.set_num_threads(args.threads)
        print(json.dumps(measure(args.only, args.code.resolve(), size, args.runs, args.names)))
        return 0
    found: dict[str, list[dict[str, Any]]] = {which: [] for which in WHICH}
    with tempfile.TemporaryDirectory() as folder:
        for which in WHICH * args.rounds:
            options = {"only": which, "code": args.code, "names": f"{folder}/names.pt", "runs": args.runs}
            settings = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
            settings += ["--threads", str(args.threads), "--size", *map(str, size)]
            command = [sys.executable, "-m", "benchmarks.published_bridgenet", *settings]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found[which].append(json.loads(output.strip().splitlines()[-1]))
    print(report(found, size, args.threads))
    return 0


def report(found: dict[str, list[dict[str, Any]]], size: tuple[int, int], threads: int) -> str:
    """The table.

    Raises:
        DataError: Losses or gradients differ by more than a thousandth.
    """
    theirs, ours = (found[which] for which in WHICH)
    for key in ("loss", "gradient"):
        if not math.isclose(theirs[0][key], ours[0][key], rel_tol=1e-3):
            raise DataError(f"{key}: {theirs[0][key]} there, {ours[0][key]} here", "the networks are not the same.")
    lines = [f"BridgeNet, ViT-B, {size[0]}x{size[1]}, one image, float32, {threads} thread(s)"]
    medians = [statistics.median(s for run in runs for s in run["seconds"]) for runs in (theirs, ours)]
    peaks = [max(run["peak_gb"] for run in runs) for runs in (theirs, ours)]
    for which, seconds, peak in zip(WHICH, medians, peaks, strict=True):
        lines.append(f"  {which:<10} {seconds:7.2f} s a step   {peak:5.2f} GiB at most")
    lines.append(f"  {medians[0] / medians[1]:.2f} times as fast, {1 - peaks[1] / peaks[0]:.0%} less memory")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
