"""Semi-supervised baseline: pseudo-labels by hand, gradient facts, the shared checks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mtdense.core.errors import ConfigError
from mtdense.models import MTLBaseline, SemiSupervised
from mtdense.models.semi_supervised import Thresholds, pseudo_labels, pseudo_losses
from mtdense.models.views import SecondView, ViewBox
from mtdense.tasks import Depth, Edges, Saliency, SemanticSegmentation, SurfaceNormals
from tests.models.architecture_tester import ArchitectureTester
from tests.models.helpers import ALL_SPECS, SPECS, make_batch

PARTIAL = {"semseg": [True, False], "depth": [False, True], "normals": [False, True]}
# An untrained network is sure of nothing.
WIDE = {"probability_threshold": 0.5, "value_threshold": 10.0, "vector_threshold": 3.0}
STILL = SecondView((1, 4), (ViewBox(0, 0, 1, 4),))
SHOWN = torch.ones(1, 1, 4)


def build(specs: dict[str, dict] = SPECS, **kwargs: Any) -> SemiSupervised:
    torch.manual_seed(0)
    return SemiSupervised(tasks=specs, **{"backbone": "tiny", "preset": "tiny", **WIDE, **kwargs})


class _Tester(ArchitectureTester):
    module_class = SemiSupervised

    def build(self, **kwargs: Any) -> SemiSupervised:
        return build(self.specs, **kwargs)

    def test_no_label_at_all_trains_with_zero_gradient(self) -> None:
        # Here images without a label teach: by pseudo-labels, and by nothing else.
        model = self.build()
        batch = self.batch({name: [False, False] for name in self.specs})
        outputs = model.run_network(batch)
        assert all(loss.item() == 0.0 for loss in model.losses(outputs, batch).values())
        pseudo = model.extra_losses(outputs, batch)
        assert all(loss.item() > 0 for loss in pseudo.values())
        off = self.build(unlabelled_weight=0.0)
        total = torch.stack(list(self.training_losses(off, batch).values())).sum()
        total.backward()
        assert total.item() == 0.0
        assert all(p.grad is not None and not p.grad.any() for p in off.parameters())


class TestSemiSupervised(_Tester):
    pass


class TestOfFiveTasks(_Tester):
    specs = ALL_SPECS


class TestOnSegNet(_Tester):
    def build(self, **kwargs: Any) -> SemiSupervised:
        return build(self.specs, backbone="segnet", **kwargs)


def values(task, teacher, student, view=STILL, shown=SHOWN, **thresholds):
    target, kept = pseudo_labels(task, teacher, student, view, Thresholds(**thresholds))
    return target, kept, pseudo_losses(task, student, target, kept, shown)


def test_classes_by_hand():
    # Teacher: class 1 with 0.96, class 0 with 0.94, undecided, class 2 with 0.98.
    teacher = torch.log(
        torch.tensor([[0.02, 0.96, 0.02], [0.94, 0.03, 0.03], [0.4, 0.3, 0.3], [0.01, 0.01, 0.98]])
    ).T.reshape(1, 3, 1, 4)
    student = torch.log(torch.tensor([0.2, 0.3, 0.5])).view(1, 3, 1, 1).expand(1, 3, 1, 4)
    target, kept, loss = values(SemanticSegmentation(3), teacher, student)
    assert target[0, 0, [0, 3]].tolist() == [1, 2]
    assert kept.flatten().tolist() == [True, False, False, True]
    expected = -(torch.log(torch.tensor(0.3)) + torch.log(torch.tensor(0.5))) / 4
    assert loss.item() == pytest.approx(expected.item()), "divided by all pixels, not by those kept"


def test_one_class_by_hand():
    logits = torch.logit(torch.tensor([0.97, 0.9, 0.04, 0.5])).view(1, 1, 1, 4)
    target, kept, loss = values(Edges(positive_weight=0.5), logits, torch.zeros(1, 1, 1, 4))
    assert kept.flatten().tolist() == [True, False, True, False]
    assert target.flatten()[kept.flatten()].tolist() == [1.0, 0.0]
    assert loss.item() == pytest.approx(0.5 * torch.tensor(2.0).log().item() * 2 / 4)
    two = torch.cat([torch.zeros(1, 1, 1, 4), logits], dim=1)
    target, kept, _ = values(Saliency(), two, two)
    assert kept.flatten().tolist() == [True, False, True, False]
    assert target.flatten().tolist() == [1, 1, 0, 0]


def test_depth_by_hand():
    teacher = torch.tensor([2.0, 3.0, 4.0, 0.0]).view(1, 1, 1, 4)
    student = torch.tensor([2.05, 3.2, 3.92, 0.0]).view(1, 1, 1, 4)
    _, kept, loss = values(Depth(), teacher, student)
    assert kept.flatten().tolist() == [True, False, True, True]
    assert loss.item() == pytest.approx((0.05 + 0.08) / 4, abs=1e-6)


def test_normals_count_by_the_angle_between_vectors():
    # Products of components would be below 0.1 for none of these: 1 - 0.6 * 0.6, 1 - 0.8 * 0.8.
    teacher = torch.tensor([[0.6, 0, -0.8], [0.6, 0, -0.8], [0, 0, -1.0], [0, 0, -1.0]]).T.reshape(1, 3, 1, 4)
    student = torch.tensor([[0.6, 0, -0.8], [-0.6, 0, -0.8], [0, 0.28, -0.96], [0, 0, -1.0]]).T.reshape(1, 3, 1, 4)
    _, kept, loss = values(SurfaceNormals(loss="cosine"), teacher, student)
    assert kept.flatten().tolist() == [True, False, True, True]
    assert loss.item() == pytest.approx(0.04 / 4, abs=1e-6)


def test_the_teacher_is_moved_as_its_view_was():
    # The right half, twice as wide and mirrored; depth shrinks by the zoom sqrt(1 * 2).
    view = SecondView((1, 4), (ViewBox(0, 2, 1, 2, True),))
    teacher = torch.tensor([9.0, 9.0, 2.0, 4.0]).view(1, 1, 1, 4)
    near = 2**-0.5
    student = torch.tensor([4 * near, 4 * near, 2 * near, 2 * near]).view(1, 1, 1, 4)
    target, kept, loss = values(Depth(), teacher, student, view)
    torch.testing.assert_close(target, student[:, 0])
    assert kept.all()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_padding_counts_for_nothing():
    teacher, student = torch.full((1, 1, 1, 4), 2.0), torch.tensor([2.05, 2.05, 2.0, 2.0]).view(1, 1, 1, 4)
    shown = torch.tensor([[[1.0, 0.0, 1.0, 0.0]]])
    assert values(Depth(), teacher, student, shown=shown)[2].item() == pytest.approx(0.05 / 2, abs=1e-6)
    assert values(Depth(), teacher, student, shown=torch.zeros(1, 1, 4))[2].item() == 0.0


def test_only_unlabelled_predictions_learn_from_pseudo_labels_and_the_teacher_never():
    model = build()
    batch = make_batch(labelled=PARTIAL)
    outputs = model.run_network(batch)
    second = outputs.features["second"].final
    for logits in (*second.values(), *outputs.final.values()):
        logits.retain_grad()
    torch.stack(list(model.extra_losses(outputs, batch).values())).sum().backward()
    for name, flags in PARTIAL.items():
        assert [not row.any() for row in second[name].grad] == flags
        assert outputs.final[name].grad is None


def test_weights():
    batch = make_batch(labelled=PARTIAL)

    def losses(**options):
        model = build(**options)
        return {name: x.item() for name, x in model.extra_losses(model.run_network(batch), batch).items()}

    plain = losses(loss_weights=dict.fromkeys(SPECS, 1.0))
    assert set(plain) == {"pseudo_semseg", "pseudo_depth", "pseudo_normals"}
    weighted = losses(loss_weights={"semseg": 1.0, "depth": 2.0, "normals": 10.0}, unlabelled_weight=0.5)
    expected = [0.5 * plain["pseudo_semseg"], plain["pseudo_depth"], 5 * plain["pseudo_normals"]]
    assert list(weighted.values()) == pytest.approx(expected, rel=1e-5)
    assert not any(losses(unlabelled_weight=0.0).values())


def test_a_task_that_the_batch_lacks_is_unlabelled():
    model = build()
    batch = make_batch()
    del batch["targets"]["depth"], batch["labelled"]["depth"]
    losses = model.extra_losses(model.run_network(batch), batch)
    assert losses["pseudo_depth"].item() > 0
    assert losses["pseudo_semseg"].item() == 0.0


def test_the_network_is_the_baselines():
    with torch.device("meta"):
        ours = build(backbone="resnet18", preset="paper").network
        theirs = MTLBaseline(tasks=SPECS, backbone="resnet18", preset="paper").network
    shapes = [{name: p.shape for name, p in network.named_parameters()} for network in (ours, theirs)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unlabelled_weight": -1.0}, "unlabelled_weight is -1"),
        ({"probability_threshold": 0.3}, "probability_threshold is 0.3"),
        ({"value_threshold": 0.0}, "value_threshold is 0"),
        ({"vector_threshold": -1.0}, "vector_threshold is -1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        build(**options)


def test_predictions_of_labelled_images_are_not_moved(monkeypatch):
    moved = []
    gather = SecondView._gather
    monkeypatch.setattr(SecondView, "_gather", lambda self, one, i, flip: moved.append(1) or gather(self, one, i, flip))
    model = build()
    batch = make_batch(labelled={"semseg": [True, True], "depth": [False, True], "normals": [False, False]})
    outputs = model.run_network(batch)
    losses = model.extra_losses(outputs, batch)
    assert len(moved) == 3
    assert losses["pseudo_semseg"].item() == 0 and losses["pseudo_semseg"].requires_grad
    assert losses["pseudo_depth"].item() > 0 and losses["pseudo_normals"].item() > 0
