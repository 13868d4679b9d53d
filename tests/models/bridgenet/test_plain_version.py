"""BridgeNet's modules against plain versions: a loop over tasks, concatenation, attention written out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.models.bridgenet import (
    BridgeFeatureExtractor,
    ConcatRefiner,
    TaskFeatureRefiner,
    TaskPatternPropagation,
)
from mtdense.models.layers import InvPTBlock
from mtdense.models.layers.task_maps import TaskDropPath

TASKS, WIDTH = 3, 8


def part(x: Tensor, task: int, tasks: int = TASKS) -> Tensor:
    return x.chunk(tasks)[task]


def maps(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def shake(module: nn.Module) -> None:
    """Weights for which nothing is near zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.5)


def norm(x: Tensor, layer: nn.BatchNorm2d, rows: slice) -> Tensor:
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
    shape = (1, -1, 1, 1)
    return (x - mean) / (variance + 1e-5).sqrt() * layer.weight[rows].view(shape) + layer.bias[rows].view(shape)


def grow(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def check(module: nn.Module, plain: Callable[..., Tensor], run: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Outputs, and gradients of inputs and parameters, agree to 1e-5."""
    results = []
    for function in (run, plain):
        module.zero_grad()
        for x in inputs:
            x.grad = None
        out = function(*inputs)
        weights = torch.sin(torch.arange(out.numel(), dtype=out.dtype)).view(out.shape)
        (out * weights).sum().backward()
        grads = [x.grad for x in inputs] + [p.grad for p in module.parameters()]
        assert all(g is not None for g in grads)
        results.append([out.detach(), *grads])
    for ours, theirs in zip(*results, strict=True):
        # What a batch norm or a softmax cannot see has no gradient but rounding.
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("size", [(5, 6), (10, 12)], ids=["finer tasks", "coarser tasks"])
def test_refiner_is_concatenation_per_task(size: tuple[int, int]) -> None:
    refiner = TaskFeatureRefiner(TASKS, WIDTH, [0.0] * 4).double()
    shake(refiner)
    hidden = WIDTH // 2

    def plain(x: Tensor, bridge: Tensor) -> Tensor:
        done = []
        for t in range(TASKS):
            y = x[:, t * WIDTH : (t + 1) * WIDTH]
            rows = slice(t * hidden, (t + 1) * hidden)
            for block, dilation in zip(refiner.blocks, (1, 2, 5, 1), strict=True):
                both = torch.cat([y, grow(bridge, y.shape[-2:])], dim=1)
                weight = torch.cat([part(block.from_task.weight, t), part(block.from_bridge.weight, t)], dim=1)
                z = F.gelu(norm(F.conv2d(both, weight, part(block.from_task.bias, t)), block.norm1, rows))
                z = F.conv2d(z, part(block.dilated.weight, t), padding=dilation, dilation=dilation, groups=hidden)
                z = F.gelu(norm(z, block.norm2, rows))
                y = y + F.conv2d(z, part(block.out.weight, t), part(block.out.bias, t))
            done.append(y)
        return torch.cat(done, dim=1)

    x, bridge = maps(2, TASKS * WIDTH, *size), maps(2, WIDTH, 7, 8, seed=2)
    check(refiner, plain, refiner, x, bridge)


@pytest.mark.parametrize("form", ["conv1x1", "conv3x3", "shared_conv3x3"])
def test_concat_refiner(form: str) -> None:
    refiner = ConcatRefiner(TASKS, WIDTH, form).double()  # type: ignore[arg-type]
    shake(refiner)

    def plain(x: Tensor, bridge: Tensor) -> Tensor:
        done = []
        for t in range(TASKS):
            rows = 0 if refiner.shared else t
            copies = 1 if refiner.shared else TASKS
            both = torch.cat([x[:, t * WIDTH : (t + 1) * WIDTH], grow(bridge, x.shape[-2:])], dim=1)
            weights = (refiner.from_task.weight, refiner.from_bridge.weight)
            weight = torch.cat([part(w, rows, copies) for w in weights], dim=1)
            done.append(F.conv2d(both, weight, part(refiner.from_task.bias, rows, copies), padding="same"))
        return torch.cat(done, dim=1)

    check(refiner, plain, refiner, maps(2, TASKS * WIDTH, 5, 6), maps(2, WIDTH, 3, 4, seed=2))


def attention(query: Tensor, key: Tensor, value: Tensor, heads: int = 2) -> Tensor:
    """Tokens (B, L, C); scores over the root of the whole width."""
    scale = query.shape[-1] ** 0.5
    split = (t.chunk(heads, dim=-1) for t in (query, key, value))
    return torch.cat([(q @ k.mT / scale).softmax(-1) @ v for q, k, v in zip(*split, strict=True)], dim=-1)


@pytest.mark.parametrize(("task_size", "size"), [((4, 6), (8, 12)), ((5, 7), (5, 7))], ids=["even", "odd"])
def test_bridge_feature_extractor(task_size: tuple[int, int], size: tuple[int, int]) -> None:
    bfe = BridgeFeatureExtractor(TASKS, WIDTH, heads=2, pool=2).double()
    shake(bfe)

    def plain(generic: Tensor, x: Tensor) -> Tensor:
        strided = F.conv2d(generic, bfe.query_conv.weight, stride=2, padding=1, groups=WIDTH)
        query = norm(strided, bfe.query_norm, slice(None))
        tokens = []
        for t in range(TASKS):
            own = x[:, t * WIDTH : (t + 1) * WIDTH].flatten(2).mT
            own = F.layer_norm(own, (WIDTH,), bfe.norm1.weight, bfe.norm1.bias).mT.unflatten(2, task_size)
            tokens.append(F.avg_pool2d(own, 2, ceil_mode=True).flatten(2).mT)
        joined = torch.cat(tokens, dim=1)
        out = bfe.out(attention(bfe.query(query.flatten(2).mT), bfe.key(joined), bfe.value(joined)))
        back = grow(out.mT.unflatten(2, query.shape[-2:]), size)
        y = generic + F.conv2d(back, bfe.restore.weight, bfe.restore.bias, padding=1, groups=WIDTH)
        flat = y.flatten(2).mT
        flat = flat + bfe.mlp.fc2(F.gelu(bfe.mlp.fc1(bfe.norm2(flat))))
        return flat.mT.unflatten(2, size)

    generic, x = maps(2, WIDTH, *size), maps(2, TASKS * WIDTH, *task_size, seed=2)
    check(bfe, plain, bfe, generic, x)


@pytest.mark.parametrize("size", [(4, 6), (5, 7)], ids=["even", "odd"])
def test_task_pattern_propagation(size: tuple[int, int]) -> None:
    tpp = TaskPatternPropagation(TASKS, WIDTH).double()
    shake(tpp)

    def linear(layer: nn.Conv2d, tokens: Tensor, t: int) -> Tensor:
        assert layer.bias is not None
        return F.linear(tokens, part(layer.weight, t).flatten(1), part(layer.bias, t))

    def plain(x: Tensor) -> Tensor:
        scores, values, grid = [], [], (0, 0)
        for t in range(TASKS):
            tokens = x[:, t * WIDTH : (t + 1) * WIDTH].flatten(2).mT
            z = F.layer_norm(tokens, (WIDTH,), tpp.norm.weight[t], tpp.norm.bias[t]).mT.unflatten(2, size)
            strided = F.conv2d(z, part(tpp.query_conv.weight, t), stride=2, padding=1, groups=WIDTH)
            query = norm(strided, tpp.query_norm, slice(t * WIDTH, (t + 1) * WIDTH))
            grid = (query.shape[-2], query.shape[-1])
            pooled = F.avg_pool2d(z, 3, 2, 1, ceil_mode=True).flatten(2).mT
            q, k = linear(tpp.query, query.flatten(2).mT, t), linear(tpp.key, pooled, t)
            values.append(linear(tpp.value, pooled, t))
            scores += [a @ b.mT / WIDTH**0.5 for a, b in zip(q.chunk(2, -1), k.chunk(2, -1), strict=True)]
        joined = torch.stack(scores, dim=1)
        done = []
        for t in range(TASKS):
            own = x[:, t * WIDTH : (t + 1) * WIDTH]
            mixed = torch.einsum("oi,biqk->boqk", part(tpp.mix.weight, t)[..., 0, 0], joined)
            mixed = (mixed + part(tpp.mix.bias, t).view(1, -1, 1, 1)).softmax(-1)
            out = torch.cat([mixed[:, h] @ v for h, v in enumerate(values[t].chunk(2, -1))], dim=-1)
            y = own + grow(linear(tpp.out, out, t).mT.unflatten(2, grid), size)
            flat = y.flatten(2).mT
            normed = F.layer_norm(flat, (WIDTH,), tpp.mlp_norm.weight[t], tpp.mlp_norm.bias[t])
            flat = flat + linear(tpp.fc2, F.gelu(linear(tpp.fc1, normed, t)), t)
            done.append(flat.mT.unflatten(2, size) + own)
        return torch.cat(done, dim=1)

    x = maps(2, TASKS * WIDTH, *size)
    check(tpp, plain, lambda x: tpp(x)[0], x)


@pytest.mark.parametrize("receives", [False, True])
def test_invpt_block(receives: bool) -> None:
    block = InvPTBlock(TASKS, WIDTH, heads=2, pool=2, receives=receives).double()
    shake(block)
    size, grid, keys = (4, 8), (2, 4), TASKS * 2 * 4

    def plain(x: Tensor, *message: Tensor) -> Tensor:
        own = [x[:, t * WIDTH : (t + 1) * WIDTH] for t in range(TASKS)]
        normed = [block.norm1(y.flatten(2).mT).mT.unflatten(2, size) for y in own]
        queries, tokens = [], []
        for t, z in enumerate(normed):
            strided = F.conv2d(z, part(block.query_conv.weight, t), stride=2, padding=1, groups=WIDTH)
            rows = slice(t * WIDTH, (t + 1) * WIDTH)
            queries.append(norm(strided, block.query_norm, rows).flatten(2).mT)
            tokens.append(F.avg_pool2d(z, 2, ceil_mode=True).flatten(2).mT)
        query, joined = block.query(torch.cat(queries, 1)), torch.cat(tokens, 1)
        pairs = zip(query.chunk(2, -1), block.key(joined).chunk(2, -1), strict=True)
        scores = torch.stack([q @ k.mT / WIDTH**0.5 for q, k in pairs], dim=1)
        if message:
            rows_of = [
                [grow(message[0][:, h, t].permute(0, 3, 1, 2), grid).flatten(2).mT for t in range(TASKS)]
                for h in range(2)
            ]
            before = torch.stack([torch.cat(rows, 1) for rows in rows_of], dim=1)
            scores = block.fuse(torch.cat([scores, before], dim=1))
        values = block.value(joined).chunk(2, -1)
        out = block.out(torch.cat([scores[:, h].softmax(-1) @ values[h] for h in range(2)], dim=-1))
        done = []
        for y, attended in zip(own, out.chunk(TASKS, dim=1), strict=True):
            flat = (y + grow(attended.mT.unflatten(2, grid), size)).flatten(2).mT
            done.append((flat + block.mlp(block.norm2(flat))).mT.unflatten(2, size))
        return torch.cat(done, dim=1)

    inputs = [maps(2, TASKS * WIDTH, *size)]
    if receives:
        inputs.append(maps(2, 2, TASKS, 1, 2, keys, seed=2))
    check(block, plain, lambda x, *m: block(x, m[0] if m else None)[0], *inputs)


def test_drop_path_drops_whole_tasks_of_images_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop = TaskDropPath(4, 0.25)
    x = torch.ones(500, 4 * 3, 2, 2)
    y = drop(x).unflatten(1, (4, 3)).flatten(2)
    assert ((y == 0).all(-1) | (y == y[y > 0].max()).all(-1)).all()
    assert y.max().item() == pytest.approx(1 / 0.75)
    assert y.mean().item() == pytest.approx(1.0, abs=0.05)
    # Tasks fall independently.
    kept = (y[..., 0] > 0).float()
    assert (kept.mean(1) * 4).unique().tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert torch.equal(drop.eval()(x), x)
