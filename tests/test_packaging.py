from __future__ import annotations

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

import mtdense

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"mtdense": ROOT / "src" / "mtdense", "data_modules": ROOT / "data_modules"}
EXTRAS = {"dev", "viz", "bench", "cityscapes3d", "weighting", "serve", "export"}

# A room imports only from rooms of a lower floor, and from itself. `core` lies under everything.
FLOORS = {
    "core": 0,
    "geometry": 1,
    "metrics": 2,
    "backbones": 2,
    "tasks": 3,
    "data": 4,
    "training": 4,
    "models": 5,
    "data_modules": 5,
    "reports": 6,
    "cli": 7,
}


# ---- what the files say ----------------------------------------------------------------------------------------------
@cache
def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string((ROOT / "setup.cfg").read_text(encoding="utf-8"))
    return parser


def requirements(section: str, key: str) -> list[Requirement]:
    return [Requirement(line) for line in setup_cfg()[section][key].splitlines() if line and not line.startswith("#")]


def all_requirements() -> list[Requirement]:
    extras = setup_cfg()["options.extras_require"]
    return [
        *requirements("options", "install_requires"),
        *(r for key in extras for r in requirements("options.extras_require", key)),
    ]


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def modules() -> list[Path]:
    return sorted(path for folder in PACKAGES.values() for path in folder.rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything that a module imports, wherever in the file."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            # `from mtdense import tasks` imports a room as well.
            names = [node.module] if node.module != "mtdense" else [f"mtdense.{alias.name}" for alias in node.names]
            yield from ((node.lineno, str(name)) for name in names)


def room_of(name: str) -> str | None:
    parts = name.split(".")
    if parts[0] == "data_modules":
        return "data_modules"
    return parts[1] if parts[0] == "mtdense" and len(parts) > 1 and parts[1] in FLOORS else None


def room_of_file(path: Path) -> str | None:
    if path.is_relative_to(PACKAGES["data_modules"]):
        return "data_modules"
    first = path.relative_to(PACKAGES["mtdense"]).parts[0]
    return first if first in FLOORS else None


# ---- the house -------------------------------------------------------------------------------------------------------
def test_every_room_has_its_floor() -> None:
    rooms = {p.name for p in PACKAGES["mtdense"].iterdir() if p.is_dir() and any(p.rglob("*.py"))}
    assert rooms <= set(FLOORS)


def test_rooms_import_only_from_floors_below() -> None:
    wrong = []
    for path in modules():
        room = room_of_file(path)
        for line, name in imports(path) if room else ():
            other = room_of(name)
            if other is not None and other != room and FLOORS[other] >= FLOORS[str(room)]:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {room} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_only_the_program_knows_the_data_modules() -> None:
    known = {room_of_file(p) for p in modules() for _, name in imports(p) if room_of(name) == "data_modules"}
    assert known <= {"cli", "data_modules"}


def test_data_modules_import_mtdense_first() -> None:
    statements = [
        n for n in tree(PACKAGES["data_modules"] / "__init__.py").body if isinstance(n, ast.Import | ast.ImportFrom)
    ]
    real = [n for n in statements if not (isinstance(n, ast.ImportFrom) and n.module == "__future__")]
    first = real[0].names[0].name if isinstance(real[0], ast.Import) else str(real[0].module)
    assert first.split(".")[0] == "mtdense"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_of_modules_is_a_package(package: str) -> None:
    # setuptools leaves a folder without __init__.py out of the wheel and says nothing.
    folders = {path.parent for path in PACKAGES[package].rglob("*.py")}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").is_file()]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(package: str) -> None:
    assert (PACKAGES[package] / "py.typed").is_file()
    assert "py.typed" in setup_cfg()["options.package_data"][package]


def test_every_module_has_a_docstring_and_names_what_is_public() -> None:
    silent = []
    for path in modules():
        body = [n for n in tree(path).body if not (isinstance(n, ast.ImportFrom) and n.module == "__future__")]
        names = {t.id for n in body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
        # A lone docstring exports nothing, nor does `python -m`.
        exports = len(body) > 1 and path.name != "__main__.py"
        if ast.get_docstring(tree(path)) is None or (exports and "__all__" not in names):
            silent.append(str(path.relative_to(ROOT)))
    assert not silent


# ---- dependencies ----------------------------------------------------------------------------------------------------
def test_extras() -> None:
    assert set(setup_cfg()["options.extras_require"]) == EXTRAS


def test_everything_imported_is_declared() -> None:
    declared = {canonicalize_name(r.name) for r in all_requirements()}
    owners = metadata.packages_distributions()
    undeclared = []
    for path in modules():
        for line, name in imports(path):
            top = name.split(".")[0]
            if top in sys.stdlib_module_names or top in PACKAGES:
                continue
            if not declared & {canonicalize_name(owner) for owner in owners.get(top, [top])}:
                undeclared.append(f"{path.relative_to(ROOT)}:{line}: {top}")
    assert not undeclared, "\n".join(undeclared)


def test_required_extras_exist() -> None:
    for path in modules():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "require":
                extra = next((k.value for k in node.keywords if k.arg == "extra"), None) or node.args[1]
                assert isinstance(extra, ast.Constant) and extra.value in EXTRAS, f"{path}:{node.lineno}"


def test_every_bound_has_its_reason() -> None:
    lines = (ROOT / "setup.cfg").read_text(encoding="utf-8").splitlines()
    bounds = [i for i, line in enumerate(lines) if re.match(r"\s+[\w\[\]-]+[<>=!~]|python_requires", line)]
    assert len(bounds) > 15, "the pattern no longer finds the bounds"
    assert not [lines[i].strip() for i in bounds if not lines[i - 1].lstrip().startswith("#")]


def test_constraints_meet_the_ranges() -> None:
    pins = constraints()
    for requirement in all_requirements():
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{requirement.name} has no exact version in constraints.txt"
        assert requirement.specifier.contains(pins[name]), f"{requirement} against {pins[name]}"


def test_constraints_are_plain_versions() -> None:
    # A local version such as 2.13.0+cpu, or an address, would tie the file to one machine.
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert not line or line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line), line


# ---- metadata --------------------------------------------------------------------------------------------------------
def test_citation_has_the_version_and_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == mtdense.__version__
    released = re.findall(r"^## \[(.+)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert released[0] == mtdense.__version__
    assert citation["license"] == setup_cfg()["metadata"]["license"] == "MIT"
    assert "MIT License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_program_and_module_call_the_same_function() -> None:
    (script,) = setup_cfg()["options.entry_points"]["console_scripts"].split("\n")[1:]
    module, function = script.split("=")[1].strip().split(":")
    assert callable(getattr(__import__(module, fromlist=[function]), function))
    assert f"from {module} import {function}" in (PACKAGES["mtdense"] / "__main__.py").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    done = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True)
    assert set(re.findall(r"^  make ([a-z-]+) +\S", done.stdout, flags=re.MULTILINE)) == set(phony.split())


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize("target", ["reproduce-table-tif-3", "reproduce-tables"])
def test_make_hands_every_setting_on(target: str) -> None:
    settings = ["BUDGET=smoke", "SEEDS=2", "ROWS=all", "JOBS=3", "DEVICE=cpu", "TABLES_OUT=there"]
    done = subprocess.run(
        ["make", "-n", "-C", str(ROOT), target, *settings], capture_output=True, text=True, check=True
    )
    lines = [line for line in done.stdout.splitlines() if "mtdense table " in line]
    assert len(lines) >= 2
    for line in lines:
        assert all(part in line for part in ("--budget smoke", "--seeds 2", "--rows all", "--out there")), line
        assert ("--jobs 3" if " run " in line else "--device cpu") in line
    assert all("--sheet" in line for line in lines if "--format html" in line)
    assert "--format html" in lines[-1]


# ---- the wheel -------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a source archive built from a copy of the checkout."""
    pytest.importorskip("build")
    scratch = tmp_path_factory.mktemp("wheel")
    copy = scratch / "checkout"
    ignore = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "runs", "venv", "wandb")
    shutil.copytree(ROOT, copy, ignore=ignore)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(scratch / "dist"), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (scratch / "dist").glob("*.whl")
    return path


def test_wheel_has_every_module_and_experiment(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {p.relative_to(ROOT).as_posix().removeprefix("src/") for p in modules()}
    expected |= {f"mtdense/{p.relative_to(ROOT).as_posix()}" for p in (ROOT / "experiments").rglob("*.yaml")}
    expected |= {p.relative_to(ROOT / "src").as_posix() for p in (ROOT / "src").rglob("*.json")}
    templates = (ROOT / "src").rglob("templates/*")
    expected |= {p.relative_to(ROOT / "src").as_posix() for p in templates if p.suffix != ".pyc"}
    expected |= {"mtdense/py.typed", "data_modules/py.typed"}
    assert inside == expected


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel alone is installed; what it needs comes from the environment of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(wheel)]
    subprocess.run(command, check=True)
    return folder


def test_installed_wheel_finds_its_experiments(site: Path, tmp_path: Path) -> None:
    code = """
import mtdense, data_modules
from importlib.metadata import version
from pathlib import Path
from mtdense.core import experiment_names, experiments_root, resolve_experiment
print(Path(mtdense.__file__).parents[1], Path(data_modules.__file__).parents[1])
print(experiments_root())
print(version("mtdense") == mtdense.__version__)
print(*[resolve_experiment(name).relative_to(experiments_root()).as_posix() for name in experiment_names()])
"""
    environment = dict(os.environ, PYTHONPATH=str(site))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    homes, root, same_version, names = done.stdout.splitlines()
    assert homes == f"{site} {site}"
    assert root == str(site / "mtdense" / "experiments")
    assert same_version == "True"
    shipped = sorted(p.relative_to(ROOT / "experiments").as_posix() for p in (ROOT / "experiments").rglob("*.yaml"))
    assert names.split() == shipped and shipped


def needed(distribution: metadata.Distribution, extras: set[str], found: dict[str, metadata.Distribution]) -> None:
    """Adds what a distribution requires here, and what that requires."""
    for requirement in map(Requirement, distribution.requires or []):
        marker, name = requirement.marker, canonicalize_name(requirement.name)
        if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            continue
        if name not in found or requirement.extras:
            found[name] = metadata.distribution(name)
            needed(found[name], requirement.extras, found)


@pytest.fixture(scope="module")
def required(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Links to what the wheel says that it requires, and to nothing else of the environment: no extra, no tool."""
    folder = tmp_path_factory.mktemp("required")
    (info,) = site.glob("mtdense-*.dist-info")
    found: dict[str, metadata.Distribution] = {}
    needed(metadata.Distribution.at(info), set(), found)
    for distribution in found.values():
        tops = {file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(distribution.locate_file(top))))
    names = {path.name for path in folder.iterdir()}
    assert {"torch", "lightning", "timm"} <= names and not {"pytest", "hypothesis", "onnx", "sphinx"} & names
    return folder


def test_the_program_works_from_the_wheel_alone(site: Path, required: Path, tmp_path: Path) -> None:
    """Train, test and predict in an empty folder, by the wheel and what it requires, and no other package (-S)."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(site), str(required)]), OMP_NUM_THREADS="1")
    Image.fromarray(np.full((40, 60, 3), 127, np.uint8)).save(tmp_path / "room.png")
    tiny = ["--model.backbone=tiny", "--model.preset=tiny", "--data.train_images=8", "--data.test_images=4"]
    few = [
        "--trainer.max_steps=1",
        "--trainer.val_check_interval=1",
        "--trainer.accelerator=cpu",
        "--data.num_workers=0",
    ]
    experiment = ["--config", "procedural/one-label/mtl_baseline-resnet18.yaml", "--run_dir", "run"]
    last = ["--ckpt_path", "run/checkpoints/last.ckpt"]
    for command in (
        ["fit", *experiment, *tiny, *few],
        ["test", *last, "--trainer.accelerator=cpu"],
        ["predict", *last, "--images", "room.png", "--out", "out"],
    ):
        run = [sys.executable, "-S", "-m", "mtdense", *command]
        done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "records" / "test.json").is_file() and (tmp_path / "out" / "index.html").is_file()
