from __future__ import annotations

from pathlib import Path

import pytest

from mtdense.core import experiments
from mtdense.core.errors import ConfigError

NAMES = ("base/trainer.yaml", "nyud_mtan/one_label/mtl_baseline-resnet18.yaml", "procedural/full/mtl_baseline.yaml")


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with three experiments, and a working directory elsewhere."""
    package = tmp_path / "checkout" / "src" / "mtdense"
    package.mkdir(parents=True)
    root = tmp_path / "checkout" / "experiments"
    for name in (*NAMES, "base/notes.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("a: 1\n")
    monkeypatch.setattr(experiments, "__file__", str(package / "core" / "experiments.py"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return root


def test_checkout_is_used_where_the_package_has_no_experiments(shipped: Path) -> None:
    assert experiments.experiments_root() == shipped


def test_installed_folder_comes_first(shipped: Path) -> None:
    inside = shipped.parent / "src" / "mtdense" / "experiments"
    inside.mkdir()
    assert experiments.experiments_root() == inside


def test_folder_two_above_an_installed_package_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib" / "experiments").mkdir(parents=True)
    (tmp_path / "lib" / "site-packages" / "mtdense").mkdir(parents=True)
    module = tmp_path / "lib" / "site-packages" / "mtdense" / "core" / "experiments.py"
    monkeypatch.setattr(experiments, "__file__", str(module))
    with pytest.raises(ConfigError, match="neither in"):
        experiments.experiments_root()
    with pytest.raises(ConfigError, match=r"'x\.yaml'"):
        experiments.resolve_experiment("x.yaml")


def test_names_are_sorted_and_only_yaml(shipped: Path) -> None:
    assert experiments.experiment_names() == NAMES


@pytest.mark.parametrize("prefix", ["", "experiments/", "./"])
@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_name_resolves(shipped: Path, name: str, prefix: str) -> None:
    assert experiments.resolve_experiment(prefix + name) == shipped / name


def test_working_directory_wins(shipped: Path) -> None:
    mine = Path("base") / "trainer.yaml"
    mine.parent.mkdir()
    mine.write_text("mine: 1\n")
    assert experiments.resolve_experiment("base/trainer.yaml") == mine.resolve()


def test_absolute_path(shipped: Path, tmp_path: Path) -> None:
    mine = tmp_path / "my.yaml"
    mine.write_text("a: 1\n")
    assert experiments.resolve_experiment(str(mine)) == mine


def test_absolute_path_is_never_looked_up_among_the_shipped(shipped: Path) -> None:
    with pytest.raises(ConfigError, match="no experiment file"):
        experiments.resolve_experiment("/base/trainer.yaml")


def test_shipped_lookup_does_not_leave_its_folder(shipped: Path) -> None:
    (shipped.parent / "secret.yaml").write_text("a: 1\n")
    with pytest.raises(ConfigError, match=r"secret\.yaml"):
        experiments.resolve_experiment("../secret.yaml")


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("nyud_mtan/one_label/mtl_baseline-resnet81.yaml", "mtl_baseline-resnet18.yaml"),
        ("procedural/full/mtl_baseline", "procedural/full/mtl_baseline.yaml"),
        ("experiments/base/trainr.yaml", "base/trainer.yaml"),
        ("trainer.yaml", "base/trainer.yaml"),
    ],
)
def test_similar_names_are_offered(shipped: Path, wrong: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        experiments.resolve_experiment(wrong)
    assert wrong in caught.value.problem
    assert "did you mean" in str(caught.value.mend)
    assert meant in str(caught.value.mend)


def test_nothing_similar_lists_what_there_is(shipped: Path) -> None:
    with pytest.raises(ConfigError, match=r"the shipped ones are: base/trainer\.yaml"):
        experiments.resolve_experiment("qqqqqqqqqqqq.yaml")


@pytest.mark.parametrize("folder", ["base", "experiments/base"])
def test_folder_is_refused_and_its_files_named(shipped: Path, folder: str) -> None:
    with pytest.raises(ConfigError, match="is a folder") as caught:
        experiments.resolve_experiment(folder)
    assert "trainer.yaml" in str(caught.value.mend)


@pytest.mark.parametrize("empty", ["", "  "])
def test_empty_name(shipped: Path, empty: str) -> None:
    with pytest.raises(ConfigError, match="empty"):
        experiments.resolve_experiment(empty)


def test_this_checkout_ships_its_experiments() -> None:
    checkout = Path(__file__).resolve().parents[2]
    assert experiments.experiments_root() == checkout / "experiments"
