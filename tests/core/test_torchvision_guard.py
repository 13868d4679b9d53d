from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"

# A torchvision that behaves like the real one: it registers shape functions for operators that its extension declares.
FAKE_INIT = """
import torch
@torch.library.register_fake("torchvision::nms")
def nms(dets, scores, threshold):
    return dets.new_empty(0, dtype=torch.long)
"""


def run(code: str, *, path: Path | None = None) -> str:
    """Runs `code` in a fresh interpreter that finds mtdense (and `path` before everything else)."""
    folders = [str(path)] if path is not None else []
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([*folders, str(SOURCE)]))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A folder with a `torchvision` that fails to import unless somebody declares its operators."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(FAKE_INIT)
    return tmp_path


def broken_extension(folder: Path) -> None:
    """Puts a compiled extension into the fake that no loader accepts."""
    from importlib.machinery import EXTENSION_SUFFIXES

    (folder / "torchvision" / f"_C{EXTENSION_SUFFIXES[-1]}").write_bytes(b"not a shared library")


def test_the_fake_needs_the_guard(fake: Path) -> None:
    code = """
    import torch
    try:
        import torchvision
    except RuntimeError as error:
        print("nms does not exist" in str(error))
    """
    assert run(code, path=fake) == "True"


@pytest.mark.parametrize("extension", [False, True], ids=["absent", "broken"])
def test_guard_declares_operators_where_the_extension_does_not_load(fake: Path, extension: bool) -> None:
    if extension:
        broken_extension(fake)
    code = """
    from mtdense.core.torchvision_guard import GUARD_ACTIVE, guard_torchvision
    import sys, torch
    assert GUARD_ACTIVE and "torchvision" not in sys.modules
    assert not guard_torchvision(), "a second call declares nothing"
    import torchvision
    try:
        torch.ops.torchvision.nms(torch.rand(3, 4), torch.rand(3), 0.5)
    except NotImplementedError as error:
        print("torchvision::nms" in str(error))
    """
    assert run(code, path=fake) == "True"


def test_guard_leaves_a_working_extension_alone(fake: Path) -> None:
    broken_extension(fake)
    # Loading stands for what a fitting extension does: it declares the operators itself.
    code = """
    import torch
    kept = []
    def load_library(path):
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        kept.append(path)
        kept.append(library)
    torch.ops.load_library = load_library
    from mtdense.core.torchvision_guard import GUARD_ACTIVE
    import torchvision
    print(GUARD_ACTIVE, len(kept))
    """
    assert run(code, path=fake) == "False 2"


def test_guard_leaves_declared_operators_alone(fake: Path) -> None:
    code = """
    import torch
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from mtdense.core.torchvision_guard import GUARD_ACTIVE
    print(GUARD_ACTIVE)
    """
    assert run(code, path=fake) == "False"


def test_guard_completes_a_half_made_declaration(fake: Path) -> None:
    code = """
    import torch
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from mtdense.core.torchvision_guard import GUARD_ACTIVE
    print(GUARD_ACTIVE, hasattr(torch.ops.torchvision, "qnms"))
    """
    assert run(code, path=fake) == "True True"


def test_guard_does_nothing_once_torchvision_is_imported() -> None:
    code = """
    import sys, types
    sys.modules["torchvision"] = types.ModuleType("torchvision")
    from mtdense.core import torchvision_guard
    import torch
    print(torchvision_guard.GUARD_ACTIVE, len(torchvision_guard._kept_alive))
    """
    assert run(code) == "False 0"


def test_torchvision_as_installed_can_be_imported() -> None:
    code = """
    import mtdense, sys
    assert "torchvision" not in sys.modules, "the guard must not import what it guards"
    import torch, torchvision
    from mtdense.core import GUARD_ACTIVE
    boxes, scores = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1)
    try:
        kept = torchvision.ops.nms(boxes, scores, 0.5).tolist()
    except (RuntimeError, NotImplementedError):
        kept = None
    # A working extension computes; a guarded one says that it cannot.
    print(kept == (None if GUARD_ACTIVE else [0]))
    """
    assert run(code) == "True"
