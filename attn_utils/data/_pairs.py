"""Pairs of token sequences, and how to split a list of them."""

from __future__ import annotations

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
