"""Every shipped experiment of the partial-label family: parsed and built as it stands, trained in small on replicas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch.cli import LightningCLI

from mtdense.cli import lightning_cli
from mtdense.cli.configs import merged_configs
from mtdense.core.experiments import experiment_names
from mtdense.data.cityscapes.mtan_writer import write_cityscapes_mtan_replica
from mtdense.data.nyud.mtan_writer import write_mtan_replica
from mtdense.data.pascal.context_writer import write_pascal_context_replica
from tests.conftest import CONF
from tests.whole_run import Main, whole_run

WRITERS = {
    "pascal_context": write_pascal_context_replica,
    "nyud_mtan": write_mtan_replica,
    "cityscapes_mtan": write_cityscapes_mtan_replica,
}
SETTINGS = ("one-label", "random-label", "full")
# <dataset>/<setting>/<method>-<backbone>.yaml; files that only hold what others share name no class.
NAMES = [
    name
    for name in experiment_names()
    if name.count("/") == 2
    and name.split("/")[0] in WRITERS
    and name.split("/")[1] in SETTINGS
    and "class_path" in merged_configs([name]).get("model", {})
]
LABEL_SEED = 6
WEIGHTS = {"semseg": 1.0, "human_parts": 2.0, "saliency": 5.0, "edges": 50.0, "normals": 10.0, "depth": 1.0}


def parts(name: str) -> tuple[str, str, str, str]:
    """Data set, setting, method and backbone of an experiment's name."""
    dataset, setting, file = name.removesuffix(".yaml").split("/")
    method, backbone = file.rsplit("-", 1)
    return dataset, setting, method, backbone


def quick() -> set[str]:
    """What the fast suite builds and trains: each method once, and once more on SegNet; all in `make test-slow`."""
    chosen: dict[tuple[str, bool], str] = {}
    for name in sorted(NAMES, key=lambda n: (SETTINGS.index(parts(n)[1]), n)):
        dataset, _, method, backbone = parts(name)
        segnet = backbone == "segnet"
        if segnet == (dataset == "cityscapes_mtan"):
            chosen.setdefault((method, segnet), name)
    return set(chosen.values())


QUICK = quick()
EACH = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES]


def test_all_that_the_tables_need_is_there() -> None:
    """Tables 1, 2, 5 and 6 of prototype-based knowledge retrieval, and MTPSL's own SegNet."""
    methods = ["single_task", "mtl_baseline", "semi_supervised", "mtpsl", "prototype"]
    methods += ["diffusion_mtl_feature", "diffusion_mtl_prediction"]
    wanted = {
        f"{dataset}/{setting}/{method}-resnet18.yaml"
        for dataset in ("pascal_context", "nyud_mtan")
        for setting in ("one-label", "random-label")
        for method in methods
    }
    wanted |= {f"pascal_context/one-label/{method}-resnet50.yaml" for method in ("prototype", *methods[-2:])}
    prompted = ("prompted_task_prompter", "prompted_tsp")
    wanted |= {f"nyud_mtan/full/{method}-resnet18.yaml" for method in ("mtl_baseline", "prototype", *prompted)}
    wanted |= {
        f"{dataset}/{setting}/{method}-segnet.yaml"
        for dataset, settings in (("nyud_mtan", SETTINGS), ("cityscapes_mtan", ("one-label", "full")))
        for setting in settings
        for method in ("single_task", "mtl_baseline", "mtpsl")
    }
    assert wanted - set(NAMES) == set()


class Built(lightning_cli.MTDenseCLI):
    """Parses and builds data, model and trainer of `fit`, and stops there."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"fit": LightningCLI.subcommands()["fit"]}

    def _run_subcommand(self, subcommand: str) -> None:
        pass


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Built]:
    """An experiment as `mtdense fit` builds it, at full size but without memory for its weights."""

    def built(name: str) -> Built:
        monkeypatch.setattr(lightning_cli, "MTDenseCLI", Built)
        monkeypatch.setattr(lightning_cli, "LIGHTNING", ("fit",))
        places = ("--data.root", str(tmp_path / "none"), "--run_dir", str(tmp_path / "run"))
        own = ("--model.pretrained", "false", "--trainer.accelerator", "cpu", "--trainer.devices", "1")
        with torch.device("meta"):
            cli = lightning_cli.run_lightning(["fit", "--config", name, *places, *own])
        assert isinstance(cli, Built)
        return cli

    return built


@pytest.mark.parametrize("name", EACH)
def test_is_what_its_name_says(build: Callable[[str], Built], name: str) -> None:
    """Method, backbone, data, setting and recipe of the built run are those of the file's path."""
    dataset, setting, method, backbone = parts(name)
    cli = build(name)
    assert (cli.datamodule.name, cli.datamodule.label_setting) == (dataset, setting)
    assert (cli.model.method, cli.model.hparams["backbone"]) == (method, backbone)
    assert cli.model.hparams["preset"] == ("dmtl" if method == "prototype" else "paper")
    if method == "single_task":
        assert len(cli.datamodule.tasks) == 1
        assert cli.datamodule.only_labelled is (setting != "full")
        assert len(cli.datamodule.mask_tasks) == {"pascal_context": 5, "nyud_mtan": 3, "cityscapes_mtan": 2}[dataset]
    if backbone == "segnet":
        check_recipe_of_mtpsl(cli, name)
    elif dataset != "cityscapes_mtan" and (dataset, setting) != ("pascal_context", "full"):
        check_recipe_of_diffusion_mtl(cli, dataset)


def check_recipe_of_diffusion_mtl(cli: Built, dataset: str) -> None:
    """Adam at 2e-5, poly by epoch, loss weights 1/2/5/50/10, the same for every method of the ResNet line."""
    h, trainer = cli.model.hparams, cli.trainer
    assert cli.model.loss_weights == {task: WEIGHTS[task] for task in cli.model.tasks}
    assert (h["optimizer"], h["lr"], h["weight_decay"]) == ("adam", 2e-5, 1e-6)
    assert (h["schedule"], h["schedule_interval"], h["poly_power"]) == ("poly", "epoch", 0.9)
    assert (h["loss_family"], h["pool"], h["scale"], trainer.gradient_clip_val) == ("diffusion_mtl", None, None, 10.0)
    epochs, batch = {"pascal_context": (100, 6), "nyud_mtan": (200, 4)}[dataset]
    assert (trainer.max_epochs, cli.datamodule.batch_size) == (epochs, batch)


def check_recipe_of_mtpsl(cli: Built, name: str) -> None:
    """Adam at 1e-4, halved after 100 of 200 epochs, from scratch, the losses of an image's labels simply added."""
    dataset, _, method, _ = parts(name)
    h = cli.model.hparams
    assert merged_configs([name])["model"]["init_args"]["pretrained"] is False
    assert (h["optimizer"], h["lr"], h["weight_decay"], h["normalization"]) == ("adam", 1e-4, 0.0, "weights")
    assert (h["schedule"], h["schedule_interval"], h["decay_every"], h["decay_factor"]) == ("step", "epoch", 100, 0.5)
    assert (cli.trainer.max_epochs, cli.trainer.gradient_clip_val) == (200, None)
    assert (h["pool"], h["scale"]) == ("image", "image_count")
    assert cli.datamodule.batch_size == {"nyud_mtan": 2, "cityscapes_mtan": 8}[dataset]
    if method != "single_task":
        assert cli.model.loss_weights == dict.fromkeys(cli.model.tasks, 1.0)
        assert dataset != "nyud_mtan" or cli.datamodule.task_specs["normals"]["loss"] == "cosine"
    if method == "semi_supervised":
        assert h["unlabelled_weight"] == 1.0
    if method == "mtpsl":
        expected = {"nyud_mtan": (2.0, 1e-3, 0.0), "cityscapes_mtan": (1.0, 1e-5, 0.5)}[dataset]
        assert (h["consistency_weight"], h["film_lr"], h["view_flip_probability"]) == expected
        assert h["film_decay_every"] == 30


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Sixteen training and three test scenes in each form: with `LABEL_SEED`, labels of each task in every setting."""
    folder = tmp_path_factory.mktemp("replicas")
    return {name: write(folder / name, 16, 3, seed=3, size=(32, 40)) for name, write in WRITERS.items()}


SMALL_VIT = "{overrides: {embed_dim: 16, depth: 4, num_heads: 2}}"


def overlay(name: str) -> tuple[str, ...]:
    """The tiny run of an experiment; SegNet, and what only a transformer can hold, stay what they are, in small.

    Options of a real backbone go with it.
    """
    _, _, method, backbone = parts(name)
    keep = ("--model.backbone", "segnet") if backbone == "segnet" else ()
    given = merged_configs([name])["model"]["init_args"]
    for option in ("backbone_options", "widths"):
        keep += (f"--model.{option}", "null") if given.get(option) else ()
    if method in ("task_prompter", "tsp_transformer"):
        keep += ("--model.backbone", backbone, "--model.backbone_options", SMALL_VIT, "--model.input_size", "[32, 40]")
    if method == "task_prompter":
        keep += ("--model.level_width", "8", "--model.width", "16")
    if method == "tsp_transformer":
        keep += ("--model.prompt_layers", "2")
    return ("--config", str(CONF / "tiny.yaml"), "--model.pretrained", "false", *keep)


@pytest.mark.parametrize("name", EACH)
def test_trains_goes_on_tests_and_predicts(
    mtdense_main: Main, replicas: dict[str, Path], tmp_path: Path, name: str
) -> None:
    """Two steps, a third from the checkpoint, scores and predictions, all from the shipped file."""
    dataset, setting, method, _ = parts(name)
    own = (*overlay(name), "--data.root", replicas[dataset], "--data.label_seed", LABEL_SEED)
    found = whole_run(mtdense_main, tmp_path, name, *own)
    assert (found.fitted["method"], found.fitted["data"]["label_setting"]) == (method, setting)
    assert len(found.predicted) >= 3 * len(found.scored["tasks"])
