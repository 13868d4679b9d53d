"""Procedural splits: disjoint, cached exactly, with people where human parts are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from mtdense.core.errors import ConfigError
from mtdense.data.procedural_dataset import ProceduralDataset
from mtdense.data.splits import SPLITS
from mtdense.tasks import build_tasks

SIZE = (24, 32)


def make(split: str = "train", length: int = 6, **options: object) -> ProceduralDataset:
    return ProceduralDataset(SIZE, split, length, **options)  # type: ignore[arg-type]


def test_splits_never_share_a_scene() -> None:
    indices = {
        split: {make(split, n).scene_index(i) for i in range(n)} for split, n in zip(SPLITS, (50, 9, 31), strict=True)
    }
    assert [len(indices[split]) for split in SPLITS] == [50, 9, 31]
    assert not indices["train"] & indices["val"]
    assert not indices["train"] & indices["test"]
    assert not indices["val"] & indices["test"]
    images = {make(split, 3).load(i, []).image.tobytes() for split in SPLITS for i in range(3)}
    assert len(images) == 9


def test_a_longer_split_begins_with_the_shorter() -> None:
    assert make(length=4).ids == make(length=6).ids[:4]
    np.testing.assert_array_equal(make(length=4).load(3, []).image, make(length=6).load(3, []).image)


def test_labels_pass_the_tasks_own_check() -> None:
    data = make()
    tasks = build_tasks(data.task_specs())
    for i in range(len(data)):
        raw = data.load(i, tasks)
        assert raw.camera is not None and raw.camera.shape == (3, 3)
        for name, task in tasks.items():
            checked = task.check_label(raw.labels[name], raw.id)
            assert checked.dtype == raw.labels[name].dtype
            np.testing.assert_allclose(checked, raw.labels[name], atol=1e-5)


def test_the_cache_gives_exactly_the_same() -> None:
    plain, cached = make(), make(cache=True, cache_tasks=["semseg", "normals", "edges"])
    for i in range(6):
        for tasks in (["semseg", "normals", "edges"], ["depth", "semseg"]):  # depth is not in the cache
            one, two = plain.load(i, tasks), cached.load(i, tasks)
            np.testing.assert_array_equal(one.image, two.image)
            np.testing.assert_array_equal(one.camera, two.camera)
            for task in tasks:
                np.testing.assert_array_equal(one.labels[task], two.labels[task])
                assert one.labels[task].dtype == two.labels[task].dtype
    assert [plain.eligible(i, "human_parts") for i in range(6)] == [cached.eligible(i, "human_parts") for i in range(6)]


def test_human_parts_are_eligible_where_a_person_is() -> None:
    data = make(length=12)
    people = [bool(data.load(i, ["human_parts"]).labels["human_parts"].any()) for i in range(12)]
    assert [data.eligible(i, "human_parts") for i in range(12)] == people
    assert 0 < sum(people) < 12
    assert data.available(people.index(False)) == set(data.task_specs())


def test_seed_and_size_are_in_the_version() -> None:
    assert len({make().version, make(seed=1).version, ProceduralDataset((24, 40), "train", 1).version}) == 3
    assert not np.array_equal(make().load(0, []).image, make(seed=1).load(0, []).image)


def test_faults() -> None:
    with pytest.raises(ConfigError, match="trial"):
        make("trial")
    with pytest.raises(ConfigError, match="0 procedural"):
        make(length=0)


def test_equal_data_sets_share_one_rendering_which_nobody_can_change() -> None:
    first = make(cache=True)
    second = make(cache=True)
    assert second._rendered is first._rendered
    assert make(cache=True, seed=1)._rendered is not first._rendered
    assert make("val", cache=True)._rendered is not first._rendered
    with pytest.raises(ValueError, match="read-only"):
        first.load(0, []).image[0, 0] = 0
