from __future__ import annotations

from mtdense.core import close_matches, did_you_mean

KNOWN = ("semseg", "depth", "edges", "depths")


def test_the_most_similar_name_is_asked_for():
    assert did_you_mean("semsge", KNOWN) == "Did you mean 'semseg'? "
    assert did_you_mean("dept", KNOWN, limit=2) == "Did you mean 'depth' or 'depths'? "
    assert close_matches("dept", dict.fromkeys(KNOWN), limit=1) == ["depth"]


def test_nothing_similar_says_nothing():
    assert did_you_mean("flow", KNOWN) == ""
    assert did_you_mean("semseg", ()) == ""
    assert did_you_mean(7, KNOWN) == "", "a YAML key need not be text"
