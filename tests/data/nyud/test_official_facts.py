"""The published numbers: shapes of the tables, and agreement with real label files where they are at hand."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from mtdense.core.errors import ConfigError
from mtdense.data.nyud import facts
from mtdense.data.procedural import NYUD13_CLASSES


@pytest.fixture(scope="module")
def real() -> Path:
    place = os.environ.get("MTDENSE_REALDATA")
    if not place or not (Path(place) / "nyud" / "meta").is_dir():
        pytest.skip("MTDENSE_REALDATA names no folder with nyud/meta")
    return Path(place) / "nyud"


def test_split_covers_every_frame_once() -> None:
    assert (len(facts.TRAIN_FRAMES), len(facts.TEST_FRAMES)) == (795, 654)
    assert sorted(facts.TRAIN_FRAMES + facts.TEST_FRAMES) == list(range(1, facts.FRAMES + 1))
    assert facts.TRAIN_FRAMES[:3] == (3, 4, 5) and facts.TEST_FRAMES[:3] == (1, 2, 9)
    assert list(facts.TRAIN_FRAMES) == sorted(facts.TRAIN_FRAMES)
    assert list(facts.TEST_FRAMES) == sorted(facts.TEST_FRAMES)


def test_maps_reach_every_class_and_leave_void() -> None:
    for classes in (13, 40):
        table = facts.class_of_label(classes)
        assert table.shape == (895,) and table[0] == 255
        assert set(table[1:]) == set(range(classes)) == set(range(len(facts.class_names(classes))))
    assert facts.CLASSES_13 == NYUD13_CLASSES
    with pytest.raises(ConfigError, match="37"):
        facts.class_of_label(37)


def test_classes_of_one_name_are_one_class() -> None:
    ids = facts.to_13_classes(np.arange(40))
    shared = set(facts.CLASSES_40) & set(facts.CLASSES_13)
    assert len(shared) == 10
    for name in shared:
        assert facts.CLASSES_13[ids[facts.CLASSES_40.index(name)]] == name
    assert facts.CLASSES_13[ids[facts.CLASSES_40.index("television")]] == "tv"
    assert facts.to_13_classes(np.array([[255, 0]])).tolist() == [[255, 11]]


def test_numbers_are_those_of_the_published_files(real: Path) -> None:
    split = scipy.io.loadmat(str(real / "meta" / "splits.mat"))
    assert tuple(split["trainNdxs"][:, 0]) == facts.TRAIN_FRAMES
    assert tuple(split["testNdxs"][:, 0]) == facts.TEST_FRAMES
    to_40 = scipy.io.loadmat(str(real / "meta" / "classMapping40.mat"))["mapClass"][0]
    to_13 = scipy.io.loadmat(str(real / "meta" / "class13Mapping.mat"))["classMapping13"][0, 0][0][0]
    np.testing.assert_array_equal(facts.class_of_label(40)[1:] + 1, to_40)
    np.testing.assert_array_equal(facts.class_of_label(13)[1:] + 1, to_13[to_40 - 1])


def test_real_40_class_masks_become_the_published_13_class_masks(real: Path) -> None:
    masks = {path.name[:6]: path for path in real.glob("drsleep_lwrefinenet/*_mask.png")}
    masks |= {path.stem[-6:]: path for path in real.glob("drsleep_multitask/segm_gt_*.png")}
    assert len(masks) == 7
    with tarfile.open(real / "meta" / "nyuv2_test_class13.tgz") as archive:
        for frame, path in masks.items():
            member = archive.extractfile(f"new_nyu_class13_{int(frame):04d}.png")
            assert member is not None
            published = np.asarray(Image.open(io.BytesIO(member.read()))).astype(np.int64) - 1
            ours = facts.to_13_classes(np.asarray(Image.open(path)))
            if ours.shape != published.shape:  # five of them lack the frame's white border
                top, left = (whole - part for whole, part in zip(published.shape, ours.shape, strict=True))
                published = published[top // 2 : top // 2 + ours.shape[0], left // 2 :][:, : ours.shape[1]]
            assert ours.shape == published.shape
            both = (ours != 255) & (published >= 0)
            assert both.mean() > 0.5
            agreement = (ours == published)[both].mean()
            assert agreement > 0.98, f"frame {frame}: {agreement:.4f}"
