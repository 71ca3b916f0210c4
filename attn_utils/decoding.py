"""From a model's probabilities to sentences, and how good they are.

Decoding works on any model with two methods: ``start(src, src_lens) -> state`` and ``step(token, state) -> (logits
(B, V), state, weights (B, S) or None)``, where a state is a tensor, or a tuple or list of states, batch first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from sacrebleu.metrics import BLEU
from torch import Tensor, nn

from attn_utils.data import BOS, EOS, PAD

_Links = Sequence[tuple[int, int]]


class Decoded(NamedTuple):
    """Sentences that a model said.

    Attributes:
        ids: for each source, the token ids, without BOS and EOS.
        scores: (B,) log-probability of each sentence, its EOS included where it has one.
        weights: for each source, the attention (tokens said, S) when each token was said, the EOS included; or None.
    """

    ids: list[list[int]]
    scores: Tensor
    weights: list[Tensor] | None


@torch.no_grad()
def greedy_decode(model: nn.Module, src: Tensor, src_lens: Tensor, max_len: int = 60) -> Decoded:
    """Say the likeliest token, again and again, until the end of the sentence.

    Args:
        model: with ``start`` and ``step``; it is put in evaluation mode for the time being.
        src: (B, S) token ids.
        src_lens: (B,) real tokens of each source.
        max_len: stop after so many tokens, EOS or not.

    Returns:
        The sentences. Among equally likely tokens the one with the lowest id is taken; PAD and BOS are never said.

    Raises:
        ValueError: max_len is less than 1.
    """
    return beam_search(model, src, src_lens, beam_size=1, max_len=max_len)


@torch.no_grad()
def beam_search(
    model: nn.Module,
    src: Tensor,
    src_lens: Tensor,
    beam_size: int = 4,
    max_len: int = 60,
    length_penalty: float = 1.0,
) -> Decoded:
    """Keep the likeliest few beginnings at each step; say the best sentence among those that ended.

    Beginnings are ranked by log-probability. One that has ended keeps its place as it is, until others push it out. At
    the end sentences are compared by log-probability / lengthᵃ, a the length penalty, EOS counted in the length.

    Args:
        model: with ``start`` and ``step``; it is put in evaluation mode for the time being.
        src: (B, S) token ids.
        src_lens: (B,) real tokens of each source.
        beam_size: beginnings kept for each source; 1 is greedy decoding.
        max_len: stop after so many tokens. A source for which nothing has ended then gets its best beginning.
        length_penalty: 0 compares bare log-probabilities, which favours short sentences; 1 the mean for each token.

    Returns:
        The best sentence of each source. Ties go to the beginning ranked higher before, then to the lower id; PAD and
        BOS are never said.

    Raises:
        ValueError: beam_size or max_len is less than 1, or length_penalty is negative.

    Source:
        Sutskever, Vinyals and Le (2014), section 3.2; the length penalty after Wu et al. (2016), section 7.
    """
    if beam_size < 1 or max_len < 1 or length_penalty < 0:
        raise ValueError(
            f"need at least 1, 1 and 0, got {beam_size=}, {max_len=}, {length_penalty=}"
        )
    with _evaluating(model):
        total, ids, weights = _search(model, src, src_lens, beam_size, max_len)
    lengths = (ids != PAD).sum(dim=-1)  # (B, K)
    ended = (ids == EOS).any(dim=-1)
    ranked = total / lengths**length_penalty
    ranked = ranked.masked_fill(~ended & ended.any(dim=-1, keepdim=True), -torch.inf)
    # One (source, beginning) each.
    best = torch.arange(len(src), device=src.device), ranked.argmax(dim=-1)
    lengths = lengths[best].tolist()
    if weights is not None:
        weights = [w[:n] for w, n in zip(weights[best], lengths, strict=True)]
    said = [row[:n] for row, n in zip(ids[best].tolist(), lengths, strict=True)]
    return Decoded([[i for i in row if i != EOS] for row in said], total[best], weights)


def _search(model, src, src_lens, beam_size, max_len):
    """The beginnings kept at the end: log-probabilities (B, K), ids (B, K, L), weights (B, K, L, S) or None."""
    # (B, 1), rows of the model's batch
    first = torch.arange(len(src), device=src.device)[:, None] * beam_size
    state = _select(model.start(src, src_lens), (first // beam_size).repeat(1, beam_size).flatten())
    token = torch.full((len(src), beam_size), BOS, device=src.device)
    total = torch.full(token.shape, -torch.inf, device=src.device)
    total[:, 0] = 0  # all beginnings are the same, empty: one of them may go on
    done, steps = torch.zeros_like(token, dtype=torch.bool), ()
    while len(steps) < max_len and not bool(done.all()):
        logits, state, weights = model.step(token.flatten(), state)
        log_probs = _log_probs(logits).unflatten(0, token.shape)  # (B, K, V)
        # A sentence that has ended goes on with PAD alone, at no cost.
        log_probs = log_probs.masked_fill(done[..., None], -torch.inf)
        log_probs[..., PAD] = log_probs[..., PAD].masked_fill(done, 0)
        total, order = _largest((total[..., None] + log_probs).flatten(1), beam_size)  # (B, K)
        parent, token = order // logits.shape[-1], order % logits.shape[-1]
        if beam_size > 1:
            rows = (first + parent).flatten()
            done, steps = done.gather(1, parent), _select(steps, rows)
            state, weights = _select((state, weights), rows)
        steps = (*steps, (token.flatten(), weights))
        done = done | (token == EOS)
    ids, weights = zip(*steps, strict=True)
    ids = torch.stack(ids, dim=-1).unflatten(0, token.shape)
    if weights[0] is None:
        return total, ids, None
    return total, ids, torch.stack(weights, dim=1).unflatten(0, token.shape)


def _log_probs(logits: Tensor) -> Tensor:
    """Log-probabilities (…, V); nothing for PAD and BOS, which no sentence holds."""
    log_probs = logits.float().log_softmax(dim=-1)
    log_probs[..., [PAD, BOS]] = -torch.inf
    return log_probs


def _largest(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row and where they are; of equal ones the first, which ``topk`` does not promise."""
    if k == 1:
        return x.max(dim=-1, keepdim=True)
    values, places = x.sort(dim=-1, descending=True, stable=True)
    return values[:, :k], places[:, :k]


def _select(state: Any, rows: Tensor) -> Any:
    """The rows of every tensor in a state of nested tuples and lists."""
    if isinstance(state, Tensor):
        return state[rows]
    if isinstance(state, (tuple, list)):
        parts = [_select(part, rows) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    return state


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for the time being: no dropout."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def corpus_bleu(said: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> float:
    """BLEU of a whole corpus, from 0 to 100: n-grams of 1 to 4 tokens, and a penalty for saying too little.

    Args:
        said: what the model said: a sequence of tokens for each source.
        references: one reference for each source, as tokens.

    Returns:
        The score that sacrebleu gives for these tokens as they are.

    Raises:
        ValueError: no sentences, or not one reference for each.

    Source:
        Papineni et al. (2002), BLEU; Post (2018), A Call for Clarity in Reporting BLEU Scores (sacrebleu).
    """
    _check_aligned(said, references)
    lines = [[" ".join(tokens) for tokens in side] for side in (said, references)]
    return BLEU(tokenize="none", force=True).corpus_score(lines[0], [lines[1]]).score


def exact_match(said: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> float:
    """The share of sentences that equal their reference token by token.

    Args:
        said: what the model said: a sequence of tokens for each source.
        references: one reference for each source, as tokens.

    Returns:
        From 0 to 1.

    Raises:
        ValueError: no sentences, or not one reference for each.
    """
    _check_aligned(said, references)
    same = [tuple(a) == tuple(b) for a, b in zip(said, references, strict=True)]
    return sum(same) / len(same)


def hard_alignment(weights: Tensor, source_len: int, target_len: int) -> list[tuple[int, int]]:
    """Links from each target token to the source token that it looks at most.

    Args:
        weights: (L, S) attention weights, with L >= target_len and S >= source_len.
        source_len: real source tokens; a look beyond them, at EOS, is no link.
        target_len: target tokens; rows beyond them are not looked at.

    Returns:
        Sorted links (source position, target position).
    """
    best = weights[:target_len].argmax(dim=-1).tolist()
    return sorted((i, j) for j, i in enumerate(best) if i < source_len)


def alignment_error_rate(predicted: Sequence[_Links], gold: Sequence[_Links]) -> float:
    """``1 − 2 |A ∩ G| / (|A| + |G|)``, over all sentences: 0 if all links agree, 1 if none does.

    Args:
        predicted: A, the links (source position, target position) of each sentence.
        gold: G, the true links of each sentence; all of them count as sure.

    Returns:
        From 0 to 1.

    Raises:
        ValueError: no links at all, or not one gold set for each prediction.

    Source:
        Och and Ney (2003), A Systematic Comparison of Various Statistical Alignment Models, section 5.2.
    """
    _check_aligned(predicted, gold)
    pairs = [(set(a), set(g)) for a, g in zip(predicted, gold, strict=True)]
    total = sum(len(a) + len(g) for a, g in pairs)
    if not total:
        raise ValueError("neither side has a link")
    return 1 - 2 * sum(len(a & g) for a, g in pairs) / total


def _check_aligned(said: Sequence, references: Sequence) -> None:
    if not len(said) or len(said) != len(references):
        raise ValueError(f"{len(said)} sentences need as many references, got {len(references)}")
