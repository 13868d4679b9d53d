"""What every architecture must pass; a model's own test subclasses this and adds what is special."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from mtdense.core.errors import NonFiniteLossError
from mtdense.models import DenseModule
from mtdense.models.canvas import upsample
from mtdense.reports.profile import count_cost
from tests.models.helpers import SPECS, make_batch


class ArchitectureTester:
    """Subclass, set `module_class`, and `tasks` where not all of SPECS fit."""

    module_class: ClassVar[type[DenseModule]]
    specs: ClassVar[dict[str, dict[str, Any]]] = SPECS

    def build(self, **kwargs: Any) -> DenseModule:
        torch.manual_seed(0)
        return self.module_class(tasks=self.specs, backbone="tiny", preset="tiny", **kwargs)

    def batch(self, labelled: dict[str, list[bool]] | None = None) -> Any:
        return make_batch(self.specs, labelled)

    def training_losses(self, model: DenseModule, batch: Any) -> dict[str, torch.Tensor]:
        """What a training step adds up, unweighted task losses and the architecture's own."""
        return model.training_loss(batch)[1]

    def test_output_shapes(self) -> None:
        model = self.build().eval()
        batch = self.batch()
        outputs = model(batch["image"], batch["meta"]["content"])
        for name, task in model.tasks.items():
            assert outputs.final[name].shape[:2] == (2, task.num_outputs)
            prediction = task.predict(upsample(outputs.final[name], (32, 40)))
            assert prediction.shape[-2:] == (32, 40)

    def test_every_parameter_gets_a_gradient(self) -> None:
        model = self.build()
        batch = self.batch()
        total = sum(self.training_losses(model, batch).values())
        total.backward()
        dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().any()]
        assert dead == []

    def test_unlabelled_targets_change_nothing(self) -> None:
        flags = {name: [i == 0, i != 0] for i, name in enumerate(self.specs)}
        results = []
        for noise in (False, True):
            model = self.build()
            batch = self.batch(flags)
            if noise:
                for name, target in batch["targets"].items():
                    for i, flag in enumerate(flags[name]):
                        if not flag:
                            target[i] = torch.zeros_like(target[i]) + (1 if target.dtype == torch.int64 else 0.7)
            losses = self.training_losses(model, batch)
            sum(losses.values()).backward()
            grads = [p.grad for p in model.parameters() if p.grad is not None]
            results.append((losses, grads))
        (clean, clean_grads), (dirty, dirty_grads) = results
        assert all(torch.equal(clean[name], dirty[name]) for name in clean)
        assert all(torch.equal(a, b) for a, b in zip(clean_grads, dirty_grads, strict=True))

    def test_no_label_at_all_trains_with_zero_gradient(self) -> None:
        model = self.build()
        batch = self.batch({name: [False, False] for name in self.specs})
        total = torch.stack(list(self.training_losses(model, batch).values())).sum()
        total.backward()
        assert total.item() == 0.0
        assert all(p.grad is not None and not p.grad.any() for p in model.parameters())

    def test_padding_cannot_be_seen(self) -> None:
        model = self.build().eval()
        batch = self.batch()
        content = torch.tensor([[4, 8, 20, 24]] * 2)
        outside = torch.rand_like(batch["image"])
        outside[:, :, 4:24, 8:32] = batch["image"][:, :, 4:24, 8:32]
        with torch.no_grad():
            a, b = model(batch["image"], content).final, model(outside, content).final
        assert all(torch.equal(a[name], b[name]) for name in a)

    def test_state_round_trip(self) -> None:
        model, other = self.build().eval(), self.build().eval()
        with torch.no_grad():
            for p in other.parameters():
                p.add_(1.0)
        other.load_state_dict(model.state_dict())
        image = self.batch()["image"]
        with torch.no_grad():
            a, b = model(image).final, other(image).final
        assert all(torch.equal(a[name], b[name]) for name in a)

    def test_counts_on_the_meta_device(self) -> None:
        with torch.device("meta"):
            model = self.build()
        cost = count_cost(model, (64, 80))
        assert cost.modules[0].params > 0
        assert cost.modules[0].macs > 0

    def test_nan_loss_names_task_and_images(self) -> None:
        model = self.build()
        model.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
        batch = self.batch()
        with torch.no_grad():
            next(model.network.parameters()).fill_(float("nan"))
        with pytest.raises(NonFiniteLossError, match=r"step 1: .*image0, image1"):
            model.training_step(batch, 0)
