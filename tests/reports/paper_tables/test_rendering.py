"""A printed table in every format."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtdense.reports.paper_tables.html import index_page, page
from mtdense.reports.paper_tables.render_data import CSV_COLUMNS, csv_text, json_text
from mtdense.reports.paper_tables.render_latex import latex
from mtdense.reports.paper_tables.render_text import markdown, terminal
from mtdense.reports.paper_tables.shown import ShownTable
from tests.reports.paper_table_helpers import NASTY, Runs, make_table, show

FORMATS: dict[str, Callable[[ShownTable], str]] = {
    "terminal": terminal,
    "markdown": markdown,
    "latex": latex,
    "csv": lambda shown: csv_text([shown]),
    "html": page,
    "json": lambda shown: json_text([shown]),
}
VOID = {"meta", "br", "img", "link", "input", "hr"}


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


@pytest.mark.parametrize(
    ("number", "said"), [("inferred: IV", "Table IV (number inferred)"), ("4", "Table 4"), ("abstract", "abstract")]
)
def test_titles_name_the_table(number: str, said: str, tmp_path: Path) -> None:
    shown = show(Runs(tmp_path, {}))
    shown = replace(shown, table=replace(shown.table, table=number))
    assert markdown(shown).splitlines()[0].endswith(f", {said}")


@pytest.mark.parametrize("name", FORMATS)
def test_marks_stand_in_the_row_and_in_a_legend_of_every_format(runs: Runs, name: str) -> None:
    runs.rewrite(data={"version": "replica-nyud_mtan-1"}, backbone="tiniest")
    runs.budget = "smoke"
    text = FORMATS[name](show(runs))
    for mark, meaning in (
        ("smoke", "a few steps that show that everything runs"),
        ("backbone tiniest", "another network than the row"),
        ("replica", "trained and tested on procedural scenes in the data set"),
        ("paper only", "the suite lacks this method or its data"),
        ("not run", "nothing is measured with this budget yet"),
    ):
        # In CSV each line has its meaning beside it.
        assert text.count(mark) >= (1 if name == "csv" else 2), mark
        assert meaning in text
    assert re.search(r"\b(nan|None|inf)\b", text) is None


def test_terminal(runs: Runs) -> None:
    lines = terminal(show(runs)).splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().startswith("MTL"))
    assert lines[start].split() == ["MTL", "tiny", "paper", "42.00", "0.900", "[9.000]", "(+7.50)"]
    assert re.split(r"\s{2,}", lines[start + 1].strip()) == [
        *("ours, n = 2", "52.50 ± 3.54", "0.850 ± 0.071", "+20.00 ± 3.54")
    ]
    assert lines[start + 2].split()[-3:] == ["+10.50", "+0.050", "+12.50"]
    assert re.split(r"\s{2,}", lines[start + 4].strip()) == [
        *("gain on stl, ours", "+10.50 (+4.15 to +16.85)", "+0.150 (-0.485 to +0.785)")
    ]
    assert any(re.fullmatch(r"\s*50% of A .*<not run>\s+tiny\s+paper\s+90\.00 \?\s+1\.100", line) for line in lines)
    assert any(re.fullmatch(r"\s*GONE <paper only>\s+tiny\s+paper\s+41\.00\s+-1\.50", line) for line in lines)
    assert any(line.split() == ["MTL", "tiny", "paper", "10"] for line in lines)
    assert any(line.split()[:2] == ["ours", "12.5"] for line in lines)
    # Every record that Δm is formed with is named.
    assert len(re.findall(r"(?:semseg|depth) seed [01] [0-9a-f]{12}", "\n".join(lines))) == 4


def test_markdown(runs: Runs) -> None:
    text = markdown(show(runs))
    table = [line for line in text.splitlines() if line.startswith("|")]
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in table]
    assert set(bars) == {7, 6}  # scores: three, two tasks and Δm; costs: three and two
    assert "| MTL | tiny | paper | 42.00 | 0.900 [9.000] | (+7.50) |" in table
    assert "|  |  | ours, n = 2 | 52.50 ± 3.54 | 0.850 ± 0.071 | +20.00 ± 3.54 |" in table
    assert r"B\_1 \| #2" in text and "<script" not in text


def test_latex(runs: Runs) -> None:
    text = latex(show(runs))
    body = re.sub(r"(?m)^%.*$", "", text)
    plain = re.sub(r"\\[\\{}$&#_%]", "", body)
    assert plain.count("{") == plain.count("}") and plain.count("$") % 2 == 0
    # What LaTeX takes for a command stands nowhere unescaped, and its own commands are all that is left.
    assert not re.search(r"[%#_~^](?!\\circ)", plain)
    assert sorted(re.findall(r"\\begin\{(\w+\*?)\}", body)) == sorted(re.findall(r"\\end\{(\w+\*?)\}", body))
    for match in re.finditer(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", body, re.DOTALL):
        lines = [line for line in match[2].splitlines() if line.endswith(r"\\")]
        assert lines and {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines} == {len(match[1])}
    assert r"50\% of A \& B\_1 | \#2 \{x\} \textasciitilde{} \textless{}script\textgreater{}" in body
    assert r"52.50 $\pm$ 3.54 & 0.850 $\pm$ 0.071 & $+$20.00 $\pm$ 3.54 \\" in body
    assert body.isascii()


def test_csv_comes_back(runs: Runs) -> None:
    text = csv_text([show(runs)])
    lines = list(csv.DictReader(io.StringIO(text)))
    assert tuple(lines[0]) == CSV_COLUMNS
    file = io.StringIO()
    writer = csv.DictWriter(file, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    assert file.getvalue() == text
    found = {(line["row"], line["kind"], line["task"] or line["figure"]): line for line in lines}
    depth = found["mtl", "score", "depth"]
    assert [float(depth[key]) for key in ("printed", "corrected", "ours_mean", "difference", "better_by")] == (
        pytest.approx([9.0, 0.9, 0.85, -0.05, 0.05])
    )
    assert (depth["n"], depth["seeds"], depth["reference"]) == ("2", "0 1", "stl")
    assert float(found["mtl", "delta_m", "Δm"]["ours_mean"]) == pytest.approx(20)
    assert (found["mtl", "cost", "params_m"]["printed"], found["mtl", "cost", "params_m"]["ours_mean"]) == (
        "10.0",
        "12.5",
    )
    odd = found["odd", "score", "semseg"]
    assert (odd["label"], odd["suspect"], odd["ours_mean"], odd["difference"], odd["n"]) == (
        NASTY,
        "suspect",
        *[""] * 3,
    )
    assert found["gone", "score", "depth"]["printed"] == ""


def test_json_has_seeds_and_records(runs: Runs) -> None:
    stored = json.loads(json_text([show(runs)]))
    row = next(row for row in stored["blocks"][0]["rows"] if row["id"] == "mtl")
    assert row["scores"][0]["values"] == {"0": 50.0, "1": pytest.approx(55.0)}
    assert row["delta_m"]["values"]["0"] == pytest.approx(22.5)
    assert len(row["delta_m"]["baselines"]) == 4 and len(row["records"]) == 2
    assert (
        row["records"][0]["record_sha256"] == json.loads(Path(row["records"][0]["path"]).read_text())["record_sha256"]
    )
    odd = next(row for row in stored["blocks"][0]["rows"] if row["id"] == "odd")
    assert odd["scores"][0]["values"] is None and odd["records"] == []
    assert isinstance(json.loads(json_text([show(runs)] * 2)), list)


class Checker(HTMLParser):
    """Notes what a page holds, and tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def checked(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    # Nothing is asked of anybody, nothing runs.
    assert not checker.attributes("script") and not checker.attributes("link")
    links = [attrs[key] for _, attrs in checker.tags for key in ("src", "href") if attrs.get(key)]
    assert all(str(link).startswith(("data:", "#")) or "//" not in str(link) for link in links)
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    ids = [attrs["id"] for _, attrs in checker.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs.get("aria-labelledby") for _, attrs in checker.tags} - {None} <= set(ids)
    for attrs in checker.attributes("th"):
        assert attrs["scope"] in ("row", "col", "colgroup")
    assert all(attrs["alt"] for attrs in checker.attributes("img"))
    assert len(checker.attributes("caption")) == len(checker.attributes("table"))
    return checker


def write_log(folder: Path, name: str, first: int, count: int) -> None:
    path = folder / "logs" / name / "metrics.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"0,{step},{1 / (step + 1)},{'nan' if step == 2 else 0.5}," for step in range(first, first + count)]
    path.write_text("epoch,step,train/semseg/loss,train/depth/loss,val/loss\n" + "\n".join(lines) + "\n")


def test_page(runs: Runs) -> None:
    for seed in (0, 1):
        write_log(runs.folder(("mtl", None, seed)), "fit", 0, 20)
        write_log(runs.folder(("mtl", None, seed)), "fit-2", 15, 15)
    damaged = runs.folder(("stl", "depth", 0)) / "logs" / "fit" / "metrics.csv"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("step,train/depth/loss\n1,oops\n")
    pixels = np.random.default_rng(0).integers(0, 256, (900, 2400, 3), np.uint8)
    Image.fromarray(pixels).save(runs.folder(("mtl", None, 0)) / "contact_sheet.png")
    text = page(show(runs))
    checker = checked(text)
    told = " ".join(" ".join(checker.text).split())
    assert NASTY in told and "<script" not in text and "0.9 <b>" in told
    for figure in ("52.50", "± 3.54", "0.900", "[9.000]", "+20.00", "(+7.50)", "90.00 ?", "than the paper by 10.50"):
        assert figure in told, figure
    assert "+4.15 to +16.85" in told and "▲ better" in told and "open" in told
    # Curves of two tasks, one of them without the seed whose log is damaged; steps of a continuation go on.
    pictures = [attrs for attrs in checker.attributes("svg") if attrs.get("role") == "img"]
    assert len(pictures) == 2 and "semseg: loss in training, over optimiser steps: MTL ends at" in told
    assert "No curve of STL, seed 0: its log is damaged" in told
    (image,) = checker.attributes("img")
    assert str(image["src"]).startswith("data:image/jpeg;base64,") and len(str(image["src"])) < 1_000_000
    assert int(str(image["width"])) <= 1800
    # Records are named with their whole checksums.
    assert len(re.findall(r"<code>[0-9a-f]{64}</code>", text)) == 2 * 6
    assert "prefers-color-scheme: dark" in text and "@media print" in text and "overflow-x: auto" in text


def test_a_page_without_runs_has_no_figures_of_ours(tmp_path: Path) -> None:
    text = page(show(Runs(tmp_path, {}), costs=None))
    told = " ".join(checked(text).text)
    assert "±" not in told.replace("mean ± standard deviation", "") and "±" in told
    assert not re.search(r"\b0\.00\b|\bnan\b|\bNone\b", told)


def test_a_lost_table_says_so(tmp_path: Path) -> None:
    shown = show(Runs(tmp_path, {}), replace(make_table(), status="lost"))
    told = " ".join(checked(page(shown)).text)
    assert "does not hold it" in told and "does not hold it" in terminal(shown) and "does not hold it" in latex(shown)


def test_index(runs: Runs) -> None:
    runs.rewrite(data={"version": "replica-nyud_mtan-1"})
    checker = checked(index_page([(show(runs), "made-1.html")]))
    assert {attrs["href"] for attrs in checker.attributes("a")} == {"made-1.html"}
    assert "replica" in checker.text and any("procedural scenes in the data set" in text for text in checker.text)
