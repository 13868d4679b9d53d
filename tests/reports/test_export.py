"""Exported networks against their originals."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mtdense.core.errors import ConfigError
from mtdense.reports.export import FORMS, ExportedModel, check_export, export_description, write_export
from mtdense.reports.export.architectures import COLUMNS, architectures, tiny_model, try_export
from mtdense.reports.export.check import _difference
from mtdense.reports.predictor import Predictor
from tests.checkpoints import SPECS, save_checkpoint, small_model

Main = Callable[..., tuple[int, str]]


def test_torch_export_of_a_checkpoint(mtdense_main: Main, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(small_model(), tmp_path / "last.ckpt")
    out = tmp_path / "net.pt2"
    options = ("--format", "torch_export", "--dynamic", "batch")
    code, err = mtdense_main("export", "--ckpt_path", checkpoint, "--out", out, *options)
    assert code == 0, err
    texts = {"mtdense.json": ""}
    module = torch.export.load(out, extra_files=texts).module()
    image = torch.rand(3, 3, 32, 40)
    found = module(image)
    model = small_model().eval()
    with torch.no_grad():
        final = model(image).final
    for values, (name, task) in zip(found, model.tasks.items(), strict=True):
        wanted = task.predict(task.at_size(final[name], (32, 40)))
        assert values.shape == wanted.shape
        np.testing.assert_allclose(values.detach(), wanted, atol=1e-5)
    told = json.loads(texts["mtdense.json"])
    assert list(told["outputs"]) == sorted(SPECS) and told["outputs"]["depth"]["unit"] == "metres"
    assert told["outputs"]["semseg"]["class_names"] == ["floor", "wall", "lamp"]
    assert told["input"]["size"] == [32, 40] and told["input"]["may_vary"] == "batch"
    assert len(told["checkpoint_sha256"]) == 64
    assert not [p for p in tmp_path.iterdir() if "unchecked" in p.name]


def test_a_file_of_another_network_is_found_out(tmp_path: Path) -> None:
    model, path = small_model(), tmp_path / "net.pt2"
    write_export(ExportedModel(model, "soft"), path, "torch_export", (32, 40))
    assert zipfile.is_zipfile(path)
    assert check_export(ExportedModel(model, "soft"), path, "torch_export", (32, 40)).largest < 1e-6
    with torch.no_grad():
        next(model.network.parameters()).mul_(1.5)
    with pytest.raises(ConfigError, match="differs from the original"):
        check_export(ExportedModel(model, "soft"), path, "torch_export", (32, 40))
    with pytest.raises(ConfigError, match="cannot be run on"):
        check_export(ExportedModel(model, "soft"), path, "torch_export", (48, 40))


@pytest.mark.parametrize(
    ("size", "filled"), [((32, 40), None), ((64, 80), None), ((48, 40), None), ((32, 40), (24, 30))]
)
def test_metres_are_those_of_predict_at_any_size(size: tuple[int, int], filled: tuple[int, int] | None) -> None:
    """Of pictures that fill the exported network's input."""
    model = small_model().eval()
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    zoom = max(size[0] / (filled or (32, 40))[0], size[1] / (filled or (32, 40))[1])
    image = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    exported = {form: ExportedModel(model, form, ["depth"], filled) for form in FORMS}
    with torch.no_grad():
        found = {form: module(image)[0] for form, module in exported.items()}
        plain = model.tasks["depth"].predict(model.tasks["depth"].at_size(model(image).final["depth"], size))
    torch.testing.assert_close(found["predictions"], plain * zoom)
    torch.testing.assert_close(found["soft"][:, 0], plain * zoom)
    if filled is None:
        predicted = Predictor(model, size=size)(picture)
        np.testing.assert_allclose(found["predictions"][0], predicted.values["depth"], rtol=1e-4)
        assert zoom == pytest.approx(predicted.plan.zoom)
    told = export_description(exported["predictions"], size, "none")
    assert told["outputs"]["depth"]["values_at_other_sizes"].endswith(f"= {zoom:.6g}")
    assert told["input"]["trained_size"] == list(filled or (32, 40))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "multiplied"),
        ({"unit": "disparity"}, "divided"),
        ({"unit": "disparity", "legacy_zoom": True}, "multiplied"),
    ],
)
def test_the_description_says_what_another_size_does_to_values(options: dict[str, Any], said: str) -> None:
    model = small_model(tasks={"semseg": SPECS["semseg"], "depth": options}).eval()
    image = torch.rand(1, 3, 64, 80)
    with torch.no_grad():
        (found,) = ExportedModel(model, tasks=["depth"])(image)
        plain = model.tasks["depth"].predict(model.tasks["depth"].at_size(model(image).final["depth"], (64, 80)))
    torch.testing.assert_close(found, plain * 2 if said == "multiplied" else plain / 2)
    for form, words in (("predictions", f"{said} by"), ("logits", f"to be {said} by")):
        outputs = export_description(ExportedModel(model, form), (64, 80), "none")["outputs"]
        assert outputs["depth"]["values_at_other_sizes"].startswith(words)
        assert "values_at_other_sizes" not in outputs["semseg"]


@pytest.mark.slow
def test_onnx_names_and_describes(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    exported, path = ExportedModel(small_model()), tmp_path / "net.onnx"
    write_export(exported, path, "onnx", (32, 40))
    assert check_export(exported, path, "onnx", (32, 40)).largest < 1e-4
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["image"] and session.get_inputs()[0].shape == [1, 3, 32, 40]
    assert [o.name for o in session.get_outputs()] == list(SPECS)
    assert json.loads(session.get_modelmeta().custom_metadata_map["mtdense"])["method"] == "mtl_baseline"


def test_bad_commands(mtdense_main: Main, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(small_model(), tmp_path / "last.ckpt")
    base = ("export", "--ckpt_path", checkpoint)
    for arguments, words in (
        (base, "without --out"),
        ((*base, "--out", tmp_path / "x.pt2"), "end in .onnx"),
        (
            (*base, "--format", "torch_export", "--out", tmp_path / "x.pt2", "--tasks", "dept"),
            "dept cannot be exported",
        ),
    ):
        code, err = mtdense_main(*arguments)
        assert code == 1 and words in err, err


LISTED = Path(__file__).parents[2] / "docs" / "export.md"


def test_every_architecture_is_listed() -> None:
    text = LISTED.read_text(encoding="utf-8")
    assert [name for name in architectures() if f"| `{name}` |" not in text] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", list(architectures()))
def test_every_architecture_does_what_is_listed(name: str) -> None:
    pytest.importorskip("onnxruntime")
    line = next(line for line in LISTED.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{name}` |"))
    model = tiny_model(name)
    for (fmt, dynamic), cell in zip(COLUMNS, line.split("|")[2:-1], strict=True):
        if "no" in cell:
            with pytest.raises(ConfigError):
                try_export(model, fmt, dynamic)
        else:
            assert try_export(model, fmt, dynamic) <= 1e-4


def test_what_is_not_a_number_is_no_agreement() -> None:
    wanted = torch.zeros(1, 2, 2)
    found = torch.tensor([[[0.0, float("nan")], [0.0, 0.0]]])
    assert _difference(wanted, found, wanted, (2, 2)) == float("inf")
    assert _difference(wanted, wanted, wanted, (2, 2)) == 0.0
