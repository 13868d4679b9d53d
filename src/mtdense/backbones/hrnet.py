"""HRNets: the four branches of the last stage, fused by the size of the branch that receives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.backbones.base import Backbone
from mtdense.backbones.timm_network import create_timm, statistics_of

__all__ = ["HRNet"]


class HRNet(Backbone):
    """A timm HRNet without its classification head.

    timm fuses branches by factors of two, which fails where a side is no multiple of 32. Here every branch is brought
    to the size of the branch it is added to, as in the code of ATRC and MTI-Net: 425 x 560 gives 107 x 140, 54 x 70,
    27 x 35 and 14 x 18.

    Args:
        name: A timm name, with or without a tag.
        pretrained: Download timm's weights of this tag.
        fusion: How a coarser branch is enlarged. `bilinear`: by its factor of two and then to the size of the finer
            branch, as ATRC and MTI-Net do; `nearest`: at once, which is timm's network wherever that one runs.
        overrides: Further arguments of timm's constructor (`stage4={...}`).

    Raises:
        ConfigError: timm knows no such option, or the weights cannot be downloaded.
    """

    # timm's class, whose parts it types loosely.
    network: Any

    def __init__(
        self,
        name: str,
        pretrained: bool = False,
        fusion: Literal["bilinear", "nearest"] = "bilinear",
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        options = {"features_only": True, "feature_location": "", "out_indices": (1, 2, 3, 4)}
        network = create_timm(name, pretrained, {**options, **(overrides or {})})
        info = network.feature_info
        super().__init__(info.channels(), info.reduction(), *statistics_of(name))
        self.network = network
        self.fusion = fusion

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) to the four branches of the last stage, at strides 4, 8, 16 and 32."""
        net = self.network
        x = net.act1(net.bn1(net.conv1(image)))
        x = net.act2(net.bn2(net.conv2(x)))
        for block in net.layer1:
            x = self.run_part(block, x)
        branches = self._run(net.stage2, [transition(x) for transition in net.transition1])
        for transitions, stage in ((net.transition2, net.stage3), (net.transition3, net.stage4)):
            # A new branch starts from the coarsest of the last stage; the others go on.
            started = [
                branches[i] if isinstance(transition, nn.Identity) else transition(branches[-1])
                for i, transition in enumerate(transitions)
            ]
            branches = self._run(stage, started)
        return branches

    def _run(self, stage: nn.Module, branches: list[Tensor]) -> list[Tensor]:
        for module in stage.children():
            branches = self.run_part(self._exchange, module, *branches, norms_of=module)
        return branches

    def _exchange(self, module: Any, *given: Tensor) -> list[Tensor]:
        """One multi-resolution module: each branch on its own, then each the sum of all."""
        branches = [branch(x) for branch, x in zip(module.branches, given, strict=True)]
        fused: list[Tensor] = []
        for i, layers in enumerate(module.fuse_layers):
            total: Tensor | None = None
            for j, layer in enumerate(layers):
                if j > i:
                    # timm's layer is convolution, norm and an enlargement by a fixed factor; the last is done here.
                    part = self._enlarge(layer[1](layer[0](branches[j])), 2 ** (j - i), branches[i])
                else:
                    part = layer(branches[j])
                total = part if total is None else total + part
            assert total is not None
            fused.append(module.fuse_act(total))
        return fused

    def _enlarge(self, x: Tensor, factor: int, like: Tensor) -> Tensor:
        size = like.shape[-2:]
        if self.fusion == "nearest":
            return F.interpolate(x, size=size, mode="nearest")
        x = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
        return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Names of timm, which are also those of the public HRNet code."""
        return {key if key.startswith("network.") else "network." + key: value for key, value in state.items()}
