"""Both Cityscapes data modules end to end, on replicas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from data_modules.cityscapes import CityscapesDataModule
from data_modules.cityscapes_mtan import CityscapesMtanDataModule
from mtdense.core.errors import ConfigError, DataError
from mtdense.data.cityscapes.mtan_writer import MASK_FILE, write_cityscapes_mtan_replica
from mtdense.data.cityscapes.official_writer import write_cityscapes_replica
from mtdense.data.pack_work import RawWork, SourceWork, find_files, fingerprint
from mtdense.data.pack_writer import write_pack

TASKS = ["semseg", "depth"]
MODULES = {"cityscapes": CityscapesDataModule, "cityscapes_mtan": CityscapesMtanDataModule}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("cityscapes")
    return {
        "cityscapes": write_cityscapes_replica(folder / "official", train=8, test=3, size=(32, 64)),
        "cityscapes_mtan": write_cityscapes_mtan_replica(folder / "mtan", train=8, test=3, size=(32, 64)),
    }


def make(roots: dict[str, Path], name: str, **options: Any) -> CityscapesDataModule | CityscapesMtanDataModule:
    defaults: dict[str, Any] = {
        "root": str(roots[name]),
        "tasks": TASKS,
        "size": (16, 32),
        **({"score_size": None} if name == "cityscapes" else {}),
        "batch_size": 4,
        "val_fraction": 0.25,
    }
    return MODULES[name](**{**defaults, **options})


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("name", MODULES)
def test_end_to_end(roots: dict[str, Path], name: str, num_workers: int) -> None:
    data = make(roots, name, num_workers=num_workers, label_setting="one-label", scale_choices=[1.0, 1.5])
    data.setup("fit")
    seen = set()
    for batch in data.train_dataloader():
        seen.update(batch["id"])
        assert batch["image"].shape[1:] == (3, 16, 32)
        labelled = torch.stack([batch["labelled"][task] for task in TASKS])
        assert (labelled.sum(dim=0) == 1).all()
    val = [image_id for batch in data.val_dataloader() for image_id in batch["id"]]
    assert len(seen) == 6 and len(val) == 2 and seen.isdisjoint(val)
    assert seen | set(val) == set(data.published_train().ids)
    data.setup("test")
    tested = {}
    for batch in data.test_dataloader():
        tested.update(zip(batch["id"], batch["targets"]["depth"], strict=True))
        assert all(batch["labelled"][task].all() for task in TASKS)
        assert (batch["meta"]["camera"].abs().sum() > 0) == (name == "cityscapes")
        assert bool((batch["meta"]["baseline"] > 0).all()) == (name == "cityscapes")
    # A smaller image keeps the numbers of the published one: no fit to a canvas may change them.
    stored = data.dataset("test").load(0, ["depth"]).labels["depth"]
    assert torch.equal(tested[data.dataset("test").ids[0]], torch.from_numpy(stored[1::2, 1::2].copy()))
    facts = data.description
    assert facts["name"] == name and facts["version"].startswith(f"replica-{name}-")
    assert [facts[f"{split}_size"] for split in ("train", "val", "test")] == [6, 2, 3]


@pytest.mark.parametrize(("name", "factor"), [("cityscapes", 2.0), ("cityscapes_mtan", 2.0)])
def test_disparity_grows_with_the_zoom(roots: dict[str, Path], name: str, factor: float) -> None:
    """Twice as large is half as far: twice the disparity, half the metres; `legacy_zoom` divides, as public code."""

    def targets(**options: Any) -> torch.Tensor:
        data = make(roots, name, scale_choices=[options.pop("zoom", factor)], val_fraction=0.0, **options)
        depth = {}
        for batch in data.train_dataloader():
            depth.update(zip(batch["id"], batch["targets"]["depth"], strict=True))
        return torch.stack([depth[image_id] for image_id in sorted(depth)])

    def mean_target(**options: Any) -> torch.Tensor:
        found = targets(**options)
        assert (found >= 0).all()
        return found.mean()

    plain = mean_target(zoom=1.0)
    assert mean_target() == pytest.approx(float(plain) * factor, rel=0.25)
    legacy = mean_target(task_options={"depth": {"legacy_zoom": True}})
    assert legacy == pytest.approx(float(plain) / factor, rel=0.25)
    if name == "cityscapes":
        metres = mean_target(zoom=1.0, depth_protocol="metres")
        assert mean_target(depth_protocol="metres") == pytest.approx(float(metres) / factor, rel=0.25)


def test_published_masks(roots: dict[str, Path]) -> None:
    file = str(roots["cityscapes_mtan"] / MASK_FILE)
    data = make(roots, "cityscapes_mtan", label_setting="file", label_file=file, val_fraction=0.0)
    assert data.mask_columns == ("semseg", "depth")
    assert data.label_mask.counts() == {"semseg": 4, "depth": 4}


@pytest.mark.parametrize("num_classes", [7, 19])
def test_numbers_of_classes(roots: dict[str, Path], num_classes: int) -> None:
    data = make(roots, "cityscapes_mtan", num_classes=num_classes)
    assert data.task_specs["semseg"]["num_classes"] == num_classes
    assert data.dataset("train").task_specs()["semseg"]["num_classes"] == num_classes


def test_protocols(roots: dict[str, Path]) -> None:
    spec = make(roots, "cityscapes", depth_protocol="taskprompter").task_specs["depth"]
    assert (spec["unit"], spec["score_above"], spec["score_below"]) == ("disparity", 0.0, 80.0)
    other = make(roots, "cityscapes", depth_protocol="taskprompter", task_options={"depth": {"score_below": 128.0}})
    assert other.task_specs["depth"]["score_below"] == 128.0
    data = make(roots, "cityscapes", depth_protocol="taskprompter")
    data.setup("fit")
    assert data.description["derived"] == ["depth"]


def test_predictions_are_scored_at_the_published_size(roots: dict[str, Path]) -> None:
    """Targets keep stored values at any size; training stays at the size of the network."""
    data = make(roots, "cityscapes", depth_protocol="taskprompter", score_size="protocol")
    data.setup("fit")
    data.setup("test")
    (trained, *_), (tested, *_) = list(data.train_dataloader()), list(data.test_dataloader())
    assert trained["targets"]["depth"].shape[1:] == (16, 32) == tested["image"].shape[2:]
    assert {tuple(target.shape[1:]) for target in tested["targets"].values()} == {(512, 1024)}
    stored = data.dataset("test").load(0, TASKS).labels
    for task in TASKS:
        repeated = torch.from_numpy(stored[task]).repeat_interleave(16, 0).repeat_interleave(16, 1)
        assert torch.equal(tested["targets"][task][0], repeated)
    with pytest.raises(ConfigError, match="512x1024 has another aspect than size 32x40"):
        make(roots, "cityscapes", depth_protocol="taskprompter", score_size="protocol", size=(32, 40))
    make(roots, "cityscapes", score_size="protocol", size=(32, 40))


def test_the_sky_rule_would_leak_classes(roots: dict[str, Path]) -> None:
    """A depth label that tells where the sky is shows a label that the mask withholds."""
    for setting in ("one-label", "random-label"):
        for protocol in ("taskprompter", "mtmamba_legacy"):
            with pytest.raises(ConfigError, match=rf"{protocol}(.|\n)*depth_protocol: disparity"):
                make(roots, "cityscapes", depth_protocol=protocol, label_setting=setting)
        make(roots, "cityscapes", depth_protocol="metres", label_setting=setting)
    make(roots, "cityscapes", depth_protocol="taskprompter", tasks=["depth"], label_setting="one-label")


@pytest.mark.parametrize("codec", ["source", "raw"])
@pytest.mark.parametrize("name", MODULES)
def test_packs(roots: dict[str, Path], tmp_path: Path, name: str, codec: str) -> None:
    """A pack gives the very same arrays, in every protocol (source) or in that it was made with (raw)."""
    files = make(roots, name)
    published = {split: files.open_published(split) for split in ("train", "test")}  # type: ignore[arg-type]
    found = find_files(roots[name])[0]
    facts: dict[str, Any] = {"dataset": name, "source": str(roots[name])}
    if codec == "source":
        work: Any = SourceWork(found, version=published["train"].version, images=11, **facts)
    else:
        facts |= {"sources": fingerprint(roots[name]), "original_bytes": sum(file.size for file in found)}
        work = RawWork(published, TASKS, files.reading, **facts)
    pack = tmp_path / "pack.h5"
    write_pack(work, pack)
    protocols = ["disparity", "taskprompter", "metres"] if (name, codec) == ("cityscapes", "source") else [None]
    for protocol in protocols:
        options = {} if protocol is None else {"depth_protocol": protocol}
        packed, plain = make({name: pack}, name, **options), make(roots, name, **options)
        for split in ("train", "val", "test"):
            one, other = plain.dataset(split), packed.dataset(split)
            assert list(one.ids) == list(other.ids) and one.version == other.version
            for i in range(len(one)):
                raw, same = one.load(i, TASKS), other.load(i, TASKS)
                assert (raw.image == same.image).all()
                assert all((raw.labels[task] == same.labels[task]).all() for task in TASKS)
                assert (raw.camera is None) == (same.camera is None) and raw.baseline == same.baseline
                assert raw.camera is None or (raw.camera == same.camera).all()
    if (name, codec) == ("cityscapes", "raw"):
        with pytest.raises(ConfigError, match="protocol"):
            make({name: pack}, name, depth_protocol="metres").dataset("train")


@pytest.mark.parametrize("name", MODULES)
def test_options_are_checked(roots: dict[str, Path], name: str) -> None:
    with pytest.raises(ConfigError, match="unknown task 'edges'"):
        make(roots, name, tasks=["edges"])
    with pytest.raises(ConfigError, match="val_fraction is 1"):
        make(roots, name, val_fraction=1.0)
    nowhere = {name: roots[name] / "nowhere"}
    with pytest.raises(DataError, match="no such folder"):
        make(nowhere, name).setup("fit")
    with pytest.raises(ConfigError, match="unknown depth_protocol"):
        make(roots, "cityscapes", depth_protocol="feet")
    with pytest.raises(ConfigError, match="num_classes is 8"):
        make(roots, "cityscapes_mtan", num_classes=8)
