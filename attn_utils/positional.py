"""Positions as vectors: attention alone cannot tell the order of its keys.

Shapes: ``B`` sequences, ``L`` tokens, ``E`` embed_dim.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from attn_utils.masking import Dropout


def sinusoidal_encoding(length: int, embed_dim: int, start: int = 0) -> Tensor:
    """Each position as the hands of clocks that turn at different speeds.

    Column 2i is sin(p / 10000^(2i / E)) and column 2i + 1 the cosine of the same angle; the wavelengths grow from 2π to
    almost 20000π positions. If E is odd, the last sine has no cosine beside it.

    Args:
        length: number of positions.
        embed_dim: E features.
        start: the first position.

    Returns:
        (length, E), computed in double precision and rounded to the default dtype.

    Raises:
        ValueError: a negative length or start, or embed_dim less than 1.

    Source:
        Vaswani et al. (2017), section 3.5.
    """
    if length < 0 or start < 0 or embed_dim < 1:
        raise ValueError(f"need at least 0, 1 and 0, got {length=}, {embed_dim=}, {start=}")
    positions = torch.arange(start, start + length, dtype=torch.float64)
    pairs = torch.arange(0, embed_dim, 2, dtype=torch.float64)  # 2i
    angles = positions[:, None] * torch.exp(-math.log(10_000) / embed_dim * pairs)  # (L, ⌈E/2⌉)
    both = torch.stack([angles.sin(), angles.cos()], dim=-1)  # (L, ⌈E/2⌉, 2)
    return both.flatten(1)[:, :embed_dim].to(torch.get_default_dtype())


class PositionalEncoding(nn.Module):
    """Add to each token the encoding of its position.

    Args:
        embed_dim: E features.
        dropout: on the sum, in training.
        learned_max_len: learn a vector for each of so many positions; None takes the sinusoids, which have no limit.

    Source:
        Vaswani et al. (2017), sections 3.5 and 5.4; learned positions: Gehring et al. (2017), sections 3.1 and
        3.5 (they start small, with standard deviation 0.1).
    """

    def __init__(
        self, embed_dim: int, dropout: float = 0.0, learned_max_len: int | None = None
    ) -> None:
        super().__init__()
        self.embed_dim, self.dropout = embed_dim, Dropout(dropout)
        self.learned = None
        if learned_max_len is not None:
            self.learned = nn.Embedding(learned_max_len, embed_dim)
            nn.init.normal_(self.learned.weight, std=0.1)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Tokens x (..., L, E) at the positions start, …, start + L − 1, with their encodings added.

        Raises:
            ValueError: x has other features, start is negative, or a position lies beyond those that were learned.
        """
        length = x.shape[-2]
        if x.shape[-1] != self.embed_dim:
            raise ValueError(f"the encoding has {self.embed_dim} features, got {tuple(x.shape)}")
        if self.learned is None:
            return self.dropout(x + sinusoidal_encoding(length, self.embed_dim, start).to(x))
        learned = self.learned.num_embeddings
        if start < 0 or start + length > learned:
            raise ValueError(f"{length} positions from {start} on, but only {learned} are learned")
        return self.dropout(x + self.learned.weight[start : start + length])
