"""The single-task baselines that Δm is formed against while a network trains."""

from __future__ import annotations

from pathlib import Path

import yaml

from mtdense.core.errors import ConfigError

__all__ = ["read_baselines"]

_MEND = "Write `task: score` lines, such as `depth: 0.61`, with the score of each task's single-task network."


def read_baselines(path: str | Path) -> dict[str, float]:
    """Reads {task: score of the single-task network} from a YAML or JSON file.

    Args:
        path: The file. Scores are in the metrics' own units: fractions (not percent), degrees, metres.

    Raises:
        ConfigError: The file is missing or holds anything else.
    """
    try:
        held = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the baselines of Δm in {path}: {error}", _MEND) from error
    if not isinstance(held, dict) or not held:
        raise ConfigError(f"{path} does not hold the baselines of Δm", _MEND)
    for task, score in held.items():
        if isinstance(score, bool) or not isinstance(score, (int, float)):
            raise ConfigError(f"{path} gives {score!r} as the baseline of {task!r}", _MEND)
    return {str(task): float(score) for task, score in held.items()}
