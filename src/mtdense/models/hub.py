"""Packed weights on the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtdense.core.errors import CheckpointError, ConfigError
from mtdense.models.checkpoint import CheckpointInfo, read_checkpoint

__all__ = ["PREFIX", "WEIGHTS_FILE", "is_address", "model_card", "pull", "push", "repository_name"]

PREFIX = "hf://"
"""Addresses: hf://OWNER/NAME, with @REVISION behind it where it is not the newest."""
WEIGHTS_FILE = "model.safetensors"

_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def is_address(path: str | Path) -> bool:
    """Whether it names a repository and not a file."""
    return isinstance(path, str) and path.startswith(PREFIX)


def repository_name(address: str) -> str:
    """What files made of it are called: NAME of hf://OWNER/NAME.

    Raises:
        ConfigError: Not an address.
    """
    return _parts(address)[0].rpartition("/")[2]


def pull(address: str) -> Path:
    """The file of a repository in the hub's local cache, fetched if it is not there yet.

    Args:
        address: hf://OWNER/NAME or hf://OWNER/NAME@REVISION.

    Raises:
        ConfigError: Not an address.
        CheckpointError: No such repository or file, no access, or no network.
    """
    repository, revision = _parts(address)
    import huggingface_hub

    try:
        return Path(huggingface_hub.hf_hub_download(repository, WEIGHTS_FILE, revision=revision))
    except Exception as error:  # the hub's own errors, those of its transport, and the operating system's
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CheckpointError(
            f"{address} cannot be fetched: {said}",
            f"check the name, that it holds {WEIGHTS_FILE}, the network, and for private ones `hf auth login`.",
        ) from error


def push(
    file: Path,
    address: str,
    *,
    private: bool = True,
    message: str = "Add packed weights",
    allow_modules: Sequence[str] = (),
) -> str:
    """Uploads a packed file with a page that says what it is; the repository is made if it is not there.

    Args:
        file: Of `mtdense weights pack`.
        address: hf://OWNER/NAME.
        private: Of a repository that is made now: whether only its owner sees it.
        message: Of the commit.
        allow_modules: See `read_checkpoint`.

    Returns:
        The commit's address.

    Raises:
        ConfigError: Not an address, or one of a revision.
        CheckpointError: Not a packed file, or the hub refuses.
    """
    repository, revision = _parts(address)
    if revision is not None:
        raise ConfigError(f"{address} names a revision", "push to the repository: leave out what follows @.")
    info = read_checkpoint(file, allow_modules)
    if file.suffix != ".safetensors":
        raise ConfigError(f"{file} is no packed file", "make one: `mtdense weights pack`.")
    import huggingface_hub

    page = model_card(info, repository).encode()
    operations = [
        huggingface_hub.CommitOperationAdd(WEIGHTS_FILE, str(file)),
        huggingface_hub.CommitOperationAdd("README.md", page),
    ]
    try:
        api = huggingface_hub.HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        return str(api.create_commit(repository, operations, commit_message=message).commit_url)
    except Exception as error:  # see `pull`
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CheckpointError(
            f"{address} cannot be written: {said}", "log in with `hf auth login`, and check name and network."
        ) from error


def model_card(info: CheckpointInfo, repository: str) -> str:
    """The page of a repository: what the weights are and how they are used; facts of the file alone."""
    tasks = "\n".join(f"| `{name}` | {_meaning(spec)} |" for name, spec in info.about.get("tasks", {}).items())
    data: dict[str, Any] = info.about.get("data") or {}
    size = info.model_args.get("input_size")
    facts = [
        f"- architecture: `{info.model_class.rpartition('.')[2]}`, backbone `{info.model_args.get('backbone')}`",
        f"- input: RGB{'' if size is None else f', trained at {size[0]}x{size[1]}'}",
        f"- data: `{data.get('name')}`, version `{data.get('version')}`, labels `{data.get('label_setting')}`",
    ]
    return f"""---
library_name: mtdense
tags: [multi-task-learning, dense-prediction]
---

# {repository.rpartition("/")[2]}

A network of [mtdense](https://pypi.org/project/mtdense/): one pass over a photograph predicts

| task | meaning |
|---|---|
{tasks}

{chr(10).join(facts)}

```bash
mtdense predict --ckpt_path {PREFIX}{repository} --images ~/photos --out out
```

```python
import mtdense

model = mtdense.load("{PREFIX}{repository}")  # tensors and plain values only: nothing in the file is run
```
"""


def _meaning(spec: dict[str, Any]) -> str:
    names = spec.get("class_names")
    if names:
        return ", ".join(str(name) for name in names).replace("|", "/")
    if "num_classes" in spec:
        return f"{spec['num_classes']} classes"
    return str(spec.get("unit", ""))


def _parts(address: str) -> tuple[str, str | None]:
    match = _ADDRESS.fullmatch(address)
    if match is None or any(set(part) <= {"."} for part in match[1].split("/")):
        raise ConfigError(f"{address!r} is no address on the hub", "write hf://OWNER/NAME or hf://OWNER/NAME@REVISION.")
    return match[1], match[2]
