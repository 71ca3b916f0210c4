"""Pairs of token sequences, and how to split a list of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple


class Pair(NamedTuple):
    """A source sentence, its target sentence, and which token belongs to which.

    Attributes:
        source: the tokens of the source.
        target: the tokens of the target.
        alignment: the gold word alignment: sorted pairs (position in source, position in target),
            both counted from 0; `None` where nobody has aligned the pair.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    alignment: tuple[tuple[int, int], ...] | None = None


def split_pairs(
    pairs: Sequence[Pair], valid: int, test: int, seed: int = 0
) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """Split a corpus so that no sentence of one part, source or target, occurs in another.

    Pairs that share a source or a target are linked, and what is linked, however far around, stays together: one
    English sentence with many translations in both training and test would let a model recite. Whole groups are drawn
    at random, the small ones first: a group of more than a tenth of a held-out part enters it only where small groups
    do not fill it, so a very large group goes to training.

    Args:
        pairs: the corpus.
        valid: number of pairs to validate on.
        test: number of pairs to test on.
        seed: of the draw.

    Returns:
        The training, validation and test parts, each in the order of the corpus. The held-out parts are never larger
        than asked, and smaller only where every group that could fill the rest is too large for it.

    Raises:
        ValueError: a negative number, nothing left for training, or a part that should hold pairs and gets none because
            every group is too large for it.
    """
    asked = [valid, test]
    if min(asked) < 0 or not sum(asked) < len(pairs):
        raise ValueError(f"cannot hold out valid={valid} and test={test} of {len(pairs)} pairs")
    groups = _groups(pairs)
    random.Random(seed).shuffle(groups)
    limit = max(1, min(size for size in asked if size) // 10) if any(asked) else 0
    parts = [[], [], []]
    for group in sorted(groups, key=lambda group: len(group) > limit):  # stable: still at random
        room = (asked[0] - len(parts[1]) >= len(group), asked[1] - len(parts[2]) >= len(group))
        parts[room.index(True) + 1 if any(room) else 0] += group
    for name, size, part in zip(("valid", "test"), asked, parts[1:], strict=True):
        if size and not part:
            raise ValueError(
                f"{name} should get {size} pairs and gets none: the smallest of {len(groups)} groups "
                f"of linked pairs has {min(map(len, groups))}, the largest {max(map(len, groups))}"
            )
    return tuple([pairs[i] for i in sorted(part)] for part in parts)


def _groups(pairs: Sequence[Pair]) -> list[list[int]]:
    """The connected components of the graph whose edges are shared sources and shared targets (union-find)."""
    parent = list(range(len(pairs)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]  # halves the way for the next who asks
            i = parent[i]
        return i

    first = {}
    for i, pair in enumerate(pairs):
        for sentence in (("source", pair.source), ("target", pair.target)):
            parent[root(i)] = root(first.setdefault(sentence, i))
    groups = {}
    for i in range(len(pairs)):
        groups.setdefault(root(i), []).append(i)
    return list(groups.values())
