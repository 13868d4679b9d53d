"""What every backbone must pass; a family's own test subclasses this and adds what is special."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mtdense.backbones import Backbone, create_backbone, recompute
from mtdense.core.errors import CheckpointError, ConfigError


class BackboneTester:
    """Subclass; set `name`, the options of a small network, its channels and strides, and an option it lacks."""

    name: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}
    channels: ClassVar[tuple[int, ...]]
    strides: ClassVar[tuple[int, ...]] = (4, 8, 16, 32)
    size: ClassVar[tuple[int, int]] = (64, 96)
    odd_size: ClassVar[tuple[int, int]] = (45, 61)
    foreign_option: ClassVar[dict[str, Any]]
    has_drop_path: ClassVar[bool] = True

    def build(self, seed: int = 0, **kwargs: Any) -> Backbone:
        """The small network, without a weight that is zero: a zero behind a layer hides the layer's gradient."""
        torch.manual_seed(seed)
        if self.has_drop_path:
            kwargs.setdefault("drop_path_rate", 0.0)
        options = {"img_size": self.size, **self.options, **kwargs}
        backbone = create_backbone(self.name, **options)
        with torch.no_grad():
            for parameter in backbone.parameters():
                if not parameter.any():
                    parameter.normal_(std=0.1)
        return backbone

    def image(self, size: tuple[int, int] | None = None) -> Tensor:
        return torch.randn(2, 3, *(size or self.size), generator=torch.Generator().manual_seed(1))

    def maps(self, backbone: Backbone, size: tuple[int, int] | None = None) -> list[Tensor]:
        with torch.no_grad():
            maps: list[Tensor] = backbone.eval()(self.image(size))
        return maps

    @pytest.mark.parametrize("odd", [False, True])
    def test_pyramid_is_as_declared(self, odd: bool) -> None:
        backbone = self.build()
        assert backbone.channels == self.channels
        assert backbone.strides == self.strides
        assert len(backbone.mean) == len(backbone.std) == 3
        height, width = size = self.odd_size if odd else self.size
        expected = [
            (2, c, math.ceil(height / s), math.ceil(width / s))
            for c, s in zip(self.channels, self.strides, strict=True)
        ]
        maps = self.maps(backbone, size)
        assert [tuple(x.shape) for x in maps] == expected
        assert all(torch.isfinite(x).all() for x in maps)

    def test_every_parameter_gets_a_gradient(self) -> None:
        backbone = self.build().train()
        generator = torch.Generator().manual_seed(2)
        maps = backbone(self.image(self.odd_size))
        sum((x * torch.randn(x.shape, generator=generator)).sum() for x in maps).backward()
        dead = [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.abs().any()]
        assert dead == []

    def test_evaluation_is_a_function_of_each_image(self) -> None:
        options: dict[str, Any] = {"drop_path_rate": 0.5} if self.has_drop_path else {}
        backbone = self.build(**options)
        first, again = self.maps(backbone), self.maps(backbone)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        with torch.no_grad():
            alone = backbone(self.image()[1:])
        for both, one in zip(first, alone, strict=True):
            torch.testing.assert_close(both[1:], one, atol=1e-4 * both.abs().max().item(), rtol=0.0)

    def test_stochastic_depth_acts_in_training_only(self) -> None:
        if not self.has_drop_path:
            with pytest.raises(ConfigError, match="drop_path_rate"):
                self.build(drop_path_rate=0.5)
            return
        backbone = self.build(drop_path_rate=0.9).train()
        with torch.no_grad():
            draws = [backbone(self.image())[-1] for _ in range(3)]
        assert not (torch.equal(draws[0], draws[1]) and torch.equal(draws[1], draws[2]))

    def test_recomputing_changes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Gradients, running statistics and random numbers, to the last bit."""
        done: list[Any] = []

        def counted(*args: Any, **kwargs: Any) -> Any:
            done.append(args[0])
            return checkpoint(*args, **kwargs)

        monkeypatch.setattr(recompute, "checkpoint", counted)
        drop: dict[str, Any] = {"drop_path_rate": 0.5} if self.has_drop_path else {}
        found = []
        for checkpointing in (False, True):
            backbone = self.build(checkpointing=checkpointing, **drop).train()
            torch.manual_seed(4)
            maps = backbone(self.image(self.odd_size))
            torch.stack([x.square().sum() for x in maps]).sum().backward()
            state = dict(backbone.named_buffers()) | {"drawn": torch.rand(1)}
            found.append((maps, {name: p.grad for name, p in backbone.named_parameters()}, state))
            assert bool(done) == checkpointing
        (maps, grads, state), (again, same, kept) = found
        assert all(torch.equal(a, b) for a, b in zip(maps, again, strict=True))
        assert [name for name, grad in grads.items() if not torch.equal(grad, same[name])] == []
        assert [name for name, buffer in state.items() if not torch.equal(buffer, kept[name])] == []
        done.clear()
        with torch.no_grad():
            backbone.eval()(self.image())
        assert done == []

    def test_local_weights_load_exactly(self, tmp_path: Path) -> None:
        source = self.build(seed=3)
        # Running statistics that are nobody's initial values.
        with torch.no_grad():
            for buffer in source.buffers():
                if buffer.is_floating_point():
                    buffer.add_(0.5)
        torch.save({"state_dict": source.state_dict()}, tmp_path / "weights.pth")
        loaded = self.build(checkpoint=str(tmp_path / "weights.pth"))
        own, given = loaded.state_dict(), source.state_dict()
        assert own.keys() == given.keys()
        assert all(torch.equal(own[key], given[key]) for key in own if not key.endswith("num_batches_tracked"))

    def test_left_over_and_missing_weights_are_refused(self, tmp_path: Path) -> None:
        state = self.build().state_dict()
        lost = next(iter(state))
        del state[lost]
        state["network.surprise"] = torch.zeros(1)
        torch.save(state, tmp_path / "weights.pth")
        with pytest.raises(CheckpointError) as caught:
            self.build(checkpoint=str(tmp_path / "weights.pth"))
        assert lost in str(caught.value) and "surprise" in str(caught.value)

    def test_foreign_option_is_refused(self) -> None:
        option = next(iter(self.foreign_option))
        with pytest.raises(ConfigError, match=rf"'{self.name}' has no option \['{option}'\]"):
            self.build(**self.foreign_option)

    def test_unknown_argument_is_refused(self) -> None:
        overrides = {**self.options.get("overrides", {}), "no_such_argument": 1}
        with pytest.raises(ConfigError, match="no_such_argument"):
            self.build(**{**self.options, "overrides": overrides})
