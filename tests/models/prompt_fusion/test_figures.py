"""PromptFusion's pictures: what they show is what the fusion computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mtdense.models.prompt_fusion.encoder import FusedSwin
from mtdense.models.prompt_fusion.figures import draw_fusions
from mtdense.models.prompt_fusion.fusion import FusionView
from tests.models.helpers import SPECS, make_batch
from tests.models.prompt_fusion.test_prompt_fusion import PLAIN, build


def figures(**options: Any) -> dict[str, np.ndarray]:
    model, batch = build(**options).eval(), make_batch(SPECS)
    with torch.no_grad():
        return dict(model.figures(batch, model.run_network(batch)))


def test_attention_that_is_shown_is_the_attention_that_gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What prompts gather, put together from the shares of the view, against the module's own call."""
    model = build().eval()
    encoder = model.network.encoder
    assert isinstance(encoder, FusedSwin)
    module = encoder.fusions["0_1"] if "0_1" in encoder.fusions else next(iter(encoder.fusions.values()))
    width = module.norm_image.normalized_shape[0]
    image, prompts = torch.randn(2, 5, 7, width), torch.randn(2, 3, width)
    calls: list[tuple[Tensor, Tensor]] = []
    attend = F.scaled_dot_product_attention

    def spy(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = attend(query, key, value)
        calls.append((value, out))
        return out

    with torch.no_grad():
        view = module.view(image, prompts)
        assert view is not None
        monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
        module(image, prompts)
    for (value, out), name in zip(calls, ("salient", "trend", "raw"), strict=True):
        shares = torch.cat(
            [view.attention[name].flatten(1).sum(1, keepdim=True), view.on_prompts[name][:, None]], dim=1
        )
        torch.testing.assert_close(shares.sum(1), torch.ones(3))
        if module.num_heads == 1:
            cells = view.attention[name].flatten(1)
            rest = out[0, 0] - cells @ value[0, 0, -cells.shape[1] :]
            own = value[0, 0, : -cells.shape[1]]
            # What is left over was gathered from the prompts: with one row of them, its share of it.
            if len(own) == 1:
                torch.testing.assert_close(rest, view.on_prompts[name][:, None] * own, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(view.weights.sum(1), torch.ones(3))
    assert module.num_heads == 1


def test_pictures() -> None:
    found = figures()
    assert set(found) == {"places", "fusion"}
    assert all(picture.dtype == np.uint8 and picture.shape[2] == 3 for picture in found.values())
    # A fusion has a row for what it reads, and one for each task.
    higher = figures(fusion_place="block")["fusion"].shape[0]
    assert higher > found["fusion"].shape[0]
    assert set(figures(prompts_per_task=1, fusion_salient=False, fusion_source="image")) == {"places", "fusion"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (PLAIN, set()),
        ({"fusion": False}, {"places"}),
        ({"fusion_kind": "pool"}, {"places"}),
        ({"fusion_source": "prompts"}, {"places"}),
        ({"spatial_prompts": False}, {"fusion"}),
    ],
    ids=["no prompts", "no fusion", "pool", "prompts only", "channels only"],
)
def test_what_is_not_there_is_not_drawn(options: dict[str, Any], expected: set[str]) -> None:
    assert set(figures(**options)) == expected


def test_a_place_that_is_looked_at_is_bright() -> None:
    """One cell of the second task's map in the first branch, where it is on the sheet."""
    quiet = torch.zeros(2, 2, 4)
    loud = quiet.clone()
    loud[1, 1, 3] = 1.0

    def view(attention: Tensor) -> FusionView:
        ones = torch.ones(2)
        return FusionView({"salient": torch.ones(3, 2, 4)}, {"salient": attention}, {"salient": ones}, ones[:, None])

    image = torch.zeros(3, 20, 40)
    sheets = [draw_fusions(image, {"stage 1": view(x)}, ["a", "b"]).astype(int) for x in (quiet, loud)]
    changed = np.abs(sheets[0] - sheets[1]).sum(2) > 0
    rows, columns = np.nonzero(changed)
    # The lower right cell of 2 x 4 in a picture of 80 x 160.
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (40, 40)
    assert sheets[1][changed].mean() > sheets[0][changed].mean()
