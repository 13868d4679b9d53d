from __future__ import annotations

import numpy as np
import pytest

from mtdense.data.procedural import ProceduralScenes
from mtdense.data.procedural.builder import Kind
from mtdense.data.procedural.pictures import PICTURES
from mtdense.data.procedural.raster_numba import hit
from mtdense.data.procedural.render_numpy import _hit
from mtdense.data.procedural.textures import PATTERNS, hash_unit, noise


@pytest.mark.parametrize(("size", "seed", "indices"), [((48, 60), 0, range(6)), ((35, 50), 9, range(6))])
def test_the_fast_renderer_agrees_with_the_plain_one(size: tuple[int, int], seed: int, indices: range) -> None:
    fast, plain = ProceduralScenes(size, seed), ProceduralScenes(size, seed, backend="numpy")
    for index in indices:
        a, b = fast.render(index), plain.render(index)
        same = a.instances == b.instances
        assert (~same).sum() <= 4
        for name in ("semseg", "human_parts", "saliency"):
            np.testing.assert_array_equal(getattr(a, name)[same], getattr(b, name)[same])
        np.testing.assert_allclose(a.depth[same], b.depth[same], atol=1e-4)
        different = (np.abs(a.normals - b.normals).max(axis=-1) > 1e-4) & same
        assert different.sum() <= 4  # on the edge between two faces of one thing
        levels = np.abs(a.image.astype(np.int64) - b.image)
        assert (levels.max(axis=-1) > 2).mean() < 0.003
        np.testing.assert_array_equal(a.camera, b.camera)


@pytest.mark.parametrize(("kind", "taper"), [(1, 0.0), (2, 0.0), (3, 0.0), (3, 0.4), (3, -0.35), (4, 2.5)])
def test_rays_enter_primitives_where_an_implicit_function_changes_its_sign(kind: int, taper: float) -> None:
    def inside(points: np.ndarray) -> np.ndarray:
        x, y, z = points.T
        if kind == Kind.BOX:
            return np.abs(points).max(axis=1) <= 1.0
        if kind == Kind.ELLIPSOID:
            return x * x + y * y + z * z <= 1.0
        if kind == Kind.CONE:
            return (np.abs(z) <= 1.0) & (np.hypot(x, y) <= 1.0 - taper * z)
        return np.sqrt(x * x + y * y + (z - np.clip(z, -taper, taper)) ** 2) <= 1.0

    rng = np.random.default_rng(0)
    steps = np.linspace(0.0, 1.0, 4001)
    hits = 0
    for _ in range(300):
        origin = rng.normal(size=3)
        origin *= rng.uniform(4.5, 7.0) / np.linalg.norm(origin)
        direction = 2.0 * (rng.uniform(-1.5, 1.5, 3) - origin)
        t, _ = hit(kind, taper, *origin, *direction)
        other, gradient, _ = _hit(kind, taper, origin, direction[None])
        marched = inside(origin + steps[:, None] * direction)
        if marched.any():
            hits += 1
            assert t == pytest.approx(steps[marched.argmax()], abs=1.0 / 4000 + 1e-9)
            assert other[0] == pytest.approx(t, abs=1e-9)
            assert gradient[0] @ direction < 0.0
        elif t > 0.0:  # a graze that the march steps over
            assert inside((origin + t * direction)[None] * (1.0 - 1e-6))[0]
            assert other[0] == pytest.approx(t, abs=1e-9)
        else:
            assert np.isinf(other[0])
    assert hits > 60


def test_rays_that_leave_a_primitive_do_not_hit_it() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        out = rng.normal(size=3)
        out /= np.linalg.norm(out)
        way = out + 0.9 * rng.uniform(-0.5, 0.5, 3)
        assert hit(Kind.ELLIPSOID, 0.0, *(out * (1 + 1e-12)), *way)[0] < 1e-3
        face = out / np.abs(out).max()
        normal = np.where(np.abs(face) >= 1.0 - 1e-12, np.sign(face), 0.0)
        assert hit(Kind.BOX, 0.0, *face, *(normal + 0.3 * rng.uniform(-1, 1, 3)))[0] < 1e-3


def test_hash_is_uniform_and_fixed() -> None:
    i, j = np.meshgrid(np.arange(-60, 60), np.arange(-60, 60), indexing="ij")
    values = hash_unit(i, j, np.full_like(i, 7))
    assert values.min() >= 0.0 and values.max() < 1.0
    counts = np.histogram(values, 10, (0.0, 1.0))[0]
    assert np.abs(counts / values.size - 0.1).max() < 0.01
    assert abs(np.corrcoef(values[:-1].ravel(), values[1:].ravel())[0, 1]) < 0.03
    assert hash_unit(3, -5, 11) == pytest.approx(hash_unit(np.array([3]), np.array([-5]), np.array([11]))[0], abs=0.0)


def test_noise_is_continuous() -> None:
    x = np.linspace(-3.0, 3.0, 60001)
    values = noise(x, 0.3 * x + 1.0, np.full(x.shape, 5))
    assert np.abs(np.diff(values)).max() < 5e-4 and values.std() > 0.1


@pytest.mark.parametrize("number", sorted(PATTERNS))
def test_patterns_stay_in_range_and_fade_with_distance(number: int) -> None:
    rng = np.random.default_rng(number)
    a, b, seed = rng.uniform(-3, 3, 4000), rng.uniform(-3, 3, 4000), np.full(4000, 12)
    near = PATTERNS[number](a, b, np.full(4000, 0.15), seed, np.full(4000, 0.002))
    far = PATTERNS[number](a, b, np.full(4000, 0.15), seed, np.full(4000, 2.0))
    for share, bright in (near, far):
        assert share.min() >= -1e-9 and share.max() <= 1.0 + 1e-9
        assert bright.min() > 0.2 and bright.max() < 1.4
    assert far[0].std() <= near[0].std() + 1e-9


@pytest.mark.parametrize("number", sorted(PICTURES))
def test_pictures_give_colours(number: int) -> None:
    rng = np.random.default_rng(number)
    u, v = rng.uniform(-1, 1, 2000), rng.uniform(-1, 1, 2000)
    first, second = (np.full(2000, 0.4),) * 3, (np.full(2000, 0.7),) * 3
    seed = rng.integers(0, 9999, 2000)
    channels = PICTURES[number](u, u, v, first, second, np.full(2000, 0.05), seed, np.full(2000, 0.01))
    colour = np.stack(np.broadcast_arrays(*channels))
    assert np.isfinite(colour).all() and colour.min() >= 0.0 and colour.max() <= 1.5
    assert colour.std() > 0.01
