"""Each published data set's page says where its files are from, under which terms, and how they lie."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import data_modules  # noqa: F401 - registers what is published
from mtdense.data.published import PublishedData

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    "nyud_official": "nyud",
    "nyud_mtan": "nyud",
    "nyud_atrc": "nyud",
    "pascal_context": "pascal_context",
    "cityscapes": "cityscapes",
    "cityscapes_mtan": "cityscapes",
    "cityscapes_3d": "cityscapes_3d",
}


def test_every_published_data_set_has_a_page() -> None:
    assert PublishedData.registered.keys() == PAGES.keys()


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_page_says_where_from_and_under_which_terms(name: str) -> None:
    text = (DOCS / f"{PAGES[name]}.md").read_text(encoding="utf-8")
    assert re.search(r"where[ -]from,?[ -]and[ -]under[ -]which[ -]terms", text, re.IGNORECASE)
    linked = text + (DOCS / "cityscapes.md").read_text(encoding="utf-8") * (name == "cityscapes_3d")
    for address in re.findall(r"https?://[^\s)\"'.,]+(?:[.,][^\s)\"'.,]+)*", PublishedData.registered[name].where):
        assert address.rstrip("/") in linked, address
    # How files lie: a block of code that no command begins.
    blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert any("/" in block and not block.startswith("mtdense") for block in blocks)
