from __future__ import annotations

import numpy as np

from mtdense.tasks.colours import GREY, class_palette, draw_classes, draw_grey, draw_scale


def test_colours_are_distinct_and_none_is_the_grey_of_invalid_pixels():
    for background in (False, True):
        palette = np.array(class_palette(255, background), dtype=int)
        colours = np.vstack([palette, [GREY]])
        apart = np.abs(colours[:, None] - colours[None]).sum(-1)
        assert apart[~np.eye(len(colours), dtype=bool)].min() >= 16
    first = np.array([*class_palette(21), GREY], dtype=int)
    apart = np.abs(first[:, None] - first[None]).sum(-1)
    assert apart[~np.eye(len(first), dtype=bool)].min() >= 50


def test_a_longer_palette_starts_with_the_shorter_one():
    assert class_palette(255)[:40] == class_palette(40)
    assert class_palette(40)[:5] == class_palette(5)
    assert len(class_palette(256, background_first=True)) == 256


def test_ids_without_a_colour_are_grey():
    picture = draw_classes(np.array([[0, 1, 2, -1, 255]]), [[9, 9, 9], [8, 8, 8]])
    assert picture[0].tolist() == [[9] * 3, [8] * 3, list(GREY), list(GREY), list(GREY)]


def test_grey_and_scale_rise_and_survive_nan():
    shares, valid = np.array([[0.0, 0.5, 1.0, np.nan]]), np.array([[True, True, True, False]])
    assert draw_grey(shares, valid)[0, :, 0].tolist() == [0, 128, 255, 128]
    ramp = np.linspace(0, 1, 100)[None]
    lightness = draw_scale(ramp, np.ones_like(ramp, dtype=bool))[0].astype(float) @ [0.3, 0.59, 0.11]
    assert (np.diff(lightness) >= -0.5).all()
    assert draw_scale(shares, valid)[0, 3].tolist() == list(GREY)
