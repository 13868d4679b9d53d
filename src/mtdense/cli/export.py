"""`mtdense export`: a trained network as an ONNX or torch.export file, compared with the original."""

from __future__ import annotations

import argparse
from pathlib import Path

from mtdense.cli.allow_module import add_allow_module
from mtdense.cli.outputs import check_output
from mtdense.core.errors import ConfigError
from mtdense.core.words import counted

__all__ = ["add_parser", "run"]

FORMATS = ("onnx", "torch_export")
"""Of `mtdense.reports.export`, named here so that `--help` need not wait for torch."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `export`."""
    parser = subparsers.add_parser(
        "export",
        help="a network as ONNX or torch.export, compared with the original",
        description="RGB in [0, 1] in, one named output per task out; normalisation is part of the file, and so is a "
        "description of tasks, classes and units. A file that differs from the original by more than 1e-4 is not kept.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--ckpt_path", metavar="FILE", help="checkpoint of `mtdense fit`, or packed weights")
    what.add_argument(
        "--architectures", type=Path, metavar="TABLE",
        help="instead: try every architecture at preset tiny and write a Markdown table",
    )  # fmt: skip
    parser.add_argument("--format", choices=FORMATS, default="onnx", help="(%(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write, ending in .onnx or .pt2")
    parser.add_argument(
        "--outputs", choices=("predictions", "soft", "logits"), default="predictions",
        help="class ids and probabilities; probabilities of each class; or what the heads give (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="only these (default: all)")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="of images (default: as trained)")
    parser.add_argument(
        "--dynamic", choices=("none", "batch", "size"), default="none",
        help="what of the input may vary: nothing, the batch, or batch, height and width (%(default)s)",
    )  # fmt: skip
    add_allow_module(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Exports, compares, and keeps the file if it is equal.

    Raises:
        MTDenseError: Any fault that the user can mend.
    """
    if args.architectures is not None:
        return _try_all(args.architectures)
    if args.out is None:
        raise ConfigError("`mtdense export` without --out", "name a file to write.")
    from mtdense.models.checkpoint import model_of, read_checkpoint
    from mtdense.reports.canonical import file_checksum
    from mtdense.reports.export import FORMATS as suffixes
    from mtdense.reports.export import ExportedModel, check_export, write_export
    from mtdense.reports.filled import filled_in_training

    check_output("--out", args.out, [] if args.ckpt_path.startswith("hf://") else [Path(args.ckpt_path)])
    if args.out.suffix != suffixes[args.format]:
        raise ConfigError(f"--out {args.out} for {args.format}", f"let the name end in {suffixes[args.format]}.")
    info = read_checkpoint(args.ckpt_path, args.allow_module)
    model, filled = model_of(info, args.allow_module), filled_in_training(info)
    del info  # with its copy of the weights
    size = args.size or model.hparams["input_size"]
    if size is None:
        raise ConfigError(f"{args.ckpt_path} does not say its input size", "give `--size HEIGHT WIDTH`.")
    about = {"checkpoint": Path(args.ckpt_path).name}
    if not args.ckpt_path.startswith("hf://"):
        about["checkpoint_sha256"] = file_checksum(Path(args.ckpt_path))
    exported = ExportedModel(model, args.outputs, args.tasks, filled)
    # Under another name until it is known to be right.
    draft = args.out.with_name(f".{args.out.stem}.unchecked{args.out.suffix}")
    try:
        write_export(exported, draft, args.format, size, args.dynamic, about)
        check = check_export(exported, draft, args.format, size, args.dynamic)
        draft.replace(args.out)
    finally:
        draft.unlink(missing_ok=True)
    told = ", ".join(f"{name} {value:.1e}" for name, value in check.differences.items())
    print(
        f"Wrote {args.out}: image -> {', '.join(exported.tasks)}; differs on {counted(check.images, 'image')} by {told}"
    )
    return 0


def _try_all(table: Path) -> int:
    check_output("--architectures", table)
    from mtdense.reports.canonical import write_atomic
    from mtdense.reports.export.architectures import export_table

    write_atomic(table, export_table())
    print(f"Wrote {table}")
    return 0
