"""DCNv3, the deformable convolution of InternImage: the compiled operator where it works, PyTorch elsewhere.

Per output place (i, j) and group g, with value v, offsets o and weights m that sum to 1 over the K*K points:

    y[i, j, g] = sum_k m[i, j, g, k] * v_g(row = i + s * (b_k + o_y), column = j + s * (a_k + o_x))

bilinear, zero outside; s (`offset_scale`) widens the grid of points and the offsets alike. The points run over the
columns a_k first, over the rows b_k within.
"""

from __future__ import annotations

import importlib
import warnings
from functools import cache
from importlib import metadata
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mtdense.core.errors import ConfigError

__all__ = ["DCNv3", "DCNv3Backend", "dcnv3"]

DCNv3Backend = Literal["auto", "compiled", "torch"]

# Devices that the published extension has kernels for.
_COMPILED_DEVICES = ("cuda",)
_IM2COL_STEP = 256


def dcnv3(
    value: Tensor,
    offset: Tensor,
    mask: Tensor,
    groups: int,
    kernel_size: int = 3,
    offset_scale: float = 1.0,
    backend: DCNv3Backend = "auto",
) -> Tensor:
    """Deformable aggregation, stride 1, padded to the same size.

    Args:
        value: (B, H, W, groups * c).
        offset: (B, H, W, groups * K * K * 2): by group, then point, then (x, y), in places before `offset_scale`.
        mask: (B, H, W, groups * K * K): weight of each point, as they are (no softmax here).
        groups: Channel groups with offsets of their own.
        kernel_size: K, odd.
        offset_scale: s above.
        backend: `compiled` is the published CUDA extension (package `DCNv3`), which is compared with the PyTorch
            form once per device before it is trusted; `torch` holds the inputs only and samples again in the backward
            pass; `auto` takes the first where it works.

    Returns:
        (B, H, W, groups * c) in value's dtype. The arithmetic is float32, or float64 if value is.

    Raises:
        ConfigError: `compiled` where the extension is absent or wrong.
    """
    if backend != "torch":
        problem = "this value is not on a CUDA device" if value.device.type not in _COMPILED_DEVICES else ""
        problem = problem or _compiled_problem(str(value.device))
        if not problem:
            return _run(_Compiled, value, offset, mask, groups, kernel_size, offset_scale)
        if backend == "compiled":
            raise ConfigError(f"the compiled DCNv3 operator cannot be used: {problem}", "set `dcn_backend: torch`.")
    return _run(_Sampled, value, offset, mask, groups, kernel_size, offset_scale)


def _run(function: Any, value: Tensor, offset: Tensor, mask: Tensor, *settings: Any) -> Tensor:
    dtype = torch.float64 if value.dtype == torch.float64 else torch.float32
    # Nothing inside is rounded by autocast: sampling and sums take the widest of their dtypes.
    out: Tensor = function.apply(value.to(dtype), offset.to(dtype), mask.to(dtype), *settings)
    return out.to(value.dtype)


class _Sampled(torch.autograd.Function):
    """One `grid_sample` per point; nothing but the inputs is kept for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, offset: Tensor, mask: Tensor, groups: int, kernel_size: int, scale: float
    ) -> Tensor:
        ctx.save_for_backward(value, offset, mask)
        ctx.settings = (groups, kernel_size, scale)
        if value.is_meta:
            # Counting networks without memory: PyTorch's shape rule for grid_sample is slow.
            return torch.empty_like(value)
        planes = _to_planes(value, groups)
        grids, weights = _grids_and_weights(offset, mask, groups, kernel_size, scale)
        out = torch.zeros_like(planes)
        for k in range(kernel_size**2):
            out.addcmul_(_sample(planes, grids[k]), weights[k])
        return _from_planes(out, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        value, offset, mask = ctx.saved_tensors
        groups, kernel_size, scale = ctx.settings
        if value.is_meta:
            return torch.empty_like(value), torch.empty_like(offset), torch.empty_like(mask), None, None, None
        batch, height, width, _ = value.shape
        planes, upper = _to_planes(value, groups), _to_planes(gradient, groups)
        to_value = torch.zeros_like(planes)
        to_offset = torch.empty_like(offset).view(batch, height, width, groups, -1, 2)
        to_mask = torch.empty_like(mask).view(batch, height, width, groups, -1)
        grids, weights = _grids_and_weights(offset, mask, groups, kernel_size, scale)
        unit = _unit(offset, scale)
        for k in range(kernel_size**2):
            grid = grids[k]
            sampled = _sample(planes, grid)
            to_mask[..., k] = sampled.mul_(upper).sum(1).unflatten(0, (batch, groups)).permute(0, 2, 3, 1)
            part, to_grid = torch.ops.aten.grid_sampler_2d_backward(
                upper * weights[k], planes, grid, 0, 0, False, [True, True]
            )
            to_value += part
            to_offset[..., k, :] = to_grid.mul_(unit).unflatten(0, (batch, groups)).permute(0, 2, 3, 1, 4)
        return _from_planes(to_value, groups), to_offset.view_as(offset), to_mask.view_as(mask), None, None, None


def _to_planes(x: Tensor, groups: int) -> Tensor:
    """(B, H, W, G * c) to (B * G, c, H, W)."""
    planes: Tensor = x.unflatten(-1, (groups, -1)).permute(0, 3, 4, 1, 2).flatten(0, 1)
    return planes.contiguous()


def _from_planes(x: Tensor, groups: int) -> Tensor:
    joined: Tensor = x.unflatten(0, (-1, groups)).permute(0, 3, 4, 1, 2).flatten(3)
    return joined.contiguous()


def _unit(offset: Tensor, scale: float) -> Tensor:
    """One place in grid_sample's coordinates (x, y), times `offset_scale`."""
    height, width = offset.shape[1:3]
    return offset.new_tensor([2 * scale / width, 2 * scale / height])


def _grids_and_weights(
    offset: Tensor, mask: Tensor, groups: int, kernel_size: int, scale: float
) -> tuple[Tensor, Tensor]:
    """grid_sample's coordinates (points, B * G, H, W, 2) and the weights (points, B * G, 1, H, W)."""
    height, width = offset.shape[1:3]
    reach = kernel_size // 2
    around = torch.arange(-reach, reach + 1, device=offset.device, dtype=offset.dtype) * scale
    columns = torch.arange(width, device=offset.device, dtype=offset.dtype) + 0.5
    rows = torch.arange(height, device=offset.device, dtype=offset.dtype) + 0.5
    # (columns of the kernel, rows of the kernel, H, W)
    x = ((around[:, None] + columns) * (2 / width) - 1)[:, None, None, :]
    y = ((around[:, None] + rows) * (2 / height) - 1)[None, :, :, None]
    base = torch.stack(torch.broadcast_tensors(x, y), dim=-1).flatten(0, 1)[:, None, None]
    # Points first: sampling reads a contiguous grid twice as fast.
    shift = offset.unflatten(-1, (groups, -1, 2)).permute(4, 0, 3, 1, 2, 5)
    grids = torch.addcmul(base, shift, _unit(offset, scale)).flatten(1, 2).contiguous()
    weights = mask.unflatten(-1, (groups, -1)).permute(4, 0, 3, 1, 2).flatten(1, 2).unsqueeze(2)
    return grids, weights


def _sample(planes: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


class _Compiled(torch.autograd.Function):
    """The published CUDA extension."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, offset: Tensor, mask: Tensor, groups: int, kernel_size: int, scale: float
    ) -> Tensor:
        ctx.save_for_backward(value, offset, mask)
        pad = kernel_size // 2
        ctx.settings = (*(kernel_size, kernel_size, 1, 1, pad, pad, 1, 1), groups, value.shape[-1] // groups, scale)
        value, offset, mask = value.contiguous(), offset.contiguous(), mask.contiguous()
        out: Tensor = _extension().dcnv3_forward(value, offset, mask, *ctx.settings, _IM2COL_STEP, *_last_argument())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs = [x.contiguous() for x in ctx.saved_tensors]
        grads = _extension().dcnv3_backward(
            *inputs, *ctx.settings, gradient.contiguous(), _IM2COL_STEP, *_last_argument()
        )
        return (*grads, None, None, None)


def _extension() -> Any:
    return importlib.import_module("DCNv3")


def _last_argument() -> tuple[int, ...]:
    # Since 1.1 the extension takes "leave the centre point out".
    version = metadata.version("DCNv3").split(".")
    return (0,) if [int(part) for part in version[:2]] > [1, 0] else ()


@cache
def _compiled_problem(device: str) -> str:
    """Why the extension cannot be used on this device; empty if it can. A wrong one is warned of, an absent one not."""
    try:
        _extension()
        metadata.version("DCNv3")
    except ModuleNotFoundError:
        return "the package DCNv3 is not installed"
    except Exception as error:
        problem = f"it cannot be imported ({error})"
    else:
        problem = _disagreement(device)
    if problem:
        # Wheels built for other devices are known to compute garbage without an error.
        warnings.warn(f"DCNv3 runs in plain PyTorch, for the installed extension is unusable: {problem}", stacklevel=2)
    return problem


def _disagreement(device: str) -> str:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 5, 6, 32), (2, 5, 6, 36), (2, 5, 6, 18), (2, 5, 6, 32))
    value, offset, mask, upper = (torch.randn(shape, generator=generator).to(device) for shape in shapes)
    results = []
    for function in (_Compiled, _Sampled):
        inputs = [x.clone().requires_grad_() for x in (value, offset, mask)]
        try:
            with torch.enable_grad():
                out: Tensor = function.apply(*inputs, 2, 3, 1.0)  # type: ignore[no-untyped-call]
                results.append([out.detach(), *torch.autograd.grad(out, inputs, upper)])
        except Exception as error:
            return f"it fails on {device} ({error})"
    agree = all(torch.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in zip(*results, strict=True))
    return "" if agree else f"it computes something else than its definition on {device}"


class DCNv3(nn.Module):
    """The operator with its projections, on channels-last maps (B, H, W, C).

    Args:
        channels: C.
        groups: Divides `channels`.
        kernel_size: Odd.
        offset_scale: 1.0 in InternImage-B, 2.0 in InternImage-L.
        backend: See `dcnv3`.
    """

    def __init__(
        self,
        channels: int,
        groups: int,
        kernel_size: int = 3,
        offset_scale: float = 1.0,
        backend: DCNv3Backend = "auto",
    ) -> None:
        super().__init__()
        if channels % groups or kernel_size % 2 == 0:
            raise ConfigError(
                f"DCNv3 with {channels} channels in {groups} groups and kernel {kernel_size}",
                "take a number of groups that divides the channels and an odd kernel.",
            )
        self.groups = groups
        self.kernel_size = kernel_size
        self.offset_scale = offset_scale
        self.backend = backend
        points = groups * kernel_size**2
        self.dw_conv = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels),
            # The place in the list is the name in published checkpoints.
            nn.Sequential(ToChannelsLast(), nn.LayerNorm(channels, eps=1e-6)),
            nn.GELU(),
        )
        self.offset = nn.Linear(channels, points * 2)
        self.mask = nn.Linear(channels, points)
        self.input_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Every point at its place with the same weight."""
        for layer in (self.offset, self.mask):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer in (self.input_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        value = self.input_proj(x)
        seen = self.dw_conv(x.permute(0, 3, 1, 2))
        mask = self.mask(seen).unflatten(-1, (self.groups, -1)).softmax(-1).flatten(-2)
        y = dcnv3(value, self.offset(seen), mask, self.groups, self.kernel_size, self.offset_scale, self.backend)
        out: Tensor = self.output_proj(y)
        return out


class ToChannelsLast(nn.Module):
    """(B, C, H, W) to (B, H, W, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x.permute(0, 2, 3, 1)
