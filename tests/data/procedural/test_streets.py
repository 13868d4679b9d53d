"""Procedural streets: the same on every call, with boxes that hold their vehicles' pixels."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from mtdense.core.errors import ConfigError
from mtdense.data.cityscapes.facts import LABELS
from mtdense.data.procedural import STREETS_VERSION, ProceduralStreets, StreetClass, StreetScene
from mtdense.data.procedural.builder import Builder, Kind
from mtdense.data.procedural.draws import Draws
from mtdense.data.procedural.materials import Palette
from mtdense.data.procedural.vehicles import KINDS, VehicleKind, add_vehicle, draw_size
from mtdense.geometry import backproject
from mtdense.geometry.boxes import Boxes3D, VehicleCamera, amodal_boxes, convert_points, project_boxes
from mtdense.geometry.quaternions import matrix_from_quaternion

SIZES = ((64, 128), (48, 60))


def digest(scene: StreetScene) -> str:
    parts = (scene.image, scene.labels, scene.depth, scene.instances, scene.camera, scene.camera_from_vehicle)
    blob = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
    return hashlib.sha256(blob + repr(scene.vehicles).encode()).hexdigest()


def camera_of(scene: StreetScene) -> VehicleCamera:
    return VehicleCamera(scene.camera, scene.camera_from_vehicle, (scene.labels.shape[0], scene.labels.shape[1]))


def boxes_of(scene: StreetScene) -> Boxes3D:
    return Boxes3D(
        np.array([vehicle.center for vehicle in scene.vehicles]),
        np.array([vehicle.dimensions for vehicle in scene.vehicles]),
        np.array([vehicle.rotation for vehicle in scene.vehicles]),
    )


@pytest.fixture(scope="module")
def scenes() -> list[StreetScene]:
    return [ProceduralStreets(size, seed=seed).render(i) for seed, size in enumerate(SIZES) for i in range(25)]


def test_classes_are_those_of_cityscapes() -> None:
    names = {label.id: label.name.replace(" ", "_").upper() for label in LABELS}
    assert {int(member): member.name for member in StreetClass} == {int(m): names[m] for m in StreetClass}


def test_a_street_is_a_function_of_seed_and_index() -> None:
    streets = ProceduralStreets((32, 64), seed=5)
    first = digest(streets.render(3))
    assert first == digest(ProceduralStreets((32, 64), seed=5).render(3))
    others = {digest(streets.render(4)), digest(ProceduralStreets((32, 64), seed=6).render(3))}
    assert first not in others and len(others) == 2


def test_the_version_names_these_streets() -> None:
    # If this fails, streets have changed: raise STREETS_VERSION and write down the new counts.
    assert STREETS_VERSION == "1"
    expected: list[dict[int, int]] = [
        {7: 3116, 8: 213, 11: 2056, 12: 6, 13: 115, 17: 27, 19: 2, 20: 32, 21: 814, 22: 8, 23: 886, 24: 8, 26: 433,
         30: 476},
        {7: 3596, 8: 403, 11: 2967, 12: 2, 13: 16, 17: 31, 20: 20, 21: 350, 22: 5, 23: 802},
        {7: 2861, 8: 101, 11: 1027, 12: 182, 17: 28, 19: 1, 21: 687, 22: 2, 23: 1033, 24: 35, 26: 966, 27: 1151,
         32: 29, 33: 89},
    ]  # fmt: skip
    for index, counts in enumerate(expected):
        street = ProceduralStreets((64, 128)).render(index)
        found = np.bincount(street.labels.ravel(), minlength=34)
        wanted = np.array([counts.get(label, 0) for label in range(34)])
        # a mathematics library may round differently, which moves a pixel on a boundary at most
        assert np.abs(found - wanted).sum() <= 8
        assert len(street.vehicles) == (7, 0, 9)[index]


def test_the_plain_renderer_sees_the_same() -> None:
    for index in range(2):
        fast, plain = (ProceduralStreets((32, 48), 1, backend).render(index) for backend in ("numba", "numpy"))
        same = fast.instances == plain.instances
        assert same.mean() > 0.998
        np.testing.assert_allclose(fast.depth[same], plain.depth[same], rtol=1e-5)
        difference = np.abs(fast.image[same].astype(int) - plain.image[same])
        assert difference.mean() < 0.1
        assert fast.vehicles == plain.vehicles


def test_bad_arguments() -> None:
    with pytest.raises(ConfigError, match="Image size"):
        ProceduralStreets((4, 64))
    with pytest.raises(ConfigError, match="Street index -1"):
        ProceduralStreets().render(-1)


# ---- boxes -----------------------------------------------------------------------------------------------------------
def test_pixels_of_a_vehicle_are_in_its_box(scenes: list[StreetScene]) -> None:
    """In space to 20 micrometres, as depth has 24 bits; and so in its amodal box."""
    seen = 0
    for scene in scenes:
        camera, boxes = camera_of(scene), boxes_of(scene)
        points = convert_points(backproject(scene.depth, scene.camera), "S", "V", camera)
        amodal = amodal_boxes(boxes, camera)
        for i, vehicle in enumerate(scene.vehicles):
            where = scene.instances == vehicle.instance
            if not where.any():
                continue
            seen += 1
            own = (points[where] - vehicle.center) @ matrix_from_quaternion(np.array(vehicle.rotation))
            assert (np.abs(own) <= 0.5 * np.array(vehicle.dimensions) + 2e-5).all(), vehicle
            rows, columns = np.nonzero(where)
            x1, y1, x2, y2 = amodal[i]
            assert x1 <= columns.min() and columns.max() <= x2 and y1 <= rows.min() and rows.max() <= y2
            assert where.sum() <= vehicle.alone and (scene.labels[where] == vehicle.label).all()
    assert seen > 100


def test_boxes_fit_tightly(scenes: list[StreetScene]) -> None:
    """What nothing hides or cuts fills its amodal box, save for rounding to pixels and round corners."""
    shares = []
    for scene in scenes:
        height, width = scene.labels.shape
        around = project_boxes(boxes_of(scene), camera_of(scene)) if scene.vehicles else []
        for vehicle, box in zip(scene.vehicles, around, strict=True):
            where = scene.instances == vehicle.instance
            free = where.sum() == vehicle.alone > 150 and (box[:2] >= 0).all() and box[2] < width and box[3] < height
            if free:
                rows, columns = np.nonzero(where)
                found = (columns.max() + 1 - columns.min()) * (rows.max() + 1 - rows.min())
                shares.append(found / np.prod(box[2:] - box[:2]))
    assert len(shares) >= 10 and np.median(shares) > 0.85 and min(shares) > 0.6


def test_vehicles_drive_upright_and_apart(scenes: list[StreetScene]) -> None:
    kinds = set()
    for scene in scenes:
        for vehicle in scene.vehicles:
            kinds.add(vehicle.label)
            assert vehicle.center[2] == pytest.approx(0.5 * vehicle.dimensions[2], abs=1e-12)
            assert vehicle.rotation[1:3] == (0.0, 0.0)
        middles = np.array([vehicle.center[:2] for vehicle in scene.vehicles]).reshape(-1, 2)
        gaps = np.linalg.norm(middles[:, None] - middles, axis=-1) + 9 * np.eye(len(middles))
        assert not len(gaps) or gaps.min() > 0.4
    assert kinds == {kind.label for kind in KINDS}
    counts = [len(scene.vehicles) for scene in scenes]
    assert min(counts) == 0 and max(counts) > 6


def test_the_ground_is_flat_and_below_the_camera(scenes: list[StreetScene]) -> None:
    """Road pixels have height 0 in V, whose origin is on the ground."""
    for scene in scenes[:10]:
        points = convert_points(backproject(scene.depth, scene.camera), "S", "V", camera_of(scene))
        road = (scene.labels == StreetClass.ROAD) & (scene.depth < 60)
        assert road.any() and np.abs(points[road][:, 2]).max() < 0.02
        place = convert_points(np.zeros(3), "C", "V", camera_of(scene))
        assert 1.5 < place[0] < 1.9 and 0.05 < place[1] < 0.2 and 1.1 < place[2] < 1.4


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.label.name)
def test_no_part_reaches_out_of_the_box(kind: VehicleKind) -> None:
    for seed in range(20):
        draws = Draws(seed, 0)
        size, builder = draw_size(draws, kind), Builder()
        add_vehicle(builder, draws, Palette(draws), kind, size)
        table = builder.table()
        # World extents of each primitive: boxes and ellipsoids here stand straight; capsules end in balls.
        axes, half, extra = table[:, 4:13].reshape(-1, 3, 3), table[:, 13:16], table[:, 16]
        assert set(table[:, 0]) <= {Kind.BOX, Kind.ELLIPSOID, Kind.CAPSULE}
        reach = np.abs(axes * half[..., None]).sum(axis=1)
        capsule = table[:, 0] == Kind.CAPSULE
        rod = np.abs(axes[:, 2]) * (half[:, 0] * extra)[:, None] + half[:, :1]
        reach[capsule] = rod[capsule]
        low, high = (table[:, 1:4] - reach).min(axis=0), (table[:, 1:4] + reach).max(axis=0)
        length, width, height = size
        limits = np.array([0.5 * width, 0.5 * length, height])
        assert (low >= [-limits[0] - 1e-9, -limits[1] - 1e-9, -1e-9]).all() and (high <= limits + 1e-9).all()
        # And it is no larger than it must be.
        assert ((high - low) >= 0.95 * np.array([width, length, height])).all(), (kind.label, low, high, size)
