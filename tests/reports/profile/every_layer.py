"""A network with one of each layer that the counters know."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class EveryLayer(nn.Module):
    """Takes (1, 3, 16, 24)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        self.grouped = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False), nn.GroupNorm(2, 8), nn.PReLU()
        )
        self.down = nn.Sequential(nn.AvgPool2d(2), nn.InstanceNorm2d(8), nn.LeakyReLU(), nn.Conv2d(8, 16, 1))
        self.up = nn.Sequential(nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1, output_padding=1), nn.ELU())
        self.larger = nn.Upsample(scale_factor=2, mode="bilinear")
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Dropout(), nn.Linear(32, 16), nn.Softmax(dim=-1))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.ReLU6(), nn.AdaptiveMaxPool2d(1))
        self.unused = nn.Linear(5, 5)
        self.bare = nn.Parameter(self.norm.weight.detach().clone())

    def forward(self, image: Tensor) -> Tensor:
        x = self.down(self.grouped(self.stem(image)))
        tokens = self.norm(x.flatten(2).transpose(1, 2)) * self.bare
        tokens = tokens + self.attention(tokens, tokens, tokens)[0]
        tokens = self.mlp(tokens)
        mixed = F.scaled_dot_product_attention(tokens, tokens, tokens)
        x = x + mixed.transpose(1, 2).reshape(x.shape)
        return self.larger(self.up(x)) + self.pool(x)[:, :8]
