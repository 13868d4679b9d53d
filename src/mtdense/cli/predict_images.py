"""`mtdense predict --images`: own photographs and videos, without labels and without a trainer."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from mtdense.cli.allow_module import add_allow_module
from mtdense.core.errors import ConfigError, DataError
from mtdense.core.words import counted

__all__ = ["run_images"]


def run_images(arguments: Sequence[str]) -> int:
    """Runs the command.

    Args:
        arguments: The subcommand first, then its options.

    Raises:
        MTDenseError: Any fault that the user can mend.
    """
    if arguments[0] != "predict":
        raise ConfigError(f"`--images` with `mtdense {arguments[0]}`", "it goes with `mtdense predict --ckpt_path X`.")
    args = _parser().parse_args(list(arguments[1:]))
    if args.ckpt_path is None:
        raise ConfigError("`mtdense predict --images` without a model", "name one by --ckpt_path.")
    if not args.images:
        raise ConfigError("`--images` without a path", "name image files, folders or globs.")
    if args.every < 1 or (args.max_frames is not None and args.max_frames < 1):
        raise ConfigError(f"--every {args.every} --max_frames {args.max_frames}", "give whole numbers of 1 or more.")
    if not 0 < args.png_scale < float("inf"):
        raise ConfigError(f"--png_scale {args.png_scale}", "give a number above 0: levels per metre.")

    from mtdense.data.given_camera import given_camera
    from mtdense.data.pictures import find_sources
    from mtdense.models.checkpoint import model_of, read_checkpoint
    from mtdense.reports.canonical import file_checksum
    from mtdense.reports.filled import filled_in_training
    from mtdense.reports.picture_run import MANIFEST, PictureRun, Wanted
    from mtdense.reports.predictor import Predictor

    sources = find_sources(args.images)
    info = read_checkpoint(args.ckpt_path, args.allow_module)
    predictor = Predictor(
        model_of(info, args.allow_module),
        tasks=_names(args.tasks),
        camera=None if args.camera is None else given_camera(args.camera),
        size=args.size,
        filled=filled_in_training(info),
        tile=args.tile,
        overlap=args.overlap,
        batch_size=args.batch_size,
        device=args.device,
    )
    out = args.out or _default_folder(args.ckpt_path)
    _check_free(out, [*predictor.tasks, "sheets", "gallery", *(() if args.gallery == "none" else ("index.html",))])
    checksum = file_checksum(info.path)
    about = {"checkpoint": str(args.ckpt_path), "checkpoint_sha256": checksum, "method": info.about.get("method")}
    wanted = Wanted(args.raw, args.png_scale, args.sheets, args.gallery, args.video, args.every, args.max_frames)
    run = PictureRun(predictor, out, wanted, about)
    try:
        done = run.run(sources)
    except KeyboardInterrupt:
        print(f"Interrupted; {out / MANIFEST} says what is done. The same command does all again.", file=sys.stderr)
        return 130
    page = f"; open {out / 'index.html'}" if args.gallery != "none" else ""
    print(f"Wrote {out}: {counted(done, 'picture')}{page}")
    if run.failed:
        raise DataError(
            f"{len(run.failed)} of {counted(len(sources), 'file')} could not be done: "
            + "; ".join(entry["problem"] for entry in run.failed[:3]),
            f"the others are done; {out / MANIFEST} names all that failed.",
        )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mtdense predict",
        description="Predicts on pictures and videos of any size. (On a data set: `mtdense predict` without --images.)",
    )
    parser.add_argument("--ckpt_path", metavar="FILE", help="checkpoint of `mtdense fit`, or packed weights")
    parser.add_argument("--images", nargs="*", metavar="PATH", help="pictures, videos, folders or globs")
    parser.add_argument("--out", type=Path, help="folder for everything (default: predictions beside the run)")
    parser.add_argument("--tasks", "--data.tasks", nargs="+", metavar="TASK", help="only these (default: all)")
    parser.add_argument(
        "--camera", "--data.camera", metavar="CAMERA",
        help="what the pictures were taken with, for 3-D boxes: fx,fy,cx,cy in their pixels, or a camera.json or "
        "gtBbox3d.json of Cityscapes",
    )  # fmt: skip
    looking = parser.add_argument_group("how to look at a picture")
    looking.add_argument(
        "--tile", type=float, nargs="?", const=2.0, metavar="ZOOM",
        help="in overlapping tiles, the picture at ZOOM times the size that fits the network (without a number: 2)",
    )  # fmt: skip
    looking.add_argument("--overlap", type=float, default=0.25, help="share of a tile its neighbour sees (%(default)s)")
    looking.add_argument(
        "--size", "--data.size", type=int, nargs=2, metavar=("H", "W"), help="what the network sees (as trained)"
    )
    looking.add_argument("--batch_size", type=int, default=4, help="tiles at a time (%(default)s)")
    looking.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (%(default)s)")
    looking.add_argument("--every", type=int, default=1, metavar="N", help="of videos, each N-th frame (%(default)s)")
    looking.add_argument("--max_frames", type=int, metavar="N", help="of each video, at most N frames")
    files = parser.add_argument_group("what to write")
    files.add_argument("--raw", choices=("npy", "png16", "none"), default="npy", help="values (%(default)s)")
    files.add_argument(
        "--png_scale", type=float, default=1000.0, help="of png16: levels per metre or other unit (%(default)g)"
    )
    files.add_argument("--sheets", action=argparse.BooleanOptionalAction, default=True, help="all side by side")
    files.add_argument(
        "--gallery", choices=("folder", "single", "none"), default="folder",
        help="index.html with its pictures beside it, all in one file, or none (%(default)s)",
    )  # fmt: skip
    files.add_argument("--video", action="store_true", help="put a video's predictions together to a video")
    add_allow_module(parser)
    return parser


def _check_free(out: Path, names: Sequence[str]) -> None:
    """Refuses to write over what no prediction wrote, such as photographs and labels in folders named as tasks."""
    from mtdense.reports.picture_run import MANIFEST

    manifest = out / MANIFEST
    if _is_ours(manifest):
        return
    taken = [out / name for name in names if (out / name).exists() and not _is_empty_folder(out / name)]
    if manifest.exists():
        taken.append(manifest)
    if taken:
        verb = "has files that are" if taken[0].is_dir() else "is"
        raise ConfigError(f"{taken[0]} {verb} not of `mtdense predict --images`", "take another folder for `--out`.")


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _is_ours(manifest: Path) -> bool:
    try:
        told = json.loads(manifest.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(told, dict) and {"format", "checkpoint_sha256", "pictures", "failed"} <= told.keys()


def _names(given: Sequence[str] | None) -> list[str] | None:
    """Tasks, also where they were given as a YAML list: `[semseg, depth]`."""
    if given is None:
        return None
    return [name for name in " ".join(given).replace("[", " ").replace("]", " ").replace(",", " ").split() if name]


def _default_folder(ckpt_path: str) -> Path:
    if ckpt_path.startswith("hf://"):  # beside the hub's cache nobody would look
        from mtdense.models.hub import repository_name

        return Path("predictions") / repository_name(ckpt_path)
    checkpoint = Path(ckpt_path)
    run = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    return run / "predictions"
