"""`mtdense table list`."""

from __future__ import annotations

import json
import re

import pytest

from mtdense.cli.main import main


def test_lists_every_table_with_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "list", "--json"]) == 0
    found = {entry["id"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert len(found) == 25
    assert found["bridgenet-2"]["status"] == "lost" and found["bridgenet-2"]["datasets"] == ["cityscapes"]
    tif = found["tif-3"]
    assert (tif["implemented"], tif["rows"]) == (15 - len(tif["missing"]), 15)
    assert tif["missing"]["nyud_v2/pap_hrnet_w18"].startswith("PAP is not built")
    assert main(["table", "list"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"bridgenet-2 +1/1 +cityscapes +\(lost\) Cityscapes, two tasks", out)
    built = sum(entry["implemented"] for entry in found.values())
    assert f"25 tables; {built} of {sum(entry['rows'] for entry in found.values())} rows" in out
