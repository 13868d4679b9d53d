"""`mtdense weights`: published checkpoints as checkpoints of ours, and ours as files to publish."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mtdense.cli.outputs import check_output
from mtdense.cli.weights_pack import add_actions
from mtdense.core.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SOURCES", "add_parser", "run_import"]

SOURCES = (
    *("bridgenet", "invpt", "tsp_transformer", "atrc"),
    *("task_prompter", "diffusion_mtl", "mtpsl", "demt", "internimage"),
)
"""`mtdense.models.imported.ARCHITECTURES` and the backbone, named here so that `--help` need not wait for Lightning."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `weights` with its actions."""
    parser = subparsers.add_parser("weights", help="import published checkpoints; pack, push and pull ours")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    action = actions.add_parser(
        "import",
        help="eight architectures' public files, and InternImage backbones",
        description="Every tensor of the file must find its place and every place its tensor. Further options are "
        "those of `mtdense fit`, such as `--model.unused_parts true`; no data is read and no weights are fetched.",
    )
    action.add_argument("source", choices=SOURCES, metavar="SOURCE", help=", ".join(SOURCES))
    action.add_argument("file", type=Path, metavar="FILE", help="the published checkpoint")
    action.add_argument("--config", action="append", default=[], help="experiment it is to fit; may be repeated")
    action.add_argument("--backbone", help="of internimage: internimage_b or internimage_l")
    action.add_argument("--backbone-options", metavar="YAML", help="of internimage: `model.backbone_options`")
    action.add_argument(
        "--normals-axes",
        metavar="AXES",
        help="camera axis (x right, y down, z forward) of each channel of normals that it was trained on, where it is "
        "not what the public code has (-x-y-z)",
    )
    action.add_argument(
        "--out", type=Path, required=True, metavar="OUT", help="a .ckpt; of internimage .pth or .safetensors"
    )
    action.set_defaults(func=run_import, takes_options=True)
    add_actions(actions)


def run_import(args: argparse.Namespace) -> int:
    """Reads, checks and writes.

    Raises:
        ConfigError: Options that do not go together, or an output that cannot be written.
        CheckpointError: The file does not fit.
    """
    check_output("--out", args.out, [args.file])
    if args.out.exists():
        raise ConfigError(f"--out {args.out} is there already", "name another file, or remove it.")
    if args.source == "internimage":
        _import_backbone(args)
    else:
        _import_model(args)
    return 0


def _import_backbone(args: argparse.Namespace) -> None:
    import io

    import torch
    import yaml
    from safetensors.torch import save

    from mtdense.backbones import PAPER_BACKBONES, InternImage, create_backbone, load_backbone_weights
    from mtdense.models.layers.published_code import require_options
    from mtdense.reports.canonical import write_atomic

    known = [name for name, variant in PAPER_BACKBONES.items() if variant.family == "internimage"]
    if args.config or args.options or args.backbone not in known:
        raise ConfigError(
            "`mtdense weights import internimage` makes a file for a backbone, not for an experiment",
            f"name it by `--backbone` ({' or '.join(known)}), without `--config` and options of `mtdense fit`.",
        )
    try:
        backbone = create_backbone(args.backbone, **yaml.safe_load(args.backbone_options or "{}"))
    except (yaml.YAMLError, TypeError) as error:
        raise ConfigError(
            f"--backbone-options {args.backbone_options!r}: {error}", "write `{option: value}`, see docs/backbones.md."
        ) from error
    needed = {"offset_scale": PAPER_BACKBONES[args.backbone].arguments["offset_scale"]}
    given = {"offset_scale": cast(InternImage, backbone).offset_scale}
    require_options(given, needed, "`overrides` in `--backbone-options`")
    load_backbone_weights(backbone, args.file)
    state = dict(backbone.state_dict())
    stream = io.BytesIO()
    if args.out.suffix != ".safetensors":
        torch.save(state, stream)
    write_atomic(args.out, stream.getvalue() or save(state))
    print(f"Wrote {args.out}: {_millions(state)}; next: mtdense fit --model.backbone_checkpoint {args.out} ...")


def _import_model(args: argparse.Namespace) -> None:
    import torch

    from mtdense.backbones.weights import read_state_dict
    from mtdense.cli.building import NO_ROOT, build_experiment
    from mtdense.data.label_coding import parse_axes
    from mtdense.models.imported import imported_checkpoint, imported_state, public_code
    from mtdense.reports.canonical import file_checksum
    from mtdense.training.checkpoint_io import AtomicCheckpointIO

    if args.backbone or args.backbone_options:
        raise ConfigError(f"--backbone with {args.source}", "give `--config` and, if need be, `--model.backbone`.")
    if not args.config:
        raise ConfigError(
            f"`mtdense weights import {args.source}` without an experiment",
            "name the one that the file belongs to: `--config nyud_atrc/full/...yaml`.",
        )
    code = public_code(args.source)
    given_axes = args.normals_axes or code.normals_axes
    axes = parse_axes(given_axes)
    state = read_state_dict(args.file, code.beside)
    with torch.device("meta"):
        model, data = build_experiment(args.config, args.options)
    if model.method not in (code.methods or (args.source,)):
        raise ConfigError(f"the experiment is of {model.method}, not {args.source}", "name one of the file's method.")
    try:
        found = imported_state(model, code, state, axes)
    except CheckpointError as error:
        raise CheckpointError(f"{args.file}: {error.problem}", error.mend) from error
    about = {"from": args.source, "file": args.file.name, "checksum": file_checksum(args.file)}
    content = imported_checkpoint(model, found, data, {**about, "normals_axes": given_axes})
    arguments: dict[str, Any] = content["datamodule_hyper_parameters"]
    if arguments.get("root") == NO_ROOT:
        del arguments["root"]
    AtomicCheckpointIO().save_checkpoint(content, args.out)
    where = "" if "root" in arguments else " --data.root DIR"
    print(f"Wrote {args.out}: {_millions(found)}; next: mtdense test --ckpt_path {args.out}{where}")
    if unsaid := code.unsaid(model):
        print(f"The file does not say {unsaid}: make sure that it was trained so.", file=sys.stderr)


def _millions(state: dict[str, Tensor]) -> str:
    return f"{sum(value.numel() for value in state.values()) / 1e6:.2f} M numbers"
