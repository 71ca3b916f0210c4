"""Score functions: how well a key answers a query, before the softmax.

Each is a module with one signature, ``score(query, key) -> scores``. What depends on the keys alone can be
computed once and used for many queries, as a decoder does step by step: ``score.compare(query, score.prepare(key))``
gives the same.

Shapes: ``...`` batch dimensions that broadcast, ``L`` queries, ``S`` keys, ``Eq`` and ``Ek`` their features.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attn_utils.kernels import _recomputed

# How many hidden numbers additive scoring may hold at once: 8 MiB in float32.
_CHUNK = 2**21


class Score(nn.Module):
    """What all score functions share: checks, and the two steps ``prepare`` and ``compare``."""

    query_dim: int | None = None
    key_dim: int | None = None

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Score every key for every query.

        Args:
            query: (..., L, Eq), floating.
            key: (..., S, Ek), of the same dtype.

        Returns:
            Scores (..., L, S); the batch dimensions broadcast.

        Raises:
            TypeError: an input is not floating, or the dtypes differ.
            ValueError: fewer than 2 dimensions, no keys, features or batch dimensions that do not fit.
        """
        _check_points(query=query, key=key)
        self.check_features(query, key)
        return self.compare(query, self.prepare(key))

    def prepare(self, key: Tensor) -> Tensor:
        """What ``compare`` needs of the keys (..., S, Ek): computed once, used for any number of queries."""
        return key

    def compare(self, query: Tensor, prepared: Tensor) -> Tensor:
        """Scores (..., L, S) of queries (..., L, Eq) against prepared keys (..., S, anything)."""
        raise NotImplementedError

    def check_features(self, query: Tensor, key: Tensor) -> None:
        """Raise a ValueError unless both sides have the features that this score compares."""
        if self.query_dim is None and query.shape[-1] != key.shape[-1]:
            raise ValueError(
                f"{type(self).__name__} needs as many features of query {tuple(query.shape)}"
                f" as of key {tuple(key.shape)}"
            )
        for name, x, wanted in (("query", query, self.query_dim), ("key", key, self.key_dim)):
            if wanted is not None and x.shape[-1] != wanted:
                raise ValueError(f"{name} must have {wanted} features, got {tuple(x.shape)}")
            if x.shape[-1] == 0:
                raise ValueError(f"{name} has no features: {tuple(x.shape)}")


class DotProduct(Score):
    """q · k. No parameters; query and key share their features.

    Source:
        Luong, Pham and Manning (2015), Effective Approaches to Attention-based NMT, section 3.1, "dot".
    """

    def compare(self, query: Tensor, prepared: Tensor) -> Tensor:
        """Q kᵀ, (..., L, S)."""
        return query @ prepared.transpose(-2, -1)  # (..., L, S)


class ScaledDotProduct(DotProduct):
    """q · k / √E, E the number of features: variance 1 for independent features of variance 1.

    Source:
        Vaswani et al. (2017), Attention Is All You Need, section 3.2.1.
    """

    def compare(self, query: Tensor, prepared: Tensor) -> Tensor:
        """Q kᵀ / √E, (..., L, S)."""
        # The queries are divided, not the scores: fewer numbers, and half precision does not overflow.
        return super().compare(query / math.sqrt(query.shape[-1]), prepared)


class Cosine(DotProduct):
    """q · k / (‖q‖ ‖k‖), from -1 to 1; a vector of length 0 scores 0.

    Source:
        Graves, Wayne and Danihelka (2014), Neural Turing Machines, section 3.3.1.
    """

    def prepare(self, key: Tensor) -> Tensor:
        """Keys of length 1."""
        return F.normalize(key, dim=-1)

    def compare(self, query: Tensor, prepared: Tensor) -> Tensor:
        """Cosines (..., L, S)."""
        return super().compare(F.normalize(query, dim=-1), prepared)


class General(DotProduct):
    """qᵀ W k, the bilinear score: W (query_dim, key_dim) is learned.

    Args:
        query_dim: Eq, features of a query.
        key_dim: Ek, features of a key.

    Source:
        Luong, Pham and Manning (2015), section 3.1, "general".
    """

    def __init__(self, query_dim: int, key_dim: int) -> None:
        super().__init__()
        self.query_dim, self.key_dim = query_dim, key_dim
        self.k_proj = nn.Linear(key_dim, query_dim, bias=False)

    def prepare(self, key: Tensor) -> Tensor:
        """W k: keys in the space of the queries, (..., S, Eq)."""
        return self.k_proj(key)


class Additive(Score):
    """wᵀ tanh(W_q q + W_k k), also called concat: [W_q W_k] applied to query and key side by side.

    The hidden layer of all pairs, (..., L, S, hidden_dim), does not exist as a whole beyond 8 MiB (in float32): larger
    ones are computed a few queries at a time, one at least, and again in the backward pass.

    Args:
        query_dim: Eq, features of a query.
        key_dim: Ek, features of a key.
        hidden_dim: features of the layer in which query and key meet.

    Source:
        Bahdanau, Cho and Bengio (2015), Neural Machine Translation by Jointly Learning to Align and Translate,
        appendix A.1.2; Luong, Pham and Manning (2015), section 3.1, "concat".
    """

    def __init__(self, query_dim: int, key_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.query_dim, self.key_dim = query_dim, key_dim
        self.q_proj = nn.Linear(query_dim, hidden_dim, bias=False)
        self.k_proj = nn.Linear(key_dim, hidden_dim, bias=False)
        self.out_proj = nn.Linear(hidden_dim, 1, bias=False)

    def prepare(self, key: Tensor) -> Tensor:
        """W_k k, (..., S, hidden_dim)."""
        return self.k_proj(key)

    def compare(self, query: Tensor, prepared: Tensor) -> Tensor:
        """wᵀ tanh(W_q q + prepared), (..., L, S)."""
        q, k = self.q_proj(query)[..., :, None, :], prepared[..., None, :, :]
        batch = torch.broadcast_shapes(q.shape[:-3], k.shape[:-3])
        rows = max(1, _CHUNK // max(1, math.prod(batch) * k.shape[-2] * k.shape[-1]))
        w = self.out_proj.weight  # (1, H)
        if q.shape[-3] <= rows:
            return _meet(q, k, w)
        return torch.cat([_recomputed(_meet, part, k, w) for part in q.split(rows, -3)], dim=-2)


def _meet(q: Tensor, k: Tensor, w: Tensor) -> Tensor:
    """Scores (..., L, S) from (..., L, 1, H), (..., 1, S, H) and (1, H)."""
    return F.linear((q + k).tanh_(), w)[..., 0]


class LocationBased(Score):
    """W q: one score for each *place*; what the keys hold plays no part.

    Args:
        query_dim: Eq, features of a query.
        max_len: number of places; no more keys than that may come.

    Source:
        Luong, Pham and Manning (2015), section 3.1, "location".
    """

    def __init__(self, query_dim: int, max_len: int) -> None:
        super().__init__()
        self.query_dim, self.max_len = query_dim, max_len
        self.q_proj = nn.Linear(query_dim, max_len, bias=False)

    def compare(self, query: Tensor, prepared: Tensor) -> Tensor:
        """The first S numbers of W q, (..., L, S)."""
        length = prepared.shape[-2]
        if length > self.max_len:
            raise ValueError(f"there are {length} keys but scores for {self.max_len} places only")
        scores = self.q_proj(query)[..., :length]  # (..., L, S)
        batch = torch.broadcast_shapes(query.shape[:-2], prepared.shape[:-2])
        return scores.expand(*batch, *scores.shape[-2:])


def _check_points(**tensors: Tensor) -> None:
    """Raise unless queries, keys and values, as named, are floating (..., n, features) that fit together.

    Raises:
        TypeError: one is not floating, or the dtypes differ.
        ValueError: fewer than 2 dimensions, no keys, not one value for each key, or batch dimensions that
            do not broadcast.
    """
    for name, x in tensors.items():
        if not x.is_floating_point():
            raise TypeError(f"{name} must be floating, got {x.dtype}")
        if x.dtype != tensors["key"].dtype:
            raise TypeError(f"{name} is {x.dtype} but key is {tensors['key'].dtype}")
        if x.ndim < 2:
            raise ValueError(f"{name} needs 2 dimensions or more: {_shapes(tensors)}")
        if name != "query" and x.shape[-2] == 0:
            raise ValueError(f"there are no keys to attend to: {_shapes(tensors)}")
        if name == "value" and x.shape[-2] != tensors["key"].shape[-2]:
            raise ValueError(f"each key needs one value: {_shapes(tensors)}")
    try:
        torch.broadcast_shapes(*[x.shape[:-2] for x in tensors.values()])
    except RuntimeError:
        raise ValueError(f"the batch dimensions do not broadcast: {_shapes(tensors)}") from None


def _shapes(tensors: dict[str, Tensor]) -> str:
    """All shapes, for an error."""
    return ", ".join([f"{name} {tuple(x.shape)}" for name, x in tensors.items()])
