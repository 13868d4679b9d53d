from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mtdense.core.errors import ConfigError
from mtdense.reports import ContactRow, contact_sheet, rows_from_batch
from mtdense.reports.contact_sheet import UNLABELLED_GREY
from mtdense.tasks import build_tasks
from tests.reports.helpers import random_batch, tasks_of

RED, GREEN, STRUCK = [250, 10, 10], [10, 250, 10], [190, 40, 40]


def two_colours():
    return build_tasks({"semseg": {"num_classes": 2, "palette": [RED, GREEN]}})


def count(picture, colour):
    return int((picture == np.array(colour)).all(-1).sum())


def test_tiles_hold_image_target_and_prediction(tmp_path):
    image = np.full((64, 80, 3), (12, 34, 56), np.uint8)
    row = ContactRow(image, {"semseg": np.zeros((64, 80), int)}, {"semseg": np.ones((64, 80), int)}, "kitchen/1")
    path = contact_sheet([row, row], two_colours(), tmp_path / "sub" / "sheet.png")
    with Image.open(path) as opened:
        assert (opened.format, opened.mode) == ("PNG", "RGB")
        sheet = np.asarray(opened)
    # Two rows of three tiles, each enlarged three times.
    tile = 3 * 64 * 3 * 80
    assert [count(sheet, colour) for colour in ((12, 34, 56), RED, GREEN)] == [2 * tile] * 3
    lefts = [int(np.argwhere((sheet == np.array(c)).all(-1))[:, 1].min()) for c in ((12, 34, 56), RED, GREEN)]
    assert lefts == sorted(lefts)


def test_a_missing_label_is_grey_and_an_empty_column_is_left_out(tmp_path):
    image = np.zeros((32, 32, 3), np.uint8)
    ids = np.zeros((32, 32), int)
    labelled, unlabelled = ContactRow(image, {"semseg": ids}, {"semseg": ids}), ContactRow(image, {}, {"semseg": ids})
    grey = [UNLABELLED_GREY] * 3
    sheet = np.asarray(Image.open(contact_sheet([labelled, unlabelled], two_colours(), tmp_path / "a.png")))
    assert count(sheet, grey) > 0.8 * (6 * 32) ** 2
    wide = sheet.shape[1]
    sheet = np.asarray(Image.open(contact_sheet([unlabelled], two_colours(), tmp_path / "b.png")))
    assert count(sheet, grey) < 100  # smoothed letters at most
    assert sheet.shape[1] < wide


def test_what_the_mask_withholds_is_struck_through_and_what_is_not_there_is_not(tmp_path):
    image, ids = np.zeros((64, 64, 3), np.uint8), np.ones((64, 64), int)
    tile = (3 * 64) ** 2
    rows = [ContactRow(image, {"semseg": ids}), ContactRow(image, {"semseg": ids}, withheld=["semseg"])]
    sheet = np.asarray(Image.open(contact_sheet(rows, two_colours(), tmp_path / "a.png")))
    assert count(sheet, GREEN) == tile
    assert 0.05 * tile < count(sheet, STRUCK) < 0.2 * tile
    faded = [round(255 - 0.35 * (255 - level)) for level in GREEN]
    assert count(sheet, faded) > 0.7 * tile
    rows[1] = ContactRow(image, withheld=["semseg"])
    sheet = np.asarray(Image.open(contact_sheet(rows, two_colours(), tmp_path / "b.png")))
    assert count(sheet, STRUCK) == 0
    assert count(sheet, [UNLABELLED_GREY] * 3) > 0.9 * tile


@pytest.mark.parametrize(
    ("size", "tile"), [((64, 80), (192, 240)), ((240, 320), (240, 320)), ((1080, 1920), (360, 640))]
)
def test_tiles_are_scaled_by_whole_factors(tmp_path, size, tile):
    row = ContactRow(np.full((*size, 3), (12, 34, 56), np.uint8))
    sheet = np.asarray(Image.open(contact_sheet([row], {}, tmp_path / "a.png")))
    assert count(sheet, (12, 34, 56)) == tile[0] * tile[1]


def test_target_and_prediction_share_one_scale(tmp_path):
    target = np.linspace(1, 5, 32 * 32, dtype=np.float32).reshape(32, 32)
    flat = np.full((32, 32), 1.0, np.float32)
    image = np.zeros((32, 32, 3), np.uint8)
    rows = [ContactRow(image, {"depth": target}, {"depth": flat})]
    sheet = np.asarray(Image.open(contact_sheet(rows, tasks_of("depth"), tmp_path / "a.png")))
    # The flat prediction is as near as the target's nearest pixels, so it has their colour.
    nearest = tasks_of("depth")["depth"].draw(target)[0, 0]
    assert count(sheet, nearest) > (6 * 32) ** 2


def test_rows_from_a_batch_drop_padding_and_unlabelled_targets():
    batch = random_batch()
    batch["meta"]["content"][0] = batch["meta"]["content"].new_tensor([2, 3, 10, 12])
    batch["labelled"]["depth"][0] = False
    rows = rows_from_batch(batch, batch["targets"], limit=1)
    assert len(rows) == 1
    assert rows[0].image.shape == (10, 12, 3)
    assert set(rows[0].targets) == {"semseg", "normals"}
    assert rows[0].predictions["normals"].shape == (10, 12, 3)
    np.testing.assert_array_equal(rows[0].predictions["depth"], batch["targets"]["depth"][0, 2:12, 3:15].numpy())


def test_bad_rows_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"a\.png has no images"):
        contact_sheet([], tasks_of("depth"), tmp_path / "a.png")
    row = ContactRow(np.zeros((4, 4, 3), np.uint8), {"depth": np.ones((4, 4))}, {"depth": np.ones((4, 5))}, "kitchen")
    with pytest.raises(ConfigError, match="kitchen: depth"):
        contact_sheet([row], tasks_of("depth"), tmp_path / "a.png")


def test_peers_stand_behind_the_prediction_of_their_task(tmp_path):
    image = np.full((64, 80, 3), 7, np.uint8)
    zeros, ones = np.zeros((64, 80), int), np.ones((64, 80), int)
    row = ContactRow(image, {"semseg": zeros}, {"semseg": ones}, peers={"a": {"semseg": zeros}, "b": {"other": ones}})
    bare = ContactRow(image, {"semseg": zeros}, {"semseg": ones})
    sheet = np.asarray(Image.open(contact_sheet([row, bare], two_colours(), tmp_path / "a.png")))
    tile = 3 * 64 * 3 * 80
    # Two labels and one peer, two predictions; what a peer lacks is a grey tile, and a peer without the task no column.
    assert [count(sheet, colour) for colour in (RED, GREEN)] == [3 * tile, 2 * tile]
    assert tile <= count(sheet, [UNLABELLED_GREY] * 3) < 1.1 * tile
    assert sheet.shape[1] == 2 * 12 + 4 * 240 + 3 * 4 + 12
    rightmost = [int(np.argwhere((sheet == np.array(c)).all(-1))[:, 1].max()) for c in (RED, GREEN)]
    assert rightmost[0] > rightmost[1]
    wrong = ContactRow(image, {"semseg": zeros}, peers={"a": {"semseg": ones[:32]}})
    with pytest.raises(ConfigError, match="semseg has a target of size"):
        contact_sheet([wrong], two_colours(), tmp_path / "b.png")
