"""The Transformer against PyTorch's by copied weights, no look ahead, padding, the cache, bad input."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attn_utils.decoding import beam_search, greedy_decode
from attn_utils.masking import causal_mask
from attn_utils.training import sequence_loss
from attn_utils.transformer import (
    Transformer,
    TransformerDecoderLayer,
    TransformerEncoderLayer,
)

V_SRC, V_TGT, E, H, F = 11, 13, 12, 3, 20

both_norms = pytest.mark.parametrize("norm_first", [True, False], ids=["pre", "post"])
with_weights = pytest.mark.parametrize("need_weights", [True, False], ids=["explicit", "fused"])


def model(norm_first=True, seed=0, dropout=0.0, **options):
    torch.manual_seed(seed)
    made = Transformer(V_SRC, V_TGT, E, H, 2, F, dropout, norm_first, **options)
    for parameter in made.parameters():  # biases and norms away from 0 and 1
        if parameter.ndim == 1:
            nn.init.normal_(parameter)
    return made.eval()


def sentences(lens=(4, 7, 1), length=5, seed=0):
    rng = torch.Generator().manual_seed(seed)
    src = torch.randint(1, V_SRC, (len(lens), max(lens)), generator=rng)
    lens = torch.tensor(lens)
    src = src * (torch.arange(src.shape[1]) < lens[:, None])
    return src, lens, torch.randint(1, V_TGT, (len(lens), length), generator=rng)


def copy_attention(ours, theirs):
    """Into PyTorch's module, which holds the three input maps as one."""
    parts = [getattr(ours, f"{name}_proj") for name in "qkv"]
    theirs.in_proj_weight.copy_(torch.cat([p.weight for p in parts]))
    theirs.in_proj_bias.copy_(torch.cat([p.bias for p in parts]))
    theirs.out_proj.load_state_dict(ours.out_proj.state_dict())


@torch.no_grad()
def copy_layer(ours, theirs):
    copy_attention(ours.self_attn, theirs.self_attn)
    if hasattr(ours, "cross_attn"):
        copy_attention(ours.cross_attn, theirs.multihead_attn)
    theirs.linear1.load_state_dict(ours.ffn[0].state_dict())
    theirs.linear2.load_state_dict(ours.ffn[2].state_dict())
    for i, norm in enumerate(ours.norms):
        getattr(theirs, f"norm{i + 1}").load_state_dict(norm.state_dict())


def layer(kind, norm_first):
    torch.manual_seed(1)
    ours = kind(E, H, F, 0.0, norm_first)
    for norm in ours.norms:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return ours


def assert_same_gradients(x, ours, theirs):
    """Of the input, for one and the same random loss."""
    direction = torch.randn_like(ours)
    gradients = [torch.autograd.grad((y * direction).sum(), x)[0] for y in (ours, theirs)]
    torch.testing.assert_close(*gradients)


@both_norms
@with_weights
def test_encoder_layer_equals_torchs(norm_first, need_weights):
    ours = layer(TransformerEncoderLayer, norm_first)
    theirs = nn.TransformerEncoderLayer(E, H, F, 0.0, batch_first=True, norm_first=norm_first)
    copy_layer(ours, theirs)
    x = torch.randn(2, 6, E, requires_grad=True)
    closed = torch.tensor([[False] * 6, [False] * 4 + [True] * 2])
    got, weights = ours(x, ~closed[:, None] & causal_mask(6), need_weights)
    wanted = theirs(x, ~causal_mask(6), src_key_padding_mask=closed)
    torch.testing.assert_close(got, wanted)
    assert_same_gradients(x, got, wanted)
    assert (weights is not None) == need_weights


@both_norms
@with_weights
def test_decoder_layer_equals_torchs(norm_first, need_weights):
    ours = layer(TransformerDecoderLayer, norm_first)
    theirs = nn.TransformerDecoderLayer(E, H, F, 0.0, batch_first=True, norm_first=norm_first)
    copy_layer(ours, theirs)
    x, memory = torch.randn(2, 5, E, requires_grad=True), torch.randn(2, 6, E)
    closed = torch.tensor([[False] * 6, [False] * 4 + [True] * 2])
    got, *weights = ours(x, memory, causal_mask(5), ~closed[:, None], need_weights)
    wanted = theirs(x, memory, ~causal_mask(5), memory_key_padding_mask=closed)
    torch.testing.assert_close(got, wanted)
    assert_same_gradients(x, got, wanted)
    if need_weights:
        assert [w.shape for w in weights] == [(2, H, 5, 5), (2, H, 5, 6)]
    else:
        assert weights == [None, None]


@both_norms
def test_whole_model_equals_torchs(norm_first):
    ours = model(norm_first)
    theirs = nn.Transformer(E, H, 2, 2, F, 0.0, batch_first=True, norm_first=norm_first)
    for mine, their in ((ours.encoder, theirs.encoder), (ours.decoder, theirs.decoder)):
        for a, b in zip(mine, their.layers, strict=True):
            copy_layer(a, b)
    if norm_first:
        theirs.encoder.norm.load_state_dict(ours.encoder_norm.state_dict())
        theirs.decoder.norm.load_state_dict(ours.decoder_norm.state_dict())
    else:  # the paper has no norm after the last layer's own
        theirs.encoder.norm = theirs.decoder.norm = None
    src, lens, tgt = sentences()
    logits, _ = ours(src, lens, tgt)
    closed = torch.arange(src.shape[1]) >= lens[:, None]
    x = ours.positions(ours.src_embedding(src) * E**0.5)
    y = ours.positions(ours.tgt_embedding(tgt) * E**0.5)
    out = theirs(
        x, y, tgt_mask=~causal_mask(5),
        src_key_padding_mask=closed, memory_key_padding_mask=closed,
    )  # fmt: skip
    torch.testing.assert_close(logits, ours.out_proj(out))


@both_norms
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("place", range(1, 5))
def test_no_token_sees_a_later_one(norm_first, training, place):
    made = model(norm_first).train(training)
    src, lens, tgt = sentences()
    other = tgt.clone()
    other[:, place] = other[:, place] % (V_TGT - 1) + 1
    (before, _), (after, _) = made(src, lens, tgt), made(src, lens, other)
    torch.testing.assert_close(before[:, :place], after[:, :place], rtol=0, atol=1e-6)
    assert ((before[:, place:] - after[:, place:]).abs().amax(dim=(0, 2)) > 1e-4).all()


@both_norms
@with_weights
def test_padding_changes_nothing(norm_first, need_weights):
    made = model(norm_first)
    src, lens, tgt = sentences()
    together, maps = made(src, lens, tgt, need_weights)
    for b, n in enumerate(lens):
        alone, one = made(src[b : b + 1, :n], lens[b : b + 1], tgt[b : b + 1], need_weights)
        torch.testing.assert_close(together[b], alone[0])
        if need_weights:
            torch.testing.assert_close(maps.cross[-1][b, :, :, :n], one.cross[-1][0])
            assert (maps.cross[-1][b, :, :, n:] == 0).all()
            assert (maps.encoder_self[-1][b, :, :, n:] == 0).all()
    longer = torch.nn.functional.pad(tgt, (0, 3))
    torch.testing.assert_close(made(src, lens, longer)[0][:, :5], together)


def test_padding_gets_no_gradient():
    made = model()
    src, lens, tgt = sentences()
    made(src, lens, tgt)[0].square().sum().backward()
    assert (made.src_embedding.weight.grad[0] == 0).all()  # id 0 stands at padding only


@both_norms
@pytest.mark.parametrize("learned", [None, 9])
def test_cached_steps_equal_the_whole_target(norm_first, learned):
    made = model(norm_first, learned_max_len=learned)
    src, lens, tgt = sentences(length=8)
    logits, maps = made(src, lens, tgt, need_weights=True)
    state = made.start(src, lens)
    for t in range(8):
        step, state, weights = made.step(tgt[:, t], state)
        torch.testing.assert_close(step, logits[:, t], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(weights, maps.cross[-1][:, :, t].mean(dim=1))
    assert [cache.k.shape for cache in state[0]] == [(3, H, 8, E // H)] * 2


def test_maps_are_those_of_the_layers():
    made = model()
    logits, maps = made(*sentences(), need_weights=True)
    assert made(*sentences())[1] is None
    torch.testing.assert_close(made(*sentences())[0], logits)
    for kind, shape in zip(maps, [(3, H, 7, 7), (3, H, 5, 5), (3, H, 5, 7)], strict=True):
        assert [w.shape for w in kind] == [shape] * 2
        for weights in kind:
            torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    assert (maps.decoder_self[0].triu(1) == 0).all()


def test_a_step_gives_the_weights_of_the_last_layer():
    torch.manual_seed(0)
    made = Transformer(V_SRC, V_TGT, E, H, 3, F).eval()
    src, lens, tgt = sentences()
    _, _, weights = made.step(tgt[:, 0], made.start(src, lens))
    _, maps = made(src, lens, tgt[:, :1], need_weights=True)
    torch.testing.assert_close(weights, maps.cross[2][:, :, 0].mean(dim=1))


def test_a_cache_starts_without_tokens():
    made, (src, lens, tgt) = model(), sentences()
    caches, mask = made.start(src, lens)
    assert mask.sum(dim=-1).flatten().tolist() == lens.tolist()
    for cache in caches:
        assert [x.shape for x in cache] == [(3, H, 0, E // H)] * 2 + [(3, H, 7, E // H)] * 2
    with pytest.raises(ValueError, match="shorter"):
        made.decode(tgt, caches[:1])


def naive_greedy(made, src, lens, max_len):
    """The whole prefix through the network at each step."""
    said = torch.ones(len(src), 1, dtype=torch.long)
    for _ in range(max_len):
        logits = made(src, lens, said)[0][:, -1]
        logits[:, :2] = -torch.inf  # PAD and BOS are never said
        said = torch.cat([said, logits.argmax(-1, keepdim=True)], dim=1)
    rows = [row[1:] for row in said.tolist()]
    return [row[: row.index(2)] if 2 in row else row for row in rows]


@both_norms
@pytest.mark.parametrize("seed", range(3))
def test_decoding_works_on_it(norm_first, seed):
    made = model(norm_first, seed=seed)
    src, lens, _ = sentences(seed=seed)
    decoded = greedy_decode(made, src, lens, max_len=9)
    with torch.no_grad():
        assert decoded.ids == naive_greedy(made, src, lens, 9)
    wide = beam_search(made, src, lens, beam_size=4, max_len=9, length_penalty=0)
    for b, ids in enumerate(wide.ids):
        said = [*ids, 2] if len(ids) < 9 else ids
        with torch.no_grad():
            tgt = torch.tensor([[1, *said[:-1]]])
            log_probs = made(src[b : b + 1], lens[b : b + 1], tgt)[0].log_softmax(-1)[0]
        total = log_probs[range(len(said)), said].sum()
        torch.testing.assert_close(wide.scores[b], total, rtol=1e-4, atol=1e-4)
        assert wide.weights[b].shape == (len(said), src.shape[1])


def test_a_source_without_tokens():
    src, lens, tgt = sentences((4, 0))
    made = model()
    logits, maps = made(src, lens, tgt, need_weights=True)
    assert logits.isfinite().all()
    assert (maps.cross[0][1] == 0).all()
    logits.sum().backward()
    assert all(p.grad.isfinite().all() for p in made.parameters() if p.grad is not None)


def test_maps_are_kept_on_request_only():
    src, lens, _ = sentences((4, 2))
    assert model().encode(src, lens)[2] == [None] * len(model().encoder)
    assert all(m.shape[-1] == 4 for m in model().encode(src, lens, need_weights=True)[2])


def test_tied_weights_are_one():
    made = model(tie_weights=True)
    assert made.out_proj.weight is made.tgt_embedding.weight
    free = model()
    assert free.out_proj.weight is not free.tgt_embedding.weight
    sizes = [sum(p.numel() for p in m.parameters()) for m in (free, made)]
    assert sizes[0] - sizes[1] == V_TGT * E


def test_what_comes_without_being_asked_for():
    with torch.device("meta"):
        made = Transformer(5, 7)
    first, x = made.encoder[0], torch.zeros(1, 2, E)
    assert (made.src_embedding.embedding_dim, first.self_attn.num_heads) == (512, 8)
    assert (len(made.encoder), len(made.decoder), first.ffn[0].out_features) == (6, 6, 2048)
    assert {m.p for m in made.modules() if isinstance(m, nn.Dropout)} == {0.1}
    assert all(isinstance(norm, nn.LayerNorm) for norm in (made.encoder_norm, made.decoder_norm))
    assert first.norm_first
    assert made.positions.learned is None
    for kind, inputs in ((TransformerEncoderLayer, [x]), (TransformerDecoderLayer, [x, x])):
        one = kind(E, H, F)
        assert (one.dropout.p, one.norm_first) == (0.1, True)
        assert one(*inputs)[1:] == (None,) * len(inputs)


def test_linear_maps_start_as_large_as_glorot_says():
    torch.manual_seed(0)
    for module in Transformer(90, 50, 64, 4, 1, 256).modules():
        if isinstance(module, nn.Linear):
            bound = (6 / (module.in_features + module.out_features)) ** 0.5
            assert module.weight.abs().max().item() == pytest.approx(bound, rel=0.01)


def test_embeddings_and_positions_are_of_one_size():
    torch.manual_seed(0)
    made = Transformer(500, 500, 64, 4, 1, 64)
    for embedding in (made.src_embedding, made.tgt_embedding):
        assert (embedding.weight * 64**0.5).std().item() == pytest.approx(1, rel=0.05)


def test_learned_positions_start_small():
    torch.manual_seed(0)
    made = Transformer(V_SRC, V_TGT, 64, 4, 1, 64, learned_max_len=40)
    assert made.positions.learned.weight.std().item() == pytest.approx(0.1, rel=0.1)


def test_dropout_is_in_training_only_and_on_every_sublayer():
    made = model(dropout=0.5)
    src, lens, tgt = sentences()
    assert torch.equal(made(src, lens, tgt)[0], made(src, lens, tgt)[0])
    made.train()
    torch.manual_seed(0)
    assert not torch.allclose(made(src, lens, tgt)[0], made(src, lens, tgt)[0])
    calls = []
    for module in made.modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(lambda *_: calls.append(1))
    made(src, lens, tgt)
    assert len(calls) == 2 + 2 * 2 + 2 * 3  # embeddings; encoder layers; decoder layers


def test_it_learns_to_copy():
    torch.manual_seed(0)
    made = Transformer(8, 8, 32, 4, 1, 64, dropout=0.0)
    optimizer = torch.optim.Adam(made.parameters(), lr=3e-3)

    class Batch:
        src = torch.randint(4, 8, (64, 5))
        src_lens = torch.full((64,), 5)
        tgt_in = torch.cat([torch.ones(64, 1, dtype=torch.long), src[:, :-1]], dim=1)
        tgt_out = src

    losses = []
    for _ in range(80):
        loss, count = sequence_loss(made, Batch)
        losses.append((loss / count).item())
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
    assert losses[-1] < 0.1 < 1 < losses[0]


SRC, LENS, TGT = sentences()


@pytest.mark.parametrize(
    ("args", "kind", "says"),
    [
        ((SRC.float(), LENS, TGT), TypeError, "src must hold token ids .*, got torch.float32"),
        ((SRC, LENS, TGT.float()), TypeError, "tgt_in must hold token ids .*, got torch.float32"),
        ((SRC + V_SRC, LENS, TGT), ValueError, f"src holds ids from .* the vocabulary {V_SRC}"),
        ((SRC, LENS, TGT - 2), ValueError, f"tgt_in holds ids from -1 .* the vocabulary {V_TGT}"),
        ((SRC, LENS, TGT[:, :0]), ValueError, r"tgt_in must be .* not empty, got \(3, 0\)"),
        ((SRC[:, :0], LENS * 0, TGT), ValueError, r"src must be .* not empty, got \(3, 0\)"),
        ((SRC, LENS, TGT[:2]), ValueError, r"tgt_in \(2, 5\) does not fit src \(3, 7\)"),
        ((SRC, LENS[:2], TGT), ValueError, r"src_lens \(2,\) .* src \(3, 7\)"),
        ((SRC, LENS + 1, TGT), ValueError, "valid_lens must lie from 0 to 7"),
        ((SRC, LENS.float(), TGT), TypeError, "integers, got torch.float32"),
    ],
)
def test_bad_input(args, kind, says):
    with pytest.raises(kind, match=says):
        model()(*args)


def test_positions_beyond_the_learned_ones():
    made = model(learned_max_len=7)
    src, lens, tgt = sentences(length=8)
    with pytest.raises(ValueError, match="8 positions from 0 on, but only 7"):
        made(src, lens, tgt)
    state = made.start(src, lens)
    for t in range(7):
        _, state, _ = made.step(tgt[:, t], state)
    with pytest.raises(ValueError, match="1 positions from 7 on, but only 7"):
        made.step(tgt[:, 7], state)


def test_heads_must_divide():
    with pytest.raises(ValueError, match="num_heads 5 must divide embed_dim 12"):
        Transformer(V_SRC, V_TGT, E, 5, 2, F)


@pytest.mark.parametrize("mask", [torch.ones(4, 4), torch.ones(5, 4, dtype=torch.bool)])
def test_masks_that_do_not_fit(mask):
    x = torch.randn(2, 4, E)
    with pytest.raises((TypeError, ValueError), match="attn_mask"):
        TransformerEncoderLayer(E, H, F)(x, mask)
    with pytest.raises((TypeError, ValueError), match="attn_mask"):
        TransformerDecoderLayer(E, H, F)(x, x, memory_mask=mask)
