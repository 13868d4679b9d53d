"""PAD-Net's distillation between tasks, which MTI-Net has at each scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

__all__ = ["GatedMessage", "TaskDistillation"]


class GatedMessage(nn.Module):
    """What a task takes from another: conv3x3(x) * sigmoid(conv3x3(x)), no biases.

    Args:
        channels: Channels in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.message = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to the same."""
        message: Tensor = self.message(x) * self.gate(x).sigmoid()
        return message


class TaskDistillation(nn.Module):
    """Each task's feature plus a gated message from every other task; each ordered pair has weights of its own.

    Args:
        tasks: Names of the tasks.
        channels: Channels of each feature.
    """

    def __init__(self, tasks: Sequence[str], channels: int) -> None:
        super().__init__()
        self.messages = nn.ModuleDict(
            {to: nn.ModuleDict({source: GatedMessage(channels) for source in tasks if source != to}) for to in tasks}
        )

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{task: (B, channels, H, W)} to the same."""
        refined = {}
        for to, sources in self.messages.items():
            assert isinstance(sources, nn.ModuleDict)
            total = features[to]
            for source, message in sources.items():
                total = total + message(features[source])
            refined[to] = total
        return refined
