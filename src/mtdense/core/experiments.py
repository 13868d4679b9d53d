"""Where the shipped experiment files lie, in a checkout and in an installed wheel alike."""

from __future__ import annotations

from pathlib import Path

from mtdense.core.errors import ConfigError
from mtdense.core.suggest import close_matches

__all__ = ["experiment_names", "experiments_root", "resolve_experiment"]

_FOLDER = "experiments"
_SUFFIX = ".yaml"


def _candidate_roots() -> tuple[Path, Path]:
    """The folder inside the installed package, and the one of a checkout (``<checkout>/src/mtdense``)."""
    package = Path(__file__).resolve().parents[1]
    return package / _FOLDER, package.parents[1] / _FOLDER


def experiments_root() -> Path:
    """Folder that holds the shipped experiments.

    A wheel carries them inside the package; an editable install and a plain ``PYTHONPATH=src`` use the checkout's.

    Returns:
        An absolute path to an existing folder.

    Raises:
        ConfigError: There is no such folder in either place.
    """
    installed, checkout = _candidate_roots()
    if installed.is_dir():
        return installed
    # Only a real checkout counts: site-packages/../experiments could be anybody's.
    if checkout.is_dir() and installed.parents[1].name == "src":
        return checkout
    raise ConfigError(
        f"the shipped experiments are neither in {installed} nor in {checkout}",
        "install mtdense again, or give the path of your own experiment file",
    )


def experiment_names() -> tuple[str, ...]:
    """Every shipped experiment file, sorted, as a POSIX path relative to `experiments_root`.

    Raises:
        ConfigError: The folder of the shipped experiments is missing.
    """
    root = experiments_root()
    return tuple(sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.suffix == _SUFFIX))


def _close_matches(wanted: str) -> list[str]:
    """Up to three shipped experiments that look like `wanted`, by whole path first, then by file name."""
    # Compared without the suffix, which people forget.
    names = {name.removesuffix(_SUFFIX): name for name in experiment_names()}
    stem = wanted.removesuffix(_SUFFIX)
    close = close_matches(stem, names)
    if not close:
        last = {name.rsplit("/", 1)[-1] for name in names}
        similar = close_matches(stem.rsplit("/", 1)[-1], last)
        close = [name for name in names if name.rsplit("/", 1)[-1] in similar][:3]
    return [names[stem] for stem in close]


def _shipped_name(path: Path) -> str | None:
    """`path` as a name below the shipped experiments (without a leading ``experiments/``); None if it cannot be one."""
    if path.is_absolute() or ".." in path.parts:
        return None
    return path.as_posix().removeprefix(f"{_FOLDER}/")


def resolve_experiment(path: str) -> Path:
    """Find an experiment file.

    Args:
        path: A file relative to the working directory (or absolute); or else a shipped experiment, named relative to
            `experiments_root`, with or without a leading ``experiments/``. A file in the working directory wins.

    Returns:
        The absolute path of an existing file.

    Raises:
        ConfigError: There is no such file; the message lists shipped experiments of similar name.
    """
    if not path.strip():
        raise ConfigError("the name of the experiment is empty", "give the path of a YAML file")
    given = Path(path).expanduser()
    if given.is_file():
        return given.resolve()
    name = _shipped_name(given)
    shipped = _root_or_none()
    if name is not None and shipped is not None:
        if (shipped / name).is_file():
            return (shipped / name).resolve()
        if not given.is_dir():
            given = shipped / name
    if given.is_dir():
        inside = sorted(p.name for p in given.iterdir() if p.suffix == _SUFFIX or p.is_dir())
        raise ConfigError(f"{path!r} is a folder, not an experiment file", f"name one file in it: {', '.join(inside)}")
    raise ConfigError(f"there is no experiment file {path!r}", _suggestion(name or path))


def _root_or_none() -> Path | None:
    try:
        return experiments_root()
    except ConfigError:
        return None


def _suggestion(wanted: str, limit: int = 12) -> str:
    """What to name instead: similar experiments, or else the first ones there are."""
    if _root_or_none() is None:
        return "give the path of an existing YAML file (the shipped experiments are not installed)"
    close = _close_matches(wanted)
    if close:
        return f"did you mean {' or '.join(close)}?"
    names = experiment_names()
    return f"the shipped ones are: {', '.join(names[:limit])}{', ...' if len(names) > limit else ''}"
