from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from mtdense.core import optional
from mtdense.core.errors import MissingDependencyError
from mtdense.core.optional import require


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of an importable module of version 1.4."""
    name = f"brought_by_an_extra_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text('__version__ = "1.4"\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def not_installed(name: str) -> metadata.Distribution:
    raise metadata.PackageNotFoundError(name)


def test_present_module_is_returned(module: str) -> None:
    assert require(module, "viz").__name__ == module


@pytest.mark.parametrize(("minimum", "enough"), [("1.4", True), ("1.3.9", True), ("1.10", False)])
def test_minimum_is_compared_as_a_version(module: str, minimum: str, enough: bool) -> None:
    if enough:
        require(module, "viz", minimum=minimum)
    else:
        with pytest.raises(MissingDependencyError, match=r"1\.10 or newer; installed is 1\.4"):
            require(module, "viz", minimum=minimum)


def test_missing_module_names_itself_and_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional.metadata, "distribution", lambda name: object())
    with pytest.raises(MissingDependencyError) as caught:
        require("no_such_package_anywhere.inner", "weighting")
    assert "no_such_package_anywhere" in caught.value.problem
    assert caught.value.mend == 'run: python -m pip install "mtdense[weighting]"'


def test_checkout_without_installation_is_installed_from_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional.metadata, "distribution", not_installed)
    with pytest.raises(MissingDependencyError) as caught:
        require("no_such_package_anywhere", "viz")
    checkout = Path(__file__).resolve().parents[2]
    assert caught.value.mend == f'run: python -m pip install -e "{checkout}[viz]"'
