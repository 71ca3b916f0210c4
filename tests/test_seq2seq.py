"""Encoder and decoders against step-by-step references, padding, other ways of running, bad input."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from attn_utils.scoring import (
    Additive,
    Cosine,
    DotProduct,
    General,
    LocationBased,
    ScaledDotProduct,
)
from attn_utils.seq2seq import (
    BahdanauDecoder,
    LuongDecoder,
    PlainDecoder,
    RecurrentEncoder,
    Seq2Seq,
)

V_SRC, V_TGT, E, H = 11, 13, 5, 6
DECODERS = [PlainDecoder, BahdanauDecoder, LuongDecoder]
WITH_ATTENTION = DECODERS[1:]

every_decoder = pytest.mark.parametrize("decoder", DECODERS)
every_cell = pytest.mark.parametrize("cell", [nn.GRU, nn.LSTM])


def model(decoder=BahdanauDecoder, layers=2, bidirectional=True, cell=nn.GRU, seed=0, **options):
    torch.manual_seed(seed)
    return Seq2Seq(
        RecurrentEncoder(V_SRC, E, H, layers, bidirectional=bidirectional, cell=cell),
        decoder(V_TGT, E, H, layers, cell=cell, **options),
    ).eval()


def sentences(lens=(4, 7, 1), length=3, seed=0):
    rng = torch.Generator().manual_seed(seed)
    src = torch.randint(1, V_SRC, (len(lens), max(lens)), generator=rng)
    lens = torch.tensor(lens)
    src = src * (torch.arange(src.shape[1]) < lens[:, None])
    return src, lens, torch.randint(1, V_TGT, (len(lens), length), generator=rng)


@every_cell
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
def test_encoder_equals_one_sentence_at_a_time(layers, bidirectional, cell):
    encoder = model(layers=layers, bidirectional=bidirectional, cell=cell).encoder
    src, lens, _ = sentences()
    memory = encoder(src, lens)
    for b, n in enumerate(lens):
        alone = encoder(src[b : b + 1, :n], lens[b : b + 1])
        torch.testing.assert_close(memory.outputs[b, :n], alone.outputs[0])
        assert (memory.outputs[b, n:] == 0).all()
        for together, one in zip(memory.hidden, alone.hidden, strict=True):
            torch.testing.assert_close(together[b], one[0])
        assert memory.mask[b, 0].tolist() == [s < n for s in range(src.shape[1])]
    assert memory.outputs.shape == (3, 7, H)
    assert [h.shape for h in memory.hidden] == [(3, layers, H)] * (2 if cell is nn.LSTM else 1)


def test_encoder_state_is_what_each_direction_read_last():
    memory = model(layers=1).encoder(*sentences()[:2])
    for b, n in enumerate([4, 7, 1]):
        forwards, backwards = memory.outputs[b, n - 1, : H // 2], memory.outputs[b, 0, H // 2 :]
        torch.testing.assert_close(memory.hidden[0][b, 0], torch.cat([forwards, backwards]))


def softmax(numbers):
    top = max(numbers)
    powers = [math.exp(x - top) for x in numbers]
    return [p / sum(powers) for p in powers]


def look(score, query, memory, b):
    """Context and weights of one query, with loops."""
    real = [s for s in range(memory.outputs.shape[1]) if memory.mask[b, 0, s]]
    scores = [score(query[None], memory.outputs[b, s][None]).item() for s in real]
    weights = softmax(scores)
    context = sum(w * memory.outputs[b, s] for w, s in zip(weights, real, strict=True))
    return context, weights + [0.0] * (memory.outputs.shape[1] - len(real))


def step_by_step(m, src, lens, tgt_in):
    """The equations of the two papers, one sentence, one token at a time, with nn.GRUCell."""
    d = m.decoder
    memory = m.encoder(src, lens)
    cells = []
    for i in range(d.rnn.num_layers):
        inputs = getattr(d.rnn, f"weight_ih_l{i}").shape[1]
        cell = torch.nn.GRUCell(inputs, H)
        cell.load_state_dict(
            {
                n.removesuffix(f"_l{i}"): p
                for n, p in d.rnn.named_parameters()
                if n.endswith(f"_l{i}")
            }
        )
        cells.append(cell)
    logits, maps = [], []
    for b in range(len(src)):
        hidden = list(memory.hidden[0][b])
        for token in tgt_in[b]:
            x = d.embedding.weight[token]
            if isinstance(d, BahdanauDecoder):
                context, weights = look(d.score, hidden[-1], memory, b)
                x = torch.cat([x, context])
            if isinstance(d, PlainDecoder):
                x, weights = torch.cat([x, memory.hidden[0][b, -1]]), None
            for i, cell in enumerate(cells):
                x = hidden[i] = cell(x, hidden[i])
            if isinstance(d, LuongDecoder):
                context, weights = look(d.score, x, memory, b)
                x = torch.tanh(d.combine.weight @ torch.cat([context, x]))
            logits.append(d.out_proj.weight @ x + d.out_proj.bias)
            maps.append(weights)
    logits = torch.stack(logits).unflatten(0, tgt_in.shape)
    return logits, None if maps[0] is None else torch.tensor(maps).unflatten(0, tgt_in.shape)


@every_decoder
@pytest.mark.parametrize("layers", [1, 2])
def test_decoder_equals_the_equations(decoder, layers):
    m, data = model(decoder, layers), sentences()
    with torch.no_grad():
        logits, weights = m(*data)
        expected, maps = step_by_step(m, *data)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    if maps is None:
        assert weights is None
    else:
        torch.testing.assert_close(weights, maps, atol=1e-5, rtol=1e-5)


@every_cell
@every_decoder
def test_teacher_forcing_equals_step_by_step(decoder, cell):
    m, (src, lens, tgt_in) = model(decoder, cell=cell), sentences(length=5)
    logits, weights = m(src, lens, tgt_in)
    state = m.start(src, lens)
    for t in range(tgt_in.shape[1]):
        now, state, look = m.step(tgt_in[:, t], state)
        torch.testing.assert_close(now, logits[:, t], atol=1e-6, rtol=1e-5)
        if decoder in WITH_ATTENTION:
            torch.testing.assert_close(look, weights[:, t], atol=1e-6, rtol=1e-5)


@every_decoder
@settings(deadline=None, max_examples=25)
@given(
    lens=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    more=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_a_longer_neighbour_changes_nothing(decoder, lens, more, seed):
    m, (src, lens, tgt_in) = model(decoder, seed=seed), sentences(lens, seed=seed)
    longer = torch.randint(1, V_SRC, (1, src.shape[1] + more))
    together = torch.cat([torch.nn.functional.pad(src, (0, more)), longer])
    logits, weights = m(src, lens, tgt_in)
    got, maps = m(
        together,
        torch.cat([lens, torch.tensor([longer.shape[1]])]),
        torch.cat([tgt_in, tgt_in[:1]]),
    )
    torch.testing.assert_close(got[:-1], logits, atol=1e-6, rtol=1e-6)
    if weights is not None:
        torch.testing.assert_close(maps[:-1, :, : src.shape[1]], weights, atol=1e-6, rtol=1e-6)
        assert (maps[:-1, :, src.shape[1] :] == 0).all()


@pytest.mark.parametrize("decoder", WITH_ATTENTION)
def test_weights_depend_on_the_encoder_and_skip_padding(decoder):
    m, (src, lens, tgt_in) = model(decoder), sentences()
    _, weights = m(src, lens, tgt_in)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 3))
    for b, n in enumerate(lens):
        assert (weights[b, :, n:] == 0).all()
        assert (weights[b, :, :n] > 0).all()
    other = src.clone()
    other[0, 0] = src[0, 0] % (V_SRC - 1) + 1
    changed = m(other, lens, tgt_in)[1] - weights
    assert changed[0].abs().max() > 1e-4
    assert (changed[1:] == 0).all()
    memory = m.encoder(src, lens)
    shuffled = memory._replace(outputs=memory.outputs.flip(1), mask=memory.mask.flip(2))
    # The same memory in another order: the same weights in that order. Weights that come from places would stay.
    torch.testing.assert_close(m.decoder(tgt_in, shuffled)[1].flip(2), weights)


@every_decoder
def test_no_step_sees_a_later_target(decoder):
    m, (src, lens, tgt_in) = model(decoder), sentences(length=6)
    logits, _ = m(src, lens, tgt_in)
    for t in range(1, 6):
        other = tgt_in.clone()
        other[:, t:] = (other[:, t:]) % (V_TGT - 1) + 1
        got, _ = m(src, lens, other)
        assert torch.equal(got[:, :t], logits[:, :t])
        assert not torch.allclose(got[:, t:], logits[:, t:])


@pytest.mark.parametrize("decoder", WITH_ATTENTION)
@pytest.mark.parametrize(
    "score",
    [
        DotProduct(),
        ScaledDotProduct(),
        Cosine(),
        General(H, H),
        Additive(H, H, 4),
        LocationBased(H, 9),
    ],
    ids=lambda score: type(score).__name__,
)
def test_any_score(decoder, score):
    m, (src, lens, tgt_in) = model(decoder, score=score), sentences()
    logits, weights = m(src, lens, tgt_in)
    assert logits.shape == (3, 3, V_TGT)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 3))


def test_keys_are_prepared_once(monkeypatch):
    m, (src, lens, tgt_in) = model(BahdanauDecoder), sentences(length=5)
    calls = []
    prepare = m.decoder.score.prepare
    monkeypatch.setattr(m.decoder.score, "prepare", lambda key: calls.append(1) or prepare(key))
    m(src, lens, tgt_in)
    assert len(calls) == 1


@every_decoder
def test_a_source_without_tokens(decoder):
    m, (src, lens, tgt_in) = model(decoder), sentences()
    src[1], lens[1] = 0, 0
    assert not m.encoder(src, lens).outputs[1].any()
    logits, weights = m(src, lens, tgt_in)
    assert logits.isfinite().all()
    if weights is not None:
        assert (weights[1] == 0).all()
        torch.testing.assert_close(weights[0].sum(-1), torch.ones(3))
    logits.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in m.parameters())


@every_decoder
def test_every_parameter_learns(decoder):
    m, data = model(decoder), sentences()
    m.train()(*data)[0].square().sum().backward()
    assert {n for n, p in m.named_parameters() if p.grad is None or not p.grad.any()} == set()


@every_decoder
def test_padding_has_no_embedding_and_inputs_stay(decoder):
    m, data = model(decoder), sentences()
    before = [x.clone() for x in data]
    m(*data)[0].sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(before, data, strict=True))
    assert not m.encoder.embedding.weight[0].any()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s, n, t: (s.float(), n, t), TypeError, "src must hold token ids.*float32"),
        (lambda s, n, t: (s + V_SRC, n, t), ValueError, f"the vocabulary {V_SRC}"),
        (lambda s, n, t: (s, n, t - 20), ValueError, f"the vocabulary {V_TGT}"),
        (lambda s, n, t: (s[0], n, t), ValueError, r"src must be .batch, length. .*\(7,\)"),
        (lambda s, n, t: (s[:, :0], n * 0, t), ValueError, r"\(3, 0\)"),
        (lambda s, n, t: (s, n, t[:, :0]), ValueError, r"tgt_in .*\(3, 0\)"),
        (lambda s, n, t: (s, n[:2], t), ValueError, r"src_lens \(2,\).*\(3, 7\)"),
        (lambda s, n, t: (s, n + 5, t), ValueError, "valid_lens"),
        (lambda s, n, t: (s, n, t[:2]), ValueError, r"tgt_in \(2, 3\).*3 sources"),
    ],
)
@every_decoder
def test_bad_input(decoder, change, error, message):
    with pytest.raises(error, match=message):
        model(decoder)(*change(*sentences()))


def test_bad_sizes():
    with pytest.raises(ValueError, match="hidden_dim, got 5"):
        RecurrentEncoder(V_SRC, E, 5, bidirectional=True)
    encoder, decoder = RecurrentEncoder(V_SRC, E, 8, 1), LuongDecoder(V_TGT, E, H, 2)
    src, lens, tgt_in = sentences()
    with pytest.raises(ValueError, match=r"\(3, 2, 6\), got \[\(3, 1, 8\)\]"):
        Seq2Seq(encoder, decoder)(src, lens, tgt_in)
    with pytest.raises(ValueError, match="LSTM starts from 2 states"):
        Seq2Seq(RecurrentEncoder(V_SRC, E, H), PlainDecoder(V_TGT, E, H, cell=nn.LSTM))(
            src, lens, tgt_in
        )
