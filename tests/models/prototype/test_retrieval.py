"""The knowledge-retrieval transformer: by hand, and against torch's own attention."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mtdense.models.prototype.retrieval import KnowledgeRetrievalTransformer, RetrievalBlock, positional_encoding


@pytest.mark.parametrize("scaling", [True, False])
def test_retrieval_attention_by_hand(scaling: bool) -> None:
    """One head of width 2, identity projections; values are twice the keys' input."""
    block = RetrievalBlock(2, 2, heads=1, scaling=scaling)
    with torch.no_grad():
        for linear in (block.cross_query, block.cross_out):
            linear.weight.copy_(torch.eye(2))
        block.cross_key_value.weight.copy_(torch.cat([torch.eye(2), 2 * torch.eye(2)]))
    queries = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    knowledge = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    divisor = math.sqrt(2) if scaling else 1.0
    # Scores (1, 0) and (0, 2), over the divisor.
    a = math.exp(1 / divisor) / (math.exp(1 / divisor) + 1)
    b = math.exp(2 / divisor) / (math.exp(2 / divisor) + 1)
    expected = torch.tensor([[[2 * a, 2 * (1 - a)], [2 * (1 - b), 2 * b]]])
    assert_close(block.attend_affinity(queries, knowledge), expected)


def torch_attention(block: RetrievalBlock, width: int, slot_dim: int) -> tuple[nn.Module, nn.Module]:
    own = nn.MultiheadAttention(width, block.heads, batch_first=True)
    cross = nn.MultiheadAttention(width, block.heads, kdim=slot_dim, vdim=slot_dim, batch_first=True)
    own.load_state_dict(
        {
            "in_proj_weight": block.self_qkv.weight,
            "in_proj_bias": block.self_qkv.bias,
            "out_proj.weight": block.self_out.weight,
            "out_proj.bias": block.self_out.bias,
        }
    )
    key, value = block.cross_key_value.weight.chunk(2)
    cross.load_state_dict(
        {
            "q_proj_weight": block.cross_query.weight,
            "k_proj_weight": key,
            "v_proj_weight": value,
            "in_proj_bias": torch.cat([block.cross_query.bias, block.cross_key_value.bias]),
            "out_proj.weight": block.cross_out.weight,
            "out_proj.bias": block.cross_out.bias,
        }
    )
    return own, cross


def block_with_biases(**options) -> RetrievalBlock:
    torch.manual_seed(0)
    block = RetrievalBlock(12, 7, heads=3, **options)
    with torch.no_grad():
        for name, parameter in block.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    return block


def test_attention_is_torch_multihead_attention() -> None:
    block = block_with_biases()
    own, cross = torch_attention(block, 12, 7)
    x, g = torch.randn(2, 5, 12), torch.randn(2, 4, 7)
    assert_close(block.attend_self(x), own(x, x, x)[0], atol=1e-5, rtol=1e-5)
    assert_close(block.attend_affinity(x, g), cross(x, g, g)[0], atol=1e-5, rtol=1e-5)
    theirs = sum(p.numel() for part in (own, cross, block.ffn) for p in part.parameters()) + 3 * 2 * 12
    assert sum(p.numel() for p in block.parameters()) == theirs


def test_order_of_parts() -> None:
    x, g = torch.randn(2, 5, 12), torch.randn(2, 4, 7)
    pre = block_with_biases()
    y = x + pre.attend_self(pre.self_norm(x))
    y = y + pre.attend_affinity(pre.cross_norm(y), g)
    assert_close(pre(x, g), y + pre.ffn(pre.ffn_norm(y)))
    post = block_with_biases(norm="post")
    y = post.self_norm(x + post.attend_self(x))
    y = post.cross_norm(y + post.attend_affinity(y, g))
    assert_close(post(x, g), post.ffn_norm(y + post.ffn(y)))
    replaced = block_with_biases(cross_residual=False)
    y = x + replaced.attend_self(replaced.self_norm(x))
    y = replaced.attend_affinity(replaced.cross_norm(y), g)
    assert_close(replaced(x, g), y + replaced.ffn(replaced.ffn_norm(y)))
    replaced = block_with_biases(cross_residual=False, norm="post")
    y = replaced.cross_norm(replaced.attend_affinity(replaced.self_norm(x + replaced.attend_self(x)), g))
    assert_close(replaced(x, g), replaced.ffn_norm(y + replaced.ffn(y)))


def test_blocks_follow_each_other_over_one_knowledge() -> None:
    torch.manual_seed(0)
    stack = KnowledgeRetrievalTransformer(3, 8, 5, heads=2)
    x, g = torch.randn(1, 4, 8), torch.randn(1, 4, 5)
    y = x
    for block in stack.blocks:
        y = block(y, g)
    assert len(stack.blocks) == 3
    assert_close(stack(x, g), y)


def test_a_single_key_leaves_attention_no_choice() -> None:
    """Why one affinity for the whole image is degenerate: what is retrieved does not depend on who asks."""
    block = block_with_biases()
    found = block.attend_affinity(torch.randn(1, 6, 12), torch.randn(1, 1, 7))
    assert_close(found, found[:, :1].expand_as(found))


def test_positions_by_hand() -> None:
    code = positional_encoding(2, 3, 8, torch.zeros(()))
    assert code.shape == (6, 8)
    # Row 1, column 2: sines and cosines of 1 and 1/100, then of 2 and 2/100.
    expected = [f(x / rate) for x in (1, 2) for f in (math.sin, math.cos) for rate in (1, 100)]
    assert_close(code[5], torch.tensor(expected))
    assert len({tuple(row) for row in code.tolist()}) == 6
