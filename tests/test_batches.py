"""Vocabulary, batches and dates."""

from __future__ import annotations

import random
from datetime import date

import pytest
import torch
from babel.dates import format_date
from hypothesis import given, settings
from hypothesis import strategies as st

from attn_utils.data import BOS, EOS, PAD, UNK, Pair, Vocab, batches, date_corpus

WORDS = ["a", "b", "c", "d", "e", "f", "g"]


def corpus(n: int, longest: int = 9, seed: int = 0) -> list[Pair]:
    rng = random.Random(seed)
    draw = lambda: tuple(rng.choices(WORDS, k=rng.randint(0, longest)))  # noqa: E731
    return [Pair(draw(), draw()) for _ in range(n)]


def test_vocabulary_counts_and_keeps_the_four_specials_in_front():
    vocab = Vocab([("b", "a"), ("a", "c")], min_freq=2)
    assert vocab.tokens == ["<pad>", "<bos>", "<eos>", "<unk>", "a"]
    assert (PAD, BOS, EOS, UNK) == (0, 1, 2, 3)
    assert len(vocab) == 5
    assert "a" in vocab
    assert "b" not in vocab


def test_vocabulary_encodes_and_decodes():
    vocab = Vocab([("a", "b")])
    assert vocab.encode(("b", "z", "a")) == [5, UNK, 4, EOS]
    assert vocab.encode(()) == [EOS]
    assert vocab.decode([BOS, 5, PAD, 3, 4, EOS, 5]) == ("b", "<unk>", "a")


def test_a_special_in_the_text_gets_no_second_id():
    assert Vocab([("<eos>", "a")]).tokens.count("<eos>") == 1


@pytest.mark.parametrize(("sentences", "min_freq"), [([], 1), ([("a",)], 0)])
def test_vocabulary_refuses(sentences, min_freq):
    with pytest.raises(ValueError, match="at least"):
        Vocab(sentences, min_freq)


def rebuild(batch, src_vocab, tgt_vocab):
    """The pairs in a batch, read off its tensors with loops."""
    for src, n, tgt_in, tgt_out in zip(*batch, strict=True):
        source, target = src[:n].tolist(), tgt_out[tgt_out != PAD].tolist()
        assert source[-1] == EOS
        assert target[-1] == EOS
        assert (src[n:] == PAD).all()
        assert tgt_in[: len(target)].tolist() == [BOS, *target[:-1]], (
            "the input is the output, later"
        )
        assert (tgt_in[len(target) :] == PAD).all()
        yield Pair(src_vocab.decode(source), tgt_vocab.decode(target))


@settings(deadline=None)
@given(
    n=st.integers(1, 60),
    batch_size=st.integers(1, 20),
    shuffle=st.booleans(),
    seed=st.integers(0, 9),
)
def test_batches_hold_every_pair_once(n, batch_size, shuffle, seed):
    pairs = corpus(n, seed=seed)
    vocab = Vocab([WORDS])
    loader = batches(pairs, vocab, vocab, batch_size, shuffle, seed)
    found = [list(rebuild(batch, vocab, vocab)) for batch in loader]
    assert len(found) == len(loader) == -(-n // batch_size)
    assert max(map(len, found)) <= batch_size
    flat = [pair for batch in found for pair in batch]
    assert sorted(flat) == sorted(pairs)
    if not shuffle:
        assert flat == pairs


def test_batches_hold_little_padding():
    pairs, vocab = corpus(2000), Vocab([WORDS])
    share = [
        sum(int((b.tgt_out != PAD).sum()) for b in loader) / sum(b.tgt_out.numel() for b in loader)
        for loader in (batches(pairs, vocab, vocab, 32, shuffle) for shuffle in (True, False))
    ]
    assert share[0] > 0.97
    assert share[1] < 0.65


def test_order_changes_from_epoch_to_epoch_and_returns_with_the_seed():
    pairs, vocab = corpus(200), Vocab([WORDS])
    first, second = (batches(pairs, vocab, vocab, 16, seed=3) for _ in range(2))
    one, two = ([b.src.tolist() for b in first] for _ in range(2))
    assert one != two
    assert [b.src.tolist() for b in second] == one
    second.batch_sampler.set_epoch(0)
    assert [b.src.tolist() for b in second] == one


@pytest.mark.parametrize(("n", "size"), [(0, 4), (4, 0)])
def test_nothing_to_batch(n, size):
    vocab = Vocab([WORDS])
    with pytest.raises(ValueError, match=f"{n} pairs, batch_size {size}"):
        batches(corpus(n), vocab, vocab, size)


LOCALES = ["en", "fr", "ko", "de", "ja", "ar", "vi", "hu", "th", "pt_BR"]


@pytest.mark.parametrize("locale", LOCALES)
def test_dates_are_as_babel_writes_them(locale):
    for pair in date_corpus([locale], 60, seed=1):
        day = date.fromisoformat("".join(pair.target))
        ways = {format_date(day, style, locale=locale) for style in ("medium", "long", "full")}
        assert "".join(pair.source) in ways


@pytest.mark.parametrize("locale", LOCALES)
def test_dates_are_aligned(locale):
    for pair in date_corpus([locale], 60, seed=2):
        links = list(pair.alignment)
        assert links == sorted(set(links))
        assert {j for _, j in links} == {0, 1, 2, 3, 5, 6, 8, 9}, "all but the hyphens"
        for i, j in links:
            a, b = pair.source[i], pair.target[j]
            # A digit meets itself, or the zero put before it; a letter meets the month.
            assert a == b or (a.isdigit() and b == "0") or (a.isalpha() and j in (5, 6)), (
                pair,
                a,
                b,
            )
        assert [pair.source[i] for j in range(4) for i, k in links if k == j] == list(
            pair.target[:4]
        )


def test_date_links_of_one_korean_date():
    pair = next(p for p in date_corpus(["ko"], 3000) if "".join(p.source).endswith("9월 7일"))
    year = "".join(pair.source)[:4]
    assert "".join(pair.source) == f"{year}년 9월 7일"
    assert pair.alignment == ((0, 0), (1, 1), (2, 2), (3, 3), (6, 5), (6, 6), (9, 8), (9, 9))


def test_dates_are_distinct_and_follow_the_seed():
    a, b, c = (date_corpus(["en", "ko"], 500, seed) for seed in (0, 0, 1))
    assert a == b != c
    assert len({pair.source for pair in a}) == 500


@pytest.mark.parametrize(
    ("locales", "n", "message"),
    [
        ([], 5, "need a locale"),
        (["en"], -1, "n=-1"),
        (["en"], 10**6, "n=1000000"),
        (["xx"], 5, "'xx'"),
        (["?"], 5, "'?'"),
    ],
)
def test_dates_refuse(locales, n, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        date_corpus(locales, n)


def test_padding_of_ids_is_a_rectangle():
    vocab = Vocab([WORDS])
    (batch,) = batches([Pair(("a",), ()), Pair((), ("a", "b"))], vocab, vocab, 2, shuffle=False)
    assert batch.src.tolist() == [[vocab.encode("a")[0], EOS], [EOS, PAD]]
    assert batch.src_lens.tolist() == [2, 1]
    assert torch.equal(batch.tgt_in[:, 0], torch.tensor([BOS, BOS]))
