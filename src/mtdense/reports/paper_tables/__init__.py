"""The papers' printed tables: what stands in them, and which of our experiments each row is."""

from __future__ import annotations
