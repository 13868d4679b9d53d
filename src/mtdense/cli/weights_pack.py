"""`mtdense weights pack | push | pull`: trained networks as one file without pickle, and on the Hugging Face Hub."""

from __future__ import annotations

import argparse
from pathlib import Path

from mtdense.cli.allow_module import add_allow_module
from mtdense.cli.outputs import check_output
from mtdense.core.errors import ConfigError

__all__ = ["add_actions"]


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the actions."""
    pack = actions.add_parser("pack", help="a checkpoint's weights and what builds the network, as safetensors")
    pack.add_argument("--ckpt_path", required=True, metavar="FILE", help="checkpoint of `mtdense fit`")
    pack.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .safetensors to write")
    add_allow_module(pack)
    pack.set_defaults(func=run_pack)
    push = actions.add_parser("push", help="upload a packed file to the Hugging Face Hub, with a page about it")
    push.add_argument("file", type=Path, metavar="FILE", help="of `mtdense weights pack`")
    push.add_argument("address", metavar="ADDRESS", help="hf://OWNER/NAME")
    push.add_argument("--public", action="store_true", help="let everybody see a repository that is made now")
    add_allow_module(push)
    push.set_defaults(func=run_push)
    pull = actions.add_parser("pull", help="fetch a packed file from the Hugging Face Hub")
    pull.add_argument("address", metavar="ADDRESS", help="hf://OWNER/NAME or hf://OWNER/NAME@REVISION")
    pull.add_argument(
        "--out", type=Path, metavar="FILE", help="a .safetensors to write (default: NAME.safetensors, here)"
    )
    add_allow_module(pull)
    pull.set_defaults(func=run_pull)


def run_pack(args: argparse.Namespace) -> int:
    """Reads, writes, reads back.

    Raises:
        CheckpointError: See `read_checkpoint`.
        ConfigError: An output that cannot be written, or weights that are packed already.
    """
    if args.ckpt_path.startswith("hf://") or Path(args.ckpt_path).suffix == ".safetensors":
        copied = "fetch them by `mtdense weights pull`" if args.ckpt_path.startswith("hf://") else "copy the file"
        raise ConfigError(f"{args.ckpt_path} holds packed weights already", f"{copied}, or name a .ckpt.")
    _check_out(args.out, [Path(args.ckpt_path)])
    import torch

    from mtdense.models.checkpoint import load, read_checkpoint
    from mtdense.reports.canonical import file_checksum, write_atomic
    from mtdense.training.packed_weights import pack_content, packed_bytes

    info = read_checkpoint(args.ckpt_path, args.allow_module)  # checks what it names
    state, told = pack_content(torch.load(info.path, map_location="cpu", weights_only=True))
    write_atomic(args.out, packed_bytes(state, told))
    try:
        load(args.out, args.allow_module)
    except BaseException:
        args.out.unlink(missing_ok=True)
        raise
    millions = sum(value.numel() for value in state.values()) / 1e6
    print(f"Wrote {args.out}: {millions:.2f} M numbers, sha256 {file_checksum(args.out)}")
    return 0


def run_push(args: argparse.Namespace) -> int:
    """Uploads.

    Raises:
        CheckpointError: See `mtdense.models.hub.push`.
    """
    from mtdense.models.hub import push

    print(f"Wrote {push(args.file, args.address, private=not args.public, allow_modules=args.allow_module)}")
    return 0


def run_pull(args: argparse.Namespace) -> int:
    """Fetches, and checks that the network can be built.

    Raises:
        CheckpointError: See `mtdense.models.hub.pull` and `mtdense.load`.
    """
    from mtdense.models.checkpoint import load
    from mtdense.models.hub import pull, repository_name
    from mtdense.reports.canonical import file_checksum, write_atomic

    out = args.out or Path(f"{repository_name(args.address)}.safetensors")
    _check_out(out, [])
    cached = pull(args.address)
    model = load(cached, args.allow_module)
    write_atomic(out, cached.read_bytes())
    print(f"Wrote {out}: {model.method}, {', '.join(model.tasks)}, sha256 {file_checksum(out)}")
    return 0


def _check_out(out: Path, inputs: list[Path]) -> None:
    check_output("--out", out, inputs)
    if out.suffix != ".safetensors":
        raise ConfigError(f"--out {out} is no .safetensors", "let the name end so: that is what the file is read by.")
    if out.exists():
        raise ConfigError(f"--out {out} is there already", "name another file, or remove it.")
