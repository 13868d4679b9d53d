"""Pictures named by file, folder and glob."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_modules.images import ImagesDataModule, find_images
from mtdense.core.errors import ConfigError, DataError


def picture(path: Path, size: tuple[int, int] = (20, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(path)
    return path


def test_find_each_once_in_order(tmp_path: Path) -> None:
    b, a = picture(tmp_path / "b.png"), picture(tmp_path / "a.jpg")
    (tmp_path / "notes.txt").write_text("x")
    assert find_images([str(b), str(tmp_path)]) == [b, a]
    assert find_images([str(tmp_path / "*.jpg")]) == [a]
    for nothing in ("none.png", "*.webp", "notes.txt"):
        with pytest.raises(DataError, match="no picture at"):
            find_images([str(tmp_path / nothing)])


def test_batches_of_any_size_and_unique_ids(tmp_path: Path) -> None:
    paths = [picture(tmp_path / "x" / "one.png"), picture(tmp_path / "y" / "one.png", (60, 20))]
    data = ImagesDataModule(images=[str(p) for p in paths], tasks=["depth"], specs={"depth": {}}, size=(16, 24))
    data.setup("predict")
    (batch,) = list(data.predict_dataloader())
    assert batch["id"] == ["x/one", "y/one"]
    assert batch["image"].shape == (2, 3, 16, 24)
    assert batch["meta"]["original_size"].tolist() == [[20, 30], [60, 20]]
    assert not batch["labelled"]["depth"].any()


def test_cannot_be_trained_on(tmp_path: Path) -> None:
    data = ImagesDataModule(images=[str(picture(tmp_path / "a.png"))], tasks=["depth"], specs={"depth": {}})
    with pytest.raises(ConfigError, match="cannot be trained on"):
        data.setup("fit")
