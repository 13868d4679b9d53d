from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from mtdense.core.errors import DataError
from mtdense.metrics.functional.edge_nms import edge_orientation, suppress_non_maxima, suppress_non_maxima_reference


def ridge(angle: float, shape: tuple[int, int] = (60, 70)) -> np.ndarray:
    """A blurred line through the middle; `angle` is the direction across it, from the rows' axis downwards."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    across = (columns - shape[1] / 2) * np.cos(angle) + (rows - shape[0] / 2) * np.sin(angle)
    return np.exp(-((across / 2) ** 2)).astype(np.float32)


def test_a_blurred_line_becomes_its_crest():
    edges = np.zeros((40, 50), np.float32)
    edges[:, 25] = 0.8
    edges = ndimage.gaussian_filter1d(edges, 1.5, axis=1)
    thinned = suppress_non_maxima(edges)
    assert np.array_equal(np.flatnonzero(thinned[20] > 0.01), [25])
    assert thinned[20, 25] == edges[20, 25]


@pytest.mark.parametrize("angle", [0.4, np.pi / 4, 1.2, 2.0, 3 * np.pi / 4, 2.9])
def test_the_direction_is_that_of_the_published_formula(angle):
    edges = ridge(angle)
    rows, columns = np.nonzero(edges > 0.9)
    inside = (rows > 12) & (rows < 48) & (columns > 12) & (columns < 58)
    found = edge_orientation(edges)[rows[inside], columns[inside]]
    assert inside.sum() > 30
    # The ratio of the two second derivatives is the square of the tangent, and so it is taken.
    expected = np.arctan(np.tan(angle) ** 2) * np.sign(np.tan(angle))
    # Directions half a turn apart are one.
    assert np.abs(np.sin(found - expected)).max() < 0.02
    assert found.min() >= 0 and found.max() <= np.float32(np.pi)


def test_a_level_line_keeps_its_width_and_an_upright_one_does_not():
    # Where the mixed derivative is 0, the published formula gives direction 0, whatever the others are.
    upright = ndimage.gaussian_filter1d(np.eye(1, 41, 20, dtype=np.float32).repeat(40, 0), 1.5, axis=1)
    assert not edge_orientation(upright.T)[15:25, 15:25].any()
    assert (suppress_non_maxima(upright)[20] > 0.01).sum() == 1
    assert (suppress_non_maxima(upright.T.copy())[:, 20] > 0.01).sum() > 5


def test_strength_fades_over_five_pixels():
    thinned = suppress_non_maxima(np.full((20, 24), 0.5, np.float32))
    assert np.allclose(thinned[10, :6], 0.5 * np.array([0, 0.2, 0.4, 0.6, 0.8, 1.0]))
    assert np.allclose(thinned[::-1][:6, 12], 0.5 * np.array([0, 0.2, 0.4, 0.6, 0.8, 1.0]))
    assert np.isclose(thinned[1, 2], 0.5 * 0.2 * 0.4)


@pytest.mark.parametrize("turned", [False, True])
def test_in_thin_maps_strength_fades_over_half_the_shorter_side(turned):
    edges = np.ones((4, 40), np.float32)
    thinned = suppress_non_maxima(edges.T.copy()).T if turned else suppress_non_maxima(edges)
    assert thinned[2, :4].tolist() == [0, 0.25, 0.5, 0.5]
    assert thinned[:, 20].tolist() == [0, 0.5, 0.5, 0]


@pytest.mark.parametrize("shape", [(45, 60), (60, 45), (2, 2), (3, 9)])
@pytest.mark.parametrize("scale", [0.0, 1.5, 4.0])
def test_equals_the_plain_version(shape, scale):
    for seed in range(3):
        noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), scale)
        coded = np.rint((noise - noise.min()) / (np.ptp(noise) + 1e-9) * 255).astype(np.uint8)
        edges = (coded / 255).astype(np.float32)
        before = edges.copy()
        thinned = suppress_non_maxima(edges)
        assert np.array_equal(edges, before)
        assert np.array_equal(thinned, suppress_non_maxima_reference(edges))
        assert ((thinned == 0) | (thinned <= edges)).all()


@pytest.mark.parametrize(
    ("edges", "named"),
    [
        (np.zeros((4, 5)), "float64"),
        (np.zeros((1, 5), np.float32), "(1, 5)"),
        (np.zeros((1, 4, 5), np.float32), "(1, 4, 5)"),
        (np.full((4, 5), 1.5, np.float32), "1.5"),
        (np.full((4, 5), -0.25, np.float32), "-0.25"),
        (np.full((4, 5), np.nan, np.float32), "nan"),
    ],
)
def test_bad_input_is_named(edges, named):
    for function in (suppress_non_maxima, suppress_non_maxima_reference):
        with pytest.raises(DataError) as error:
            function(edges)
        assert named in error.value.problem and error.value.mend
