"""Geometry shared by tasks and data: cameras and what follows from them."""

from __future__ import annotations

from mtdense.geometry.cameras import (
    backproject,
    camera_matrix,
    crop_camera,
    flip_camera,
    normals_from_depth,
    pixel_rays,
    project,
    resize_camera,
)

__all__ = [
    "backproject",
    "camera_matrix",
    "crop_camera",
    "flip_camera",
    "normals_from_depth",
    "pixel_rays",
    "project",
    "resize_camera",
]
