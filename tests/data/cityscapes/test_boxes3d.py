"""Files of 3-D boxes: a genuine object, round trips, and what is refused."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtdense.core.errors import DataError
from mtdense.data.cityscapes.boxes3d import (
    BOX_LABELS,
    BOXES,
    EVALUATED_LABELS,
    IgnoreRegion,
    ImageBoxes,
    VehicleBox,
    boxes_of,
    read_boxes3d,
    read_detections,
    write_boxes3d,
    write_detections,
)
from mtdense.data.cityscapes.facts import LABELS
from mtdense.geometry import project
from mtdense.geometry.boxes import (
    CORNERS,
    amodal_boxes,
    box_corners,
    convert_boxes,
    convert_points,
    mirror_boxes,
    mirror_boxes2d,
    xyxy_from_xywh,
)
from mtdense.geometry.quaternions import normalise

# A car and its calibration as published (the example in the documentation of cityscapesScripts).
GENUINE: dict[str, Any] = {
    "imgWidth": 2048,
    "imgHeight": 1024,
    "sensor": {
        "sensor_T_ISO_8855": [
            [0.9990881051503779, -0.01948468779721943, -0.03799085532693703, -1.6501524664770573],
            [0.019498764210995674, 0.9998098810245096, 0.0, -0.1331288872611436],
            [0.03798363254444427, -0.0007407747301939942, 0.9992780868764849, -1.2836173638418473],
        ],
        "fx": 2262.52,
        "fy": 2265.3017905988554,
        "u0": 1096.98,
        "v0": 513.137,
        "baseline": 0.209313,
    },
    "objects": [
        {
            "2d": {"modal": [609, 420, 198, 111], "amodal": [602, 415, 214, 118]},
            "3d": {
                "center": [33.95, 5.05, 0.57],
                "dimensions": [4.3, 1.72, 1.53],
                "rotation": [0.9735839424380041, -0.010751769161021867, 0.0027191710555974913, 0.22805988817753894],
                "type": "Mid Size Car",
                "format": "CRS_ISO8855",
            },
            "instanceId": 26010,
            "label": "car",
            "score": 1.0,
        }
    ],
    "ignore": [],
}


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def genuine(tmp_path: Path) -> ImageBoxes:
    return read_boxes3d(written(tmp_path / "genuine.json", GENUINE))


def random_vehicles(count: int) -> tuple[VehicleBox, ...]:
    rng = np.random.default_rng(0)
    found = []
    for i in range(count):
        label = BOX_LABELS[i % len(BOX_LABELS)]
        x, y, w, h = rng.uniform(0, 500, 4)
        found.append(
            VehicleBox(
                label=label,
                center=tuple(rng.normal(size=3) * 40),
                dimensions=tuple(rng.uniform(0.1, 20, 3)),
                rotation=tuple(normalise(rng.normal(size=4))),
                amodal=(x, y, w, h),
                modal=(round(x), round(y), round(w), round(h)),
                score=rng.uniform(),
                instance_id=1000 * 26 + i,
                occlusion=None if i % 2 else rng.uniform(),
                truncation=None if i % 3 else rng.uniform(),
                kind=None if i % 2 else "Mini Truck",
            )
        )
    return tuple(found)


# ---- a genuine object ------------------------------------------------------------------------------------------------
def test_a_genuine_car_projects_to_its_stored_box(genuine: ImageBoxes) -> None:
    boxes, camera = boxes_of(genuine.objects), genuine.camera
    stored = genuine.objects[0].amodal
    assert (genuine.objects[0].label, genuine.objects[0].modal) == ("car", (609, 420, 198, 111))
    found = amodal_boxes(boxes, camera)[0]
    np.testing.assert_allclose(found, [602.5296, 415.6325, 816.1728, 533.9919], atol=5e-5)
    np.testing.assert_array_equal(np.floor(found), xyxy_from_xywh(stored))  # the files cut decimals off
    sensor = convert_boxes(boxes, "S", camera)
    np.testing.assert_allclose(sensor.centers, [[-5.5779, -0.5718, 32.1488]], atol=5e-5)
    np.testing.assert_allclose(sensor.rotations, [[0.971188, 0.01584, -0.237294, -0.015289]], atol=1e-6)
    corners = convert_points(box_corners(boxes), "V", "S", camera)[0]
    pixels = dict(zip(CORNERS, project(corners, camera.matrix), strict=True))
    for name, pixel in {"BLB": (693.2, 533.99), "FRB": (717.05, 520.36), "FLT": (602.53, 421.89)}.items():
        np.testing.assert_allclose(pixels[name], pixel, atol=0.0051)
    mirrored = amodal_boxes(mirror_boxes(boxes), camera.mirrored())
    np.testing.assert_allclose(mirrored, mirror_boxes2d(found, 2048)[None], atol=1e-9)


def test_genuine_files() -> None:
    """Boxes in genuine files lie where their projections are."""
    place = os.environ.get("MTDENSE_REALDATA")
    files = sorted((Path(place) / "cityscapes" / BOXES.folder).rglob(f"*{BOXES.suffix}")) if place else []
    if not files:
        pytest.skip("MTDENSE_REALDATA names no folder with cityscapes/gtBbox3d")
    for path in files[:20]:
        image = read_boxes3d(path)
        stored = np.array([vehicle.amodal for vehicle in image.objects]).reshape(-1, 4)
        found = amodal_boxes(boxes_of(image.objects), image.camera)
        np.testing.assert_allclose(found, xyxy_from_xywh(stored), atol=5)  # cut decimals, and hands that drew them


def test_labels_are_those_of_the_vehicles() -> None:
    vehicles = {label.name for label in LABELS if label.category == 7 and label.instances}
    assert set(BOX_LABELS) == vehicles and len(BOX_LABELS) == 8
    assert set(BOX_LABELS) - set(EVALUATED_LABELS) == {"caravan", "trailer"}
    found = [replace(random_vehicles(1)[0], label=label).class_id for label in (*EVALUATED_LABELS, "trailer")]
    assert found == [0, 1, 2, 3, 4, 5, None]


# ---- round trips -----------------------------------------------------------------------------------------------------
def test_what_was_written_is_read(genuine: ImageBoxes, tmp_path: Path) -> None:
    regions = (IgnoreRegion((848.0, 405.0, 36.0, 30.0), "car", 26000), IgnoreRegion((1.5, 2.0, 0.0, 3.25), "bus", 28))
    labels = replace(genuine, objects=random_vehicles(20), ignore=regions)
    path = tmp_path / "new" / "a_gtBbox3d.json"
    write_boxes3d(path, labels)
    back = read_boxes3d(path)
    assert back.objects == labels.objects and back.ignore == regions and back.baseline == labels.baseline
    np.testing.assert_array_equal(back.camera.matrix, labels.camera.matrix)
    np.testing.assert_array_equal(back.camera.camera_from_vehicle, labels.camera.camera_from_vehicle)
    assert back.camera.size == (1024, 2048)
    assert [vehicle.label for vehicle in back.evaluated] == [v.label for v in back.objects if v.class_id is not None]
    assert 0 < len(back.evaluated) < 20
    again = tmp_path / "b.json"
    write_boxes3d(again, back)
    assert again.read_bytes() == path.read_bytes()


def test_a_genuine_file_comes_out_as_it_went_in(genuine: ImageBoxes, tmp_path: Path) -> None:
    write_boxes3d(tmp_path / "a.json", genuine)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == GENUINE
    assert '"score": 1.0' in (tmp_path / "a.json").read_text(encoding="utf-8")  # the official reader asks for it


def test_numbers_of_numpy_are_written(genuine: ImageBoxes, tmp_path: Path) -> None:
    vehicle = replace(
        genuine.objects[0],
        center=tuple(np.float32([1, 2, 3])),
        amodal=tuple(np.array([1, 2, 3, 4])),
        score=np.float32(0.5),
        instance_id=np.uint16(26001),
        occlusion=np.float32(0.25),
    )
    write_boxes3d(tmp_path / "a.json", replace(genuine, objects=(vehicle,)))
    back = read_boxes3d(tmp_path / "a.json").objects[0]
    assert (back.center, back.amodal, back.score) == ((1, 2, 3), (1, 2, 3, 4), 0.5)
    assert (back.instance_id, back.occlusion) == (26001, 0.25)


def test_images_without_boxes(genuine: ImageBoxes, tmp_path: Path) -> None:
    write_boxes3d(tmp_path / "a.json", ImageBoxes(genuine.camera, genuine.baseline))
    back = read_boxes3d(tmp_path / "a.json")
    assert back.objects == back.ignore == back.evaluated == ()
    assert amodal_boxes(boxes_of(back.objects), back.camera).shape == (0, 4)
    content = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert content["objects"] == content["ignore"] == []
    write_detections(tmp_path / "b.json", ())
    assert json.loads((tmp_path / "b.json").read_text(encoding="utf-8")) == {"objects": []}
    assert read_detections(tmp_path / "b.json") == ()


def test_names_of_older_files(tmp_path: Path) -> None:
    content = copy.deepcopy(GENUINE)
    content["objects"][0]["2d"] = {"bbox": [1, 2, 3, 4], "bboxVis": [2, 2, 1, 1]}
    vehicle = read_boxes3d(written(tmp_path / "a.json", content)).objects[0]
    assert (vehicle.amodal, vehicle.modal) == ((1, 2, 3, 4), (2, 2, 1, 1))


def test_detections(tmp_path: Path) -> None:
    vehicles = tuple(replace(vehicle, instance_id=None) for vehicle in random_vehicles(9))
    write_detections(tmp_path / "a.json", vehicles)
    for found, given in zip(read_detections(tmp_path / "a.json"), vehicles, strict=True):
        np.testing.assert_allclose(found.rotation, given.rotation, atol=1e-15)
        assert replace(found, rotation=given.rotation) == given
    content = {"objects": [copy.deepcopy(GENUINE["objects"][0])]}
    vehicle = content["objects"][0]
    del vehicle["2d"]["modal"], vehicle["instanceId"], vehicle["3d"]["type"], vehicle["3d"]["format"]
    vehicle["3d"]["rotation"] = [0.3, 0, 0, 0.4]
    (found,) = read_detections(written(tmp_path / "b.json", content))
    assert found.modal == found.amodal == (602, 415, 214, 118)
    assert found.rotation == pytest.approx((0.6, 0, 0, 0.8))
    assert (found.instance_id, found.kind, found.occlusion) == (None, None, None)


# ---- what is refused -------------------------------------------------------------------------------------------------
def put(*path: str | int, value: Any = None, drop: bool = False) -> Callable[[Any], None]:
    """A change: the field at the end of a path gets a value, or goes."""

    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        if drop:
            del content[path[-1]]
        else:
            content[path[-1]] = value

    return change


OBJECT = ("objects", 0)
REGION = {"2d": [1, 2, 3, 4], "label": "car", "instanceId": 26}
WRONG: list[tuple[Callable[[Any], None], str]] = [
    (put("imgWidth", drop=True), "imgWidth is missing"),
    (put("imgHeight", value=0), "imgHeight is 0, not a number of pixels"),
    (put("imgHeight", value=10.5), "imgHeight is 10.5"),
    (put("imgWidth", value=10**500), "imgWidth is 1000"),
    (put("sensor", drop=True), "sensor is missing"),
    (put("sensor", value=3), "sensor is 3, not a JSON object"),
    (put("sensor", "fx", value=-1), r"sensor\.fx is -1, not a length above 0"),
    (put("sensor", "baseline", value="0.2"), r"sensor\.baseline is '0.2'"),
    (put("sensor", "v0", value=float("nan")), r"sensor\.v0 is nan"),
    (put("sensor", "sensor_T_ISO_8855", drop=True), r"sensor\.sensor_T_ISO_8855 is missing"),
    (put("sensor", "sensor_T_ISO_8855", 1, value=[1, 2, 3]), r"sensor\.sensor_T_ISO_8855 is"),
    (put("sensor", "sensor_T_ISO_8855", value=[[1, 0, 0, 0], "x", [0, 1, 0, 0], [0, 0, 1, 0]]), "sensor_T_ISO_8855 is"),
    (put("sensor", "sensor_T_ISO_8855", 1, value=[0, -1, 0, 0]), r"not a rotation and a translation"),
    (put("sensor", "sensor_T_ISO_8855", value=[]), "sensor_T_ISO_8855 is"),
    (put("objects", drop=True), "objects is missing; it should be a list"),
    (put("objects", value={}), "objects is {}, not a list"),
    (put(*OBJECT, value=[]), r"objects\[0\] is \[\], not a JSON object"),
    (put(*OBJECT, "label", value="cat"), r"objects\[0\]\.label is 'cat', not a vehicle. Did you mean 'car'"),
    (put(*OBJECT, "label", value=["car"]), r"objects\[0\]\.label is \['car'\], not text"),
    (put(*OBJECT, "score", drop=True), r"objects\[0\]\.score is missing"),
    (put(*OBJECT, "score", value=1.5), r"objects\[0\]\.score is 1.5"),
    (put(*OBJECT, "score", value=True), r"objects\[0\]\.score is True"),
    (put(*OBJECT, "occlusion", value=-0.1), r"objects\[0\]\.occlusion is -0.1, not a share"),
    (put(*OBJECT, "truncation", value=None), r"objects\[0\]\.truncation is None"),
    (put(*OBJECT, "instanceId", drop=True), r"objects\[0\]\.instanceId is missing"),
    (put(*OBJECT, "instanceId", value=70000), r"objects\[0\]\.instanceId is 70000"),
    (put(*OBJECT, "3d", drop=True), r"objects\[0\]\.3d is missing"),
    (put(*OBJECT, "3d", "center", value=[1, 2]), r"objects\[0\]\.3d\.center is \[1, 2\], not x, y, z in metres"),
    (put(*OBJECT, "3d", "center", 1, value=1e300), r"objects\[0\]\.3d\.center"),
    (put(*OBJECT, "3d", "dimensions", 2, value=0), r"objects\[0\]\.3d\.dimensions"),
    (put(*OBJECT, "3d", "rotation", value=[0, 0, 0, 0]), r"objects\[0\]\.3d\.rotation is .* of length 1"),
    (put(*OBJECT, "3d", "rotation", value=[0.99, 0, 0, 0]), r"objects\[0\]\.3d\.rotation"),
    (put(*OBJECT, "3d", "format", value="KITTI"), r"objects\[0\]\.3d\.format is 'KITTI', not 'CRS_ISO8855'"),
    (put(*OBJECT, "3d", "type", value=4), r"objects\[0\]\.3d\.type is 4, not text"),
    (put(*OBJECT, "2d", value=[1, 2, 3, 4]), r"objects\[0\]\.2d is \[1, 2, 3, 4\], not a JSON object"),
    (put(*OBJECT, "2d", "modal", drop=True), r"objects\[0\]\.2d\.modal is missing"),
    (put(*OBJECT, "2d", "amodal", 2, value=-3), r"objects\[0\]\.2d\.amodal is .* w and h of 0 or more"),
    (
        put(*OBJECT, "2d", "amodal", 0, value=2049),
        r"objects\[0\]\.2d\.amodal is .*, not a box in the image of 1024x2048",
    ),
    (put("ignore", drop=True), "ignore is missing; it should be a list"),
    (put("ignore", value=[{**REGION, "2d": [1, 2, 3]}]), r"ignore\[0\]\.2d is \[1, 2, 3\]"),
    (put("ignore", value=[{**REGION, "label": 26}]), r"ignore\[0\]\.label is 26, not text"),
    (put("ignore", value=[REGION, {**REGION, "instanceId": -1}]), r"ignore\[1\]\.instanceId is -1"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_fields_are_named(change: Callable[[Any], None], message: str, tmp_path: Path) -> None:
    content = copy.deepcopy(GENUINE)
    change(content)
    path = written(tmp_path / "bad.json", content)
    with pytest.raises(DataError, match=message) as caught:
        read_boxes3d(path)
    assert caught.value.problem.startswith(f"{path}: ") and len(caught.value.problem) < 400
    assert caught.value.mend is not None and "gtBbox3d_trainvaltest.zip" in caught.value.mend


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        json.dumps(GENUINE).encode()[:-40],
        b"\xff\xfe\x00{",
        b"[" * 100_000,
        b'{"a": ' * 100_000,
        b'{"imgWidth": ' + b"9" * 10_000 + b"}",
        json.dumps(GENUINE).encode() + b" " * 16_000_000,
    ],
    ids=["empty", "list", "null", "cut", "binary", "deep", "deep object", "long number", "large"],
)
def test_damaged_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    for read in (read_boxes3d, read_detections):
        with pytest.raises(DataError, match=r"bad\.json"):
            read(path)
    with pytest.raises(DataError, match=r"no such file: .*missing\.json"):
        read_boxes3d(tmp_path / "missing.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_boxes3d(tmp_path)
    os.mkfifo(tmp_path / "pipe.json")  # to open it would wait for ever
    with pytest.raises(DataError, match=r"pipe\.json cannot be read"):
        read_boxes3d(tmp_path / "pipe.json")


def test_wrong_detections(tmp_path: Path) -> None:
    for change, message in (
        (put("objects", drop=True), "objects is missing"),
        (put(*OBJECT, "score", drop=True), r"objects\[0\]\.score is missing"),
        (put(*OBJECT, "3d", "rotation", value=[0, 0, 0, 0]), r"objects\[0\]\.3d\.rotation"),
        (put(*OBJECT, "2d", "amodal", drop=True), r"objects\[0\]\.2d\.amodal is missing"),
        (put(*OBJECT, "instanceId", value="car"), r"objects\[0\]\.instanceId is 'car'"),
    ):
        content = copy.deepcopy(GENUINE)
        change(content)
        with pytest.raises(DataError, match=message) as caught:
            read_detections(written(tmp_path / "bad.json", content))
        assert caught.value.mend is not None and "tool that wrote it" in caught.value.mend


def test_what_cannot_be_read_is_not_written(genuine: ImageBoxes, tmp_path: Path) -> None:
    vehicle, path = genuine.objects[0], tmp_path / "a.json"
    for wrong, message in (
        (replace(vehicle, label="person"), r"objects\[0\]\.label is 'person'"),
        (replace(vehicle, dimensions=(1.0, -1.0, 1.0)), r"objects\[0\]\.3d\.dimensions"),
        (replace(vehicle, score=float("nan")), r"objects\[0\]\.score is nan"),
    ):
        with pytest.raises(DataError, match=message):
            write_boxes3d(path, replace(genuine, objects=(wrong,)))
        with pytest.raises(DataError, match=message):
            write_detections(path, (wrong,))
    with pytest.raises(DataError, match=r"objects\[0\]\.instanceId is missing"):
        write_boxes3d(path, replace(genuine, objects=(replace(vehicle, instance_id=None),)))
    matrix = genuine.camera.matrix.copy()
    matrix[0, 1] = 1.0
    with pytest.raises(DataError, match="Use a camera without skew"):
        write_boxes3d(path, replace(genuine, camera=replace(genuine.camera, matrix=matrix)))
    assert not path.exists()


def test_the_mirrored_image_can_be_written(genuine: ImageBoxes, tmp_path: Path) -> None:
    mirrored = mirror_boxes(boxes_of(genuine.objects))
    vehicle = replace(genuine.objects[0], center=tuple(mirrored.centers[0]), rotation=tuple(mirrored.rotations[0]))
    write_boxes3d(tmp_path / "a.json", replace(genuine, camera=genuine.camera.mirrored(), objects=(vehicle,)))
    back = read_boxes3d(tmp_path / "a.json")
    found = amodal_boxes(boxes_of(back.objects), back.camera)
    np.testing.assert_allclose(found, [[2047 - 816.1728, 415.6325, 2047 - 602.5296, 533.9919]], atol=1e-4)
