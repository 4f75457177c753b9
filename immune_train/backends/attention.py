"""Attention that stays within conversations: a packed row and its borders in, attention out.

A packed row contains whole conversations, one after the other. No token may attend across a border,
and a mask for that would have as many entries as the row's length squared. On CUDA PyTorch's own
flash kernels take the borders instead, so flash-attn is not needed; elsewhere attention is computed
for each conversation separately.

`register` makes this an attention implementation of `transformers`, which passes the borders as
`cu_seq_lens_q` and `max_length_q`. Batches without them, such as padded ones, are left to `sdpa`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

NAME = "immune_packed"


def register() -> str:
    """Register packed attention with `transformers`; the `attn_implementation` to use out."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _mask)
    return NAME


def varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    borders: Tensor,
    borders_k: Tensor | None,
    longest: int,
    longest_k: int | None = None,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, 0),
    enable_gqa: bool = True,
) -> Tensor:
    """Causal attention within each conversation of a packed row.

    Query, key and value are of shape (tokens, heads, head size); key and value may have fewer
    heads. Conversation i is the tokens from `borders[i]` to `borders[i + 1]`. Parameters are in the
    order of `torch.nn.attention.varlen.varlen_attn`, which this can replace.
    """
    if window_size != (-1, 0):
        raise NotImplementedError(f"attention is causal and without a window, not {window_size}")
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        return _Flash.apply(query, key, value, borders, longest, scale)
    return _one_by_one(query, key, value, borders, scale)


class _Flash(torch.autograd.Function):
    """PyTorch's bundled flash kernels; its `varlen_attn` has no grouped heads before 2.12."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        borders: Tensor,
        longest: int,
        scale: float | None,
    ) -> Tensor:
        out, sums, seed, unused, _ = torch.ops.aten._flash_attention_forward(
            query, key, value, borders, borders, longest, longest, 0.0, True, False, scale=scale
        )
        ctx.save_for_backward(query, key, value, borders, out, sums, seed, unused)
        ctx.longest, ctx.scale = longest, scale
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, borders, out, sums, seed, unused = ctx.saved_tensors
        gradients = torch.ops.aten._flash_attention_backward(
            gradient.contiguous(),
            *(query, key, value, out, sums, borders, borders, ctx.longest, ctx.longest),
            *(0.0, True, seed, unused),
            scale=ctx.scale,
        )
        return *gradients, None, None, None


def _one_by_one(
    query: Tensor, key: Tensor, value: Tensor, borders: Tensor, scale: float | None
) -> Tensor:
    groups = query.shape[1] // key.shape[1]
    q = query.transpose(0, 1)[None]
    k, v = (
        tensor.transpose(0, 1).repeat_interleave(groups, dim=0)[None] for tensor in (key, value)
    )
    outputs = [
        scaled_dot_product_attention(
            q[:, :, start:end], k[:, :, start:end], v[:, :, start:end], is_causal=True, scale=scale
        )
        for start, end in pairwise(borders.tolist())
    ]
    return torch.cat(outputs, dim=2)[0].transpose(0, 1)


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    if cu_seq_lens_q is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    if dropout or len(query) != 1:
        raise NotImplementedError("packed attention is for one row without dropout of attention")
    assert max_length_q is not None, "borders come with the length of the longest conversation"
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    out = varlen(q, k, v, cu_seq_lens_q, None, max_length_q, scale=scaling)
    return out[None], None


def _mask(
    *, attention_mask: Tensor | None = None, q_length: int, kv_length: int, **kwargs: Any
) -> Tensor | None:
    """No mask for rows without padding: packed rows have their borders instead."""
    if attention_mask is None and q_length == kv_length:
        return None
    from transformers.masking_utils import sdpa_mask

    return sdpa_mask(
        attention_mask=attention_mask, q_length=q_length, kv_length=kv_length, **kwargs
    )
