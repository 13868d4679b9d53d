"""Single-task baseline: one network per task."""

from __future__ import annotations

from mtdense.models.single_task.module import SingleTask

__all__ = ["SingleTask"]
