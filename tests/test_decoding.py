"""Decoding against brute force, and the measures against known values."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from attn_utils.data import BOS, EOS, PAD
from attn_utils.decoding import (
    alignment_error_rate,
    beam_search,
    corpus_bleu,
    exact_match,
    greedy_decode,
    hard_alignment,
)
from attn_utils.seq2seq import (
    BahdanauDecoder,
    LuongDecoder,
    PlainDecoder,
    RecurrentEncoder,
    Seq2Seq,
)

V = 7


def translator(decoder=LuongDecoder, seed=0, sharp=4.0):
    torch.manual_seed(seed)
    m = Seq2Seq(RecurrentEncoder(9, 4, 6), decoder(V, 4, 6))
    with torch.no_grad():
        m.decoder.out_proj.weight.mul_(sharp)  # far from uniform, so that choices matter
    return m


def sources(n=3, length=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    src = torch.randint(3, 9, (n, length), generator=rng)
    lens = torch.randint(1, length + 1, (n,), generator=rng)
    return src * (torch.arange(length) < lens[:, None]), lens


def log_prob(m, src, lens, ids):
    """Log-probability of a sentence (with its EOS, if it has one), teacher-forced."""
    tgt_in = torch.tensor([[BOS, *ids[:-1]]])
    with torch.no_grad():
        logits = m.eval()(src, lens, tgt_in)[0]
    picked = logits[0].log_softmax(-1)[torch.arange(len(ids)), torch.tensor(ids)]
    return picked.sum().item()


def all_sentences(max_len):
    """Every sentence up to a length, those with an end and, at full length, those without."""
    words = [i for i in range(V) if i not in (PAD, BOS, EOS)]
    for n in range(max_len + 1):
        for ids in itertools.product(words, repeat=n):
            if n < max_len:
                yield [*ids, EOS]


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_beam_wide_enough_finds_the_best_sentence(seed, penalty):
    m, (src, lens) = translator(seed=seed), sources(2, seed=seed)
    found = beam_search(m, src, lens, beam_size=200, max_len=4, length_penalty=penalty)
    for b in range(2):
        one = src[b : b + 1], lens[b : b + 1]
        ranked = {tuple(s): log_prob(m, *one, s) / len(s) ** penalty for s in all_sentences(4)}
        best = max(ranked, key=ranked.get)
        assert [*found.ids[b], EOS] == list(best)
        assert found.scores[b].item() == pytest.approx(
            ranked[best] * len(best) ** penalty, abs=1e-4
        )


@pytest.mark.parametrize("decoder", [PlainDecoder, BahdanauDecoder, LuongDecoder])
def test_greedy_takes_the_likeliest_token_each_time(decoder):
    m, (src, lens) = translator(decoder), sources(5)
    found = greedy_decode(m, src, lens, max_len=6)
    for b in range(5):
        ids, one = [], (src[b : b + 1], lens[b : b + 1])
        while len(ids) < 6 and ids[-1:] != [EOS]:
            logits = m(*one, torch.tensor([[BOS, *ids]]))[0][0, -1]
            logits[[PAD, BOS]] = -math.inf
            ids.append(int(logits.argmax()))
        assert found.ids[b] == [i for i in ids if i != EOS]
        assert found.scores[b].item() == pytest.approx(log_prob(m, *one, ids), abs=1e-4)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), beam=st.integers(2, 5), penalty=st.sampled_from([0.0, 0.6, 1.0]))
def test_decoding_a_batch_equals_decoding_each_sentence(seed, beam, penalty):
    m, (src, lens) = translator(BahdanauDecoder, seed), sources(4, seed=seed)
    together = beam_search(m, src, lens, beam, 6, penalty)
    for b in range(4):
        n = int(lens[b])
        alone = beam_search(m, src[b : b + 1, :n], lens[b : b + 1], beam, 6, penalty)
        assert together.ids[b] == alone.ids[0]
        torch.testing.assert_close(together.scores[b], alone.scores[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            together.weights[b][:, :n], alone.weights[0], atol=1e-5, rtol=1e-5
        )


def test_beam_of_one_is_greedy():
    m, data = translator(), sources(6)
    one, greedy = beam_search(m, *data, beam_size=1, max_len=8), greedy_decode(m, *data, max_len=8)
    assert one.ids == greedy.ids
    assert torch.equal(one.scores, greedy.scores)


def test_wider_beams_find_likelier_sentences_on_the_whole():
    totals = []
    for beam in (1, 3, 60):
        found = [
            beam_search(translator(seed=s), *sources(8, seed=s), beam, 5, 0.0) for s in range(6)
        ]
        totals.append(sum(f.scores.sum().item() for f in found))
    assert totals[0] < totals[1] <= totals[2]


def test_weights_are_those_of_the_sentence_said():
    m, (src, lens) = translator(), sources(4)
    found = beam_search(m, src, lens, beam_size=3, max_len=6)
    for b in range(4):
        ids = found.ids[b] + [EOS] * (len(found.weights[b]) > len(found.ids[b]))
        _, weights = m(src[b : b + 1], lens[b : b + 1], torch.tensor([[BOS, *ids[:-1]]]))
        torch.testing.assert_close(found.weights[b], weights[0])
    assert greedy_decode(translator(PlainDecoder), src, lens).weights is None


class Scripted(nn.Module):
    """A model that gives fixed probabilities after each beginning."""

    def __init__(self, table, default):
        super().__init__()
        self.table, self.default = table, default

    def start(self, src, src_lens):
        return [torch.zeros(len(src), 0, dtype=torch.long)]

    def step(self, token, state):
        said = torch.cat([state[0], token[:, None]], dim=1)
        rows = [self.table.get(tuple(row[1:]), self.default) for row in said.tolist()]
        return torch.tensor(rows).log(), [said], None


def test_length_penalty_and_ties():
    #        PAD  BOS  EOS  UNK  a     b     c
    begin = [0.0, 0.0, 0.3, 0.0, 0.35, 0.35, 0.0]
    sure = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    end = [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    half = [0.0, 0.0, 0.7, 0.0, 0.0, 0.0, 0.3]
    m = Scripted({(): begin, (4,): half, (5,): sure, (5, 6): end}, end)
    src, lens = torch.zeros(1, 1, dtype=torch.long), torch.ones(1, dtype=torch.long)
    # p: "" 0.3, "a" 0.245, "a c" 0.105, "b c" 0.35
    assert greedy_decode(m, src, lens).ids == [[4]], "a before b: equal, the lower id"
    assert beam_search(m, src, lens, 4, length_penalty=0.0).ids == [[5, 6]]
    short = Scripted({(): [0, 0, 0.4, 0, 0.35, 0.25, 0], (4,): half, (5,): sure, (5, 6): end}, end)
    assert beam_search(short, src, lens, 4, length_penalty=0.0).ids == [[]]
    assert beam_search(short, src, lens, 4, length_penalty=1.0).ids == [[5, 6]]


def test_an_ended_sentence_beats_a_likelier_beginning():
    endless = [0.0, 0.0, 0.1, 0.0, 0.9, 0.0, 0.0]
    src, lens = torch.zeros(1, 1, dtype=torch.long), torch.ones(1, dtype=torch.long)
    found = beam_search(Scripted({}, endless), src, lens, 2, max_len=3, length_penalty=0.0)
    assert found.ids == [[]]
    assert greedy_decode(Scripted({}, endless), src, lens, max_len=3).ids == [[4, 4, 4]]


def test_model_is_in_evaluation_mode_and_returns_to_training():
    m = Seq2Seq(RecurrentEncoder(9, 4, 6, dropout=0.5), LuongDecoder(V, 4, 6, dropout=0.5))
    data = sources(4)
    assert m.training
    first, second = greedy_decode(m, *data), greedy_decode(m, *data)
    assert torch.equal(first.scores, second.scores)
    assert m.training
    assert not first.scores.requires_grad


def test_a_source_of_padding_alone():
    src, lens = torch.zeros(2, 3, dtype=torch.long), torch.tensor([0, 1])
    found = beam_search(translator(), src, lens, 3, 5)
    assert found.scores.isfinite().all()
    assert (found.weights[0] == 0).all()


@pytest.mark.parametrize("bad", [{"beam_size": 0}, {"max_len": 0}, {"length_penalty": -1.0}])
def test_bad_settings(bad):
    with pytest.raises(ValueError, match="{}={}".format(*next(iter(bad.items())))):
        beam_search(translator(), *sources(), **bad)


# ---- Measures -----------------------------------------------------------------------------------


def bleu(said, references):
    """Papineni et al. (2002), equations of section 2.3, for corpora without an empty n-gram precision."""
    logs = []
    for n in range(1, 5):
        hits = total = 0
        for a, r in zip(said, references, strict=True):
            grams = [tuple(a[i : i + n]) for i in range(len(a) - n + 1)]
            there = [tuple(r[i : i + n]) for i in range(len(r) - n + 1)]
            hits += sum(min(grams.count(g), there.count(g)) for g in set(grams))
            total += len(grams)
        logs.append(math.log(hits / total))
    c, r = sum(map(len, said)), sum(map(len, references))
    return 100 * min(1, math.exp(1 - r / c)) * math.exp(sum(logs) / 4)


@given(st.integers(0, 10**6))
def test_bleu_is_papinenis(seed):
    rng = torch.Generator().manual_seed(seed)
    draw = lambda n: [str(i) for i in torch.randint(0, 4, (n,), generator=rng).tolist()]  # noqa: E731
    same = draw(9)
    references = [same, draw(8), draw(12)]
    said = [same, draw(10), draw(7)]
    assert corpus_bleu(said, references) == pytest.approx(bleu(said, references), abs=1e-6)


def test_known_values():
    a = [["the", "cat", "sat", "on", "the", "mat"]]
    assert corpus_bleu(a, a) == pytest.approx(100)
    assert corpus_bleu([["the", "cat", "sat", "on"]], a) == pytest.approx(100 * math.exp(-0.5))
    assert corpus_bleu([["dog"] * 6], a) < 8
    assert exact_match([("a",), ("b", "c")], [["a"], ["b"]]) == 0.5


def test_alignment_error_rate():
    gold = [(0, 0), (1, 1)]
    assert alignment_error_rate([gold], [gold]) == 0
    assert alignment_error_rate([[(0, 1)]], [gold]) == 1
    assert alignment_error_rate([[(0, 0)]], [gold]) == pytest.approx(1 - 2 / 3)
    # One rate for the corpus, not the mean of the sentences' rates.
    rate = alignment_error_rate([[(0, 0)], [(0, 1)]], [[(0, 0)], [(0, 0), (1, 1), (2, 2)]])
    assert rate == pytest.approx(1 - 2 / 6)


def test_hard_alignment_reads_rows_as_targets():
    weights = torch.tensor([[0.1, 0.7, 0.2], [0.6, 0.3, 0.1], [0.0, 0.1, 0.9], [1.0, 0.0, 0.0]])
    assert hard_alignment(weights, source_len=2, target_len=3) == [(0, 1), (1, 0)]


@pytest.mark.parametrize("measure", [corpus_bleu, exact_match, alignment_error_rate])
def test_measures_refuse(measure):
    with pytest.raises(ValueError, match="0 sentences .* got 0"):
        measure([], [])
    with pytest.raises(ValueError, match="1 sentences .* got 2"):
        measure([["a"]], [["a"], ["b"]])
    with pytest.raises(ValueError, match="neither side has a link"):
        alignment_error_rate([[]], [[]])
