"""The page of each architecture whose weights can be imported says what was published, and that it was not run here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mtdense.core.experiments import resolve_experiment
from mtdense.models.imported import ARCHITECTURES

MODELS = Path(__file__).parents[2] / "src" / "mtdense" / "models"


@pytest.mark.parametrize("source", ARCHITECTURES)
def test_the_page_says_what_was_published(source: str) -> None:
    text = " ".join(
        (MODELS / source / "README.md").read_text(encoding="utf-8").partition("## Published weights")[2].split()
    )
    assert "https://github.com/" in text
    assert re.search(r"(was|were) not run here", text) or "there is no number to expect" in text
    assert re.search(r"mIoU \d\d\.\d|number to expect|prints no scores", text)
    for name in re.findall(r"`((?:nyud|pascal|cityscapes)[\w/]+-[\w]+\.yaml)`", text):
        resolve_experiment(name)
