"""Procedural streets with vehicles in the official layout of Cityscapes 3D; see `official_files` and `boxes3d`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mtdense.core.progress import track
from mtdense.data.cityscapes.boxes3d import (
    BOX_LABELS,
    BOXES,
    IgnoreRegion,
    ImageBoxes,
    Quad,
    VehicleBox,
    write_boxes3d,
)
from mtdense.data.cityscapes.facts import SIZE, SKY
from mtdense.data.cityscapes.official_writer import CITIES, FRAME, write_street
from mtdense.data.cityscapes.street import BASELINE, Street, number_instances
from mtdense.data.cityscapes.vehicles import CITYSCAPES_3D_NAME
from mtdense.data.procedural import STREETS_VERSION, ProceduralStreets, StreetScene, StreetVehicle
from mtdense.data.published import prepare_replica
from mtdense.data.splits import SPLITS
from mtdense.geometry.boxes import Boxes3D, VehicleCamera, amodal_boxes, modal_box, project_boxes, xywh_from_xyxy

__all__ = ["image_boxes", "write_cityscapes_3d_replica"]

_FAR = 75.0
"""Metres from which on a vehicle is a region to ignore."""
_HIDDEN = 0.9
"""Hidden share from which on it is one."""


def write_cityscapes_3d_replica(
    root: str | Path, train: int, test: int, seed: int = 0, size: Sequence[int] = SIZE
) -> Path:
    """Writes a replica; what is there of the same replica is written anew.

    The number of an image's sequence is the index of its street. Boxes in space are the renderer's to the last digit,
    modal boxes those of the pixels, amodal boxes the projections, not cut to whole pixels. What is seen of a vehicle
    far away or almost hidden is a region to ignore; what is not seen at all is left out. The sky has no disparity.

    Args:
        root: Folder to write to: new, empty, or of the same replica.
        train: Number of training images; the i-th shows street 3 i.
        test: Number of test images (folder `val`); the i-th shows street 3 i + 2.
        seed: World of the streets.
        size: Height and width of the images.

    Returns:
        The folder.

    Raises:
        ConfigError: No street at all, or a size that cannot be rendered.
        DataError: The folder holds something else.
    """
    root = Path(root).expanduser()
    streets = ProceduralStreets(size=(size[0], size[1]), seed=seed)
    counts = {"train": train, "test": test}
    prepare_replica(root, seed=seed, size=size, scenes=counts, layout=CITYSCAPES_3D_NAME, streets=STREETS_VERSION)
    order = [(split, i) for split, number in counts.items() for i in range(number)]
    for split, i in track(order, f"Writing {root.name}"):
        index = len(SPLITS) * i + SPLITS.index(split)
        image_id = f"{CITIES[split][i % len(CITIES[split])]}_{index:06d}_{FRAME}"
        scene = streets.render(index)
        street = _labels(scene)
        mount = _mount(scene)
        write_street(root, split, image_id, scene.image, street, scene.instances, scene.camera, mount)
        write_boxes3d(root / BOXES.place(split, image_id), image_boxes(scene, street))
    return root


def image_boxes(scene: StreetScene, street: Street) -> ImageBoxes:
    """What the file of boxes says of a street.

    Args:
        scene: The street.
        street: Its maps, whose instance ids the boxes get.
    """
    height, width = scene.labels.shape
    camera = VehicleCamera(scene.camera, scene.camera_from_vehicle, (height, width))
    objects, ignore = [], []
    for vehicle in scene.vehicles:
        seen = scene.instances == vehicle.instance
        modal = modal_box(seen)
        if modal is None:
            continue
        instance_id = int(street.instance_ids[seen][0])
        label = vehicle.label.name.lower()
        occlusion = 1.0 - int(seen.sum()) / max(vehicle.alone, int(seen.sum()))
        if math.hypot(*vehicle.center[:2]) >= _FAR or occlusion >= _HIDDEN or label not in BOX_LABELS:
            ignore.append(IgnoreRegion(_quad(modal), label, instance_id))
            continue
        objects.append(_object(vehicle, camera, label, instance_id, modal, occlusion))
    return ImageBoxes(camera, BASELINE, tuple(objects), tuple(ignore))


def _object(
    vehicle: StreetVehicle, camera: VehicleCamera, label: str, instance_id: int, modal: np.ndarray, occlusion: float
) -> VehicleBox:
    box = Boxes3D(np.array([vehicle.center]), np.array([vehicle.dimensions]), np.array([vehicle.rotation]))
    amodal, whole = amodal_boxes(box, camera)[0], project_boxes(box, camera)[0]
    inside, area = np.prod(amodal[2:] - amodal[:2]), np.prod(whole[2:] - whole[:2])
    return VehicleBox(
        label=label,
        center=vehicle.center,
        dimensions=vehicle.dimensions,
        rotation=vehicle.rotation,
        amodal=_quad(amodal),
        modal=_quad(modal),
        instance_id=instance_id,
        occlusion=_tenth(occlusion),
        truncation=_tenth(1.0 - float(inside / area)),
        kind=f"Procedural {label.title()}",
    )


def _labels(scene: StreetScene) -> Street:
    disparity = BASELINE * scene.camera[0, 0] / scene.depth.astype(np.float64)
    disparity[scene.labels == SKY] = -1  # stereo finds nothing there
    return Street(scene.labels, number_instances(scene.labels, scene.instances), disparity)


def _mount(scene: StreetScene) -> dict[str, float]:
    """Where the camera sits, by ISO 8855: yaw is positive to the left, pitch positive downwards."""
    rotation, translation = scene.camera_from_vehicle[:, :3], scene.camera_from_vehicle[:, 3]
    x, y, z = (-rotation.T @ translation).tolist()
    yaw, pitch = math.atan2(rotation[0, 1], rotation[0, 0]), math.asin(-rotation[0, 2])
    return {"pitch": pitch, "roll": math.atan2(rotation[1, 2], rotation[2, 2]), "x": x, "y": y, "yaw": yaw, "z": z}


def _quad(corners: np.ndarray) -> Quad:
    x, y, w, h = xywh_from_xyxy(corners).tolist()
    return x, y, w, h


def _tenth(share: float) -> float:
    """In steps of a tenth, as published."""
    return round(min(max(share, 0.0), 1.0), 1)
