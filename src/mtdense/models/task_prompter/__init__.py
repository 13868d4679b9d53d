"""TaskPrompter: prompts of tasks that attend to places and channels inside a transformer."""

from __future__ import annotations
