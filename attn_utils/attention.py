"""Attention: scores, masked softmax, weighted mean of the values.

Shapes: ``...`` batch dimensions that broadcast, ``L`` queries, ``S`` keys, ``E`` features of query and key,
``Ev`` features of a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attn_utils.masking import _check_mask, masked_softmax
from attn_utils.scoring import ScaledDotProduct, _check_points

# Devices whose fused kernel returns 0 where the mask permits no key. Elsewhere that depends on the kernel chosen.
_KERNEL_GIVES_ZERO = ("cpu",)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score: Callable[[Tensor, Tensor], Tensor] | None = None,
    attn_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Answer each query by the mean of the values, weighted by the softmax of any score.

    Args:
        query: (..., L, Eq), floating.
        key: (..., S, Ek).
        value: (..., S, Ev).
        score: (query, key) -> scores (..., L, S), such as a module from ``attn_utils.scoring``; None is the
            scaled dot product.
        attn_mask: boolean, broadcastable to (..., L, S), True = may attend.

    Returns:
        The output (..., L, Ev) and the weights (..., L, S): each row sums to 1, and is 0, as its output,
        where the mask permits no key.

    Raises:
        TypeError: an input is not floating, dtypes differ, or the mask is not boolean.
        ValueError: shapes that do not fit, or no keys.

    Source:
        Bahdanau, Cho and Bengio (2015), section 3.1; Luong, Pham and Manning (2015), section 3.1.
    """
    _check_points(query=query, key=key, value=value)
    # Scores without a name of their own are freed as soon as they are masked.
    weights = masked_softmax((score or ScaledDotProduct())(query, key), attn_mask)  # (..., L, S)
    return weights @ value, weights


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout: float = 0.0,
    training: bool = False,
    need_weights: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """softmax(q kᵀ / √E) v.

    Args:
        query: (..., L, E), floating.
        key: (..., S, E).
        value: (..., S, Ev).
        attn_mask: boolean, broadcastable to (..., L, S), True = may attend. ``nn.MultiheadAttention`` has it
            the other way round.
        dropout: probability of dropping a weight. Applied in training only.
        training: whether to apply dropout.
        need_weights: False runs PyTorch's fused kernel and returns None for the weights. It holds no L x S
            matrix, except with dropout on a CPU. It has no second derivative, and where a key is NaN or
            infinite it may give NaN even if the mask closes that key.

    Returns:
        The output (..., L, Ev) and the weights (..., L, S) before dropout: each row sums to 1, and is 0,
        as its output, where the mask permits no key.

    Raises:
        TypeError: an input is not floating, dtypes differ, or the mask is not boolean.
        ValueError: shapes that do not fit, no keys, or dropout outside [0, 1).

    Source:
        Vaswani et al. (2017), section 3.2.1. In the paper: Q, K, V; E is d_k.
    """
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and less than 1, got {dropout}")
    if not need_weights:
        _check_points(query=query, key=key, value=value)
        ScaledDotProduct().check_features(query, key)
        return _fused(query, key, value, attn_mask, dropout if training else 0.0), None
    output, weights = attention(query, key, value, attn_mask=attn_mask)
    if training and dropout:
        output = F.dropout(weights, dropout) @ value
    return output, weights


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each in its own learned view of query, key and value.

    With E = embed_dim and H = num_heads, each head sees D = E / H features; the heads' outputs, side by side,
    pass through one more linear map.

    Args:
        embed_dim: features of the query and of the output.
        num_heads: H, a divisor of embed_dim.
        kdim: features of the key; default embed_dim.
        vdim: features of the value; default embed_dim.
        dropout: probability of dropping a weight in training.
        bias: whether the four linear maps have one.

    Raises:
        ValueError: num_heads does not divide embed_dim, or dropout outside [0, 1).

    Source:
        Vaswani et al. (2017), section 3.2.2. In the paper: d_model, h, d_k = d_v = d_model / h.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        kdim: int | None = None,
        vdim: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"num_heads {num_heads} must divide embed_dim {embed_dim}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and less than 1, got {dropout}")
        self.num_heads, self.dropout = num_heads, dropout
        self.q_proj = nn.Linear(embed_dim, embed_dim, bias)
        self.k_proj = nn.Linear(embed_dim if kdim is None else kdim, embed_dim, bias)
        self.v_proj = nn.Linear(embed_dim if vdim is None else vdim, embed_dim, bias)
        self.out_proj = nn.Linear(embed_dim, embed_dim, bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        need_weights: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend with every head.

        Args:
            query: (B, L, embed_dim).
            key: (B, S, kdim).
            value: (B, S, vdim).
            attn_mask: boolean, True = may attend: (L, S), (B, 1, S) or (B, L, S) for all heads alike, or
                (B, H, L, S).
            need_weights: as in ``scaled_dot_product_attention``.

        Returns:
            The output (B, L, embed_dim) and the weights (B, H, L, S) before dropout, or None.

        Raises:
            TypeError, ValueError: as ``scaled_dot_product_attention``.
        """
        _check_points(query=query, key=key, value=value)
        return self.attend(query, *self.prepare(key, value), attn_mask, need_weights)

    def prepare(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """What the heads need of key (B, S, kdim) and value (B, S, vdim): k and v, both (B, H, S, D)."""
        return self._project("k", key), self._project("v", value)

    def attend(
        self,
        query: Tensor,
        k: Tensor,
        v: Tensor,
        attn_mask: Tensor | None = None,
        need_weights: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """The second half of ``forward``, for k and v that ``prepare`` made once for many queries."""
        if isinstance(attn_mask, Tensor) and attn_mask.ndim == 3:
            attn_mask = attn_mask[:, None]  # (B, 1, L, S)
        q = self._project("q", query)  # (B, H, L, D)
        output, weights = scaled_dot_product_attention(
            q, k, v, attn_mask, self.dropout, self.training, need_weights
        )
        return self.out_proj(output.transpose(-3, -2).flatten(-2)), weights

    def _project(self, name: str, x: Tensor) -> Tensor:
        """(B, n, features) through q_proj, k_proj or v_proj and split into heads: (B, H, n, D)."""
        proj = getattr(self, f"{name}_proj")
        if x.shape[-1] != proj.in_features:
            raise ValueError(f"{name}_proj takes {proj.in_features} features, got {tuple(x.shape)}")
        return proj(x).unflatten(-1, (self.num_heads, -1)).transpose(-3, -2)


def _fused(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, dropout: float
) -> Tensor:
    """The output (..., L, Ev) in one call that holds no L x S matrix."""
    batch = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    rows, columns = query.shape[-2], key.shape[-2]
    mask = nobody = None
    if attn_mask is not None:
        mask = _mask_as_4d(_check_mask(attn_mask, (*batch, rows, columns)), batch)
        if query.device.type not in _KERNEL_GIVES_ZERO:
            nobody = ~mask.any(dim=-1, keepdim=True)
            mask = mask | nobody
    # The kernel without a matrix wants 4 dimensions, and as many features of a value as of a key.
    features = max(key.shape[-1], value.shape[-1])
    q, k, v = (_as_4d(_pad(x, features), batch) for x in (query, key, value))
    scale = key.shape[-1] ** -0.5
    output = F.scaled_dot_product_attention(q, k, v, mask, dropout, scale=scale)
    if nobody is not None:
        output = output.masked_fill(nobody, 0)
    return output[..., : value.shape[-1]].reshape(*batch, rows, value.shape[-1])


def _pad(x: Tensor, features: int) -> Tensor:
    """x (..., n, some) with zeros up to (..., n, features), which lie side by side in memory.

    Else PyTorch silently takes a slower way, which holds the matrix.
    """
    x = x if x.stride(-1) == 1 else x.contiguous()
    return x if x.shape[-1] == features else F.pad(x, (0, features - x.shape[-1]))


def _as_4d(x: Tensor, batch: Sequence[int]) -> Tensor:
    """x (..., n, m) with its batch dimensions expanded to ``batch`` and made two."""
    x = x.expand(*batch, *x.shape[-2:])
    return x.reshape(math.prod(batch[:-1]), math.prod(batch[-1:]), *x.shape[-2:])


def _mask_as_4d(mask: Tensor, batch: Sequence[int]) -> Tensor:
    """A mask for scores (batch, L, S), with 4 dimensions, where possible in the memory it has."""
    mask = mask.reshape((1,) * (len(batch) + 2 - mask.ndim) + mask.shape)
    own = mask.shape[:-2]
    lead = batch[:-1] if max(own[:-1], default=1) > 1 else own[:-1]
    return _as_4d(mask, (*lead, *own[-1:]))
