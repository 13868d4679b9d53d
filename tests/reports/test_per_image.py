from __future__ import annotations

from mtdense.reports import scores_csv


def test_a_line_per_image_and_a_column_per_score_that_was_taken() -> None:
    rows = {"b": {"depth/RMSE": 0.5}, "a": {"semseg/mIoU": 0.25, "depth/RMSE": 1.0}, "c": {}}
    text = scores_csv(rows, ["semseg/mIoU", "depth/RMSE", "normals/mErr"])
    assert text == "id,semseg/mIoU,depth/RMSE\na,0.25,1.0\nb,,0.5\nc,,\n"
