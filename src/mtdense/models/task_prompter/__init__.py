"""TaskPrompter: prompts of tasks that attend to places and channels inside a transformer."""

from __future__ import annotations

from mtdense.models.task_prompter.module import PRESETS, TaskPrompter
from mtdense.models.task_prompter.network import TaskPrompterNetwork
from mtdense.models.task_prompter.options import PromptOptions
from mtdense.models.task_prompter.swin_prompting import PromptedLevel, SwinPrompting
from mtdense.models.task_prompter.vit_prompting import ViTPrompting

__all__ = [
    "PRESETS",
    "PromptOptions",
    "PromptedLevel",
    "SwinPrompting",
    "TaskPrompter",
    "TaskPrompterNetwork",
    "ViTPrompting",
]
