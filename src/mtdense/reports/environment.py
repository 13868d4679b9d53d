"""Where a result came from: package versions, code revision, device and memory."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TypedDict

import torch

import mtdense

__all__ = ["CodeRevision", "code_revision", "device_name", "peak_cuda_bytes", "peak_rss_bytes", "utc_now", "versions"]

_PACKAGES = ("torch", "lightning", "torchmetrics", "timm", "numpy", "mtdense")


class CodeRevision(TypedDict):
    """Git commit of the package's checkout (None outside of one) and whether files differed from it."""

    revision: str | None
    dirty: bool | None


def versions(packages: tuple[str, ...] = _PACKAGES) -> dict[str, str | None]:
    """Versions of Python and of the packages that results depend on; None where one is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    # Run from a checkout that was never installed, the package has no metadata.
    found["mtdense"] = found.get("mtdense") or mtdense.__version__
    return found


def utc_now() -> str:
    """The present UTC time, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def code_revision(package: Path | None = None) -> CodeRevision:
    """Git commit and dirty flag of the checkout that holds `package`.

    Only a checkout that *tracks* the package counts: a wheel installed below some other project's repository has no
    revision. Untracked files that Git does not ignore make the checkout dirty, because they may be imported.

    Args:
        package: Folder of a package with an `__init__.py`; None is mtdense's own.
    """
    package = Path(__file__).resolve().parents[1] if package is None else package
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return {"revision": None, "dirty": None}
    revision = _git(package, "rev-parse", "--verify", "HEAD")
    top = _git(package, "rev-parse", "--show-toplevel")
    status = _git(Path(top), "status", "--porcelain") if top else None
    return {"revision": revision, "dirty": None if status is None else bool(status)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def device_name(device: torch.device | None = None) -> str:
    """Readable name of a device, such as "cuda: NVIDIA H100" or "cpu: x86_64, 2 threads"."""
    device = torch.device("cpu") if device is None else device
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    if device.type == "mps":
        return f"mps: {platform.processor() or platform.machine()}"
    return f"{device.type}: {_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def peak_rss_bytes() -> int | None:
    """Largest resident memory of this process so far, without data-loading workers; None where unknown (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return int(peak if sys.platform == "darwin" else peak * 1024)


def peak_cuda_bytes() -> int | None:
    """Largest memory that torch allocated on the current CUDA device since the last reset; None without CUDA."""
    if not torch.cuda.is_available():
        return None
    return int(torch.cuda.max_memory_allocated())
