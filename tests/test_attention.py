"""Attention against plain loops and PyTorch's own, explicit and fused, with every mask."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from attn_utils.attention import MultiHeadAttention, attention, scaled_dot_product_attention
from attn_utils.masking import causal_mask, padding_mask
from attn_utils.scoring import DotProduct
from benchmarks.memory import extra_mb

BOTH = pytest.mark.parametrize("need_weights", [True, False], ids=["explicit", "fused"])


def by_loops(query, key, value, mask, scale):
    """Output (L, Ev) and weights (L, S), one number at a time."""
    weights = torch.zeros(len(query), len(key), dtype=query.dtype)
    for i, q in enumerate(query):
        heights = [
            math.exp(scale * sum(a * b for a, b in zip(q.tolist(), k.tolist(), strict=True)))
            if mask[i, s]
            else 0.0
            for s, k in enumerate(key)
        ]
        if total := sum(heights):
            weights[i] = torch.tensor([h / total for h in heights], dtype=query.dtype)
    output = torch.stack([sum(w * v for w, v in zip(row, value, strict=True)) for row in weights])
    return output, weights


def draw(seed, L=3, S=5, E=4, Ev=6, batch=(), dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    query, key = (torch.randn(*batch, n, E, generator=g, dtype=dtype) for n in (L, S))
    return query, key, torch.randn(*batch, S, Ev, generator=g, dtype=dtype)


sizes = {name: st.integers(1, 5) for name in ("L", "S", "E", "Ev")}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), **sizes)
def test_equals_loops(seed, L, S, E, Ev):
    query, key, value = draw(seed, L, S, E, Ev)
    mask = torch.rand(L, S, generator=torch.Generator().manual_seed(seed)) < 0.7
    output, weights = by_loops(query, key, value, mask, E**-0.5)
    got = scaled_dot_product_attention(query, key, value, mask)
    torch.testing.assert_close(got, (output, weights))
    fused, nothing = scaled_dot_product_attention(query, key, value, mask, need_weights=False)
    torch.testing.assert_close(fused, output)
    assert nothing is None
    expected = by_loops(query, key, value, mask, 1.0)
    torch.testing.assert_close(attention(query, key, value, DotProduct(), mask), expected)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), **sizes)
def test_equals_torch(seed, L, S, E, Ev):
    query, key, value = draw(seed, L, S, E, Ev, batch=(2, 3), dtype=torch.float32)
    mask = torch.rand(2, 1, L, S, generator=torch.Generator().manual_seed(seed)) < 0.7
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    for need_weights in (True, False):
        got, _ = scaled_dot_product_attention(query, key, value, mask, need_weights=need_weights)
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        attention(query, key, value, attn_mask=mask)[0], expected, atol=1e-5, rtol=1e-5
    )


BATCHES = [
    ((), (), ()),
    ((2,), (2,), (2,)),
    ((2, 3), (2, 3), (2, 3)),
    ((2, 3), (1, 3), (3,)),
    ((2,), (), (1,)),
    ((1,), (3,), ()),
    ((4, 2, 3), (2, 1), (4, 1, 1)),
]


@pytest.mark.parametrize("batches", BATCHES, ids=str)
@pytest.mark.parametrize("rows", ["(L, S)", "(1, S)", "(L, 1)", "(S,)"])
def test_fused_equals_explicit_for_every_mask_and_shape(batches, rows):
    torch.manual_seed(0)
    L, S = 5, 7
    query, key, value = (
        torch.randn(*b, n, e) for b, n, e in zip(batches, (L, S, S), (8, 8, 6), strict=True)
    )
    batch = torch.broadcast_shapes(*batches)
    last = {"(L, S)": (L, S), "(1, S)": (1, S), "(L, 1)": (L, 1), "(S,)": (S,)}[rows]
    heads = {(), (1,) * len(batch), batch, batch[-1:], (*batch[:-1], 1) if batch else ()}
    heads |= {(1, *batch[1:])} if batch else set()
    for lead in heads if len(last) == 2 else {()}:
        mask = torch.rand(*lead, *last) < 0.6
        if len(last) == 2:
            mask[..., 0, :] = False  # nobody for the first query
        output, weights = scaled_dot_product_attention(query, key, value, mask)
        fused, _ = scaled_dot_product_attention(query, key, value, mask, need_weights=False)
        assert output.shape == fused.shape == (*batch, L, 6)
        assert weights.shape == (*batch, L, S)
        torch.testing.assert_close(fused, output, atol=1e-5, rtol=1e-5)
        someone = mask.expand(*batch, L, S).any(dim=-1).float()
        torch.testing.assert_close(weights.sum(dim=-1), someone)


@pytest.mark.parametrize("batch", [(2,), (2, 3), (4, 2, 3)])
def test_values_alone_may_bring_a_batch(batch):
    (query, key, _), (_, _, value) = draw(9), draw(9, batch=batch)
    output, _ = scaled_dot_product_attention(query, key, value)
    fused, _ = scaled_dot_product_attention(query, key, value, need_weights=False)
    assert fused.shape == (*batch, 3, 6)
    torch.testing.assert_close(fused, output)


@BOTH
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_fully_masked_rows_are_zero_with_finite_gradients(dtype, need_weights):
    query, key, value = (x.requires_grad_() for x in draw(0, Ev=4, batch=(2, 2), dtype=dtype))
    mask = torch.ones(2, 1, 3, 5, dtype=torch.bool)
    mask[0, 0, 1] = False
    output, _ = scaled_dot_product_attention(query, key, value, mask, need_weights=need_weights)
    assert output.dtype == dtype
    assert output[0, :, 1].abs().max() == 0
    output.float().square().sum().backward()
    for x in (query, key, value):
        assert x.grad.isfinite().all()
    assert query.grad[0, :, 1].abs().max() == 0
    assert query.grad[1].abs().max() > 0


@BOTH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_finite(dtype, need_weights):
    query, key, value = draw(1, E=64, Ev=64, batch=(1, 1), dtype=dtype)
    query, key = 60 * query.sign(), 60 * key.sign()  # unscaled, scores would reach 230,400
    output, _ = scaled_dot_product_attention(query, key, value, need_weights=need_weights)
    assert output.isfinite().all()
    expected, _ = scaled_dot_product_attention(query.float(), key.float(), value.float())
    torch.testing.assert_close(output.float(), expected, atol=0.05, rtol=0.05)


@BOTH
def test_nothing_is_changed_in_place(need_weights):
    inputs = [*draw(2, batch=(2,)), torch.rand(2, 3, 5) < 0.5]
    before = [x.clone() for x in inputs]
    scaled_dot_product_attention(*inputs, need_weights=need_weights)
    assert all(torch.equal(x, y) for x, y in zip(inputs, before, strict=True))


@BOTH
def test_gradients(need_weights):
    inputs = [x.requires_grad_() for x in draw(3, batch=(2,))]
    mask = padding_mask(torch.tensor([2, 5]), 5)
    assert torch.autograd.gradcheck(
        lambda *x: scaled_dot_product_attention(*x, mask, need_weights=need_weights)[0], inputs
    )


@BOTH
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_compiles_and_maps(need_weights):
    query, key, value = draw(4, batch=(2,), dtype=torch.float32)
    mask = torch.rand(2, 3, 5) < 0.6
    mask[0, 1] = False

    def run(query, key, value, mask):
        return scaled_dot_product_attention(query, key, value, mask, need_weights=need_weights)[0]

    expected = run(query, key, value, mask)
    compiled = torch.compile(run, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(query, key, value, mask), expected)
    mapped = torch.func.vmap(run)(query, key, value, mask)
    torch.testing.assert_close(mapped, expected, atol=1e-5, rtol=1e-5)


def test_weights_are_taken_before_dropout():
    query, key, value = draw(5, L=40, S=50, dtype=torch.float32)
    exact, kept = scaled_dot_product_attention(query, key, value)
    torch.manual_seed(0)
    output, weights = scaled_dot_product_attention(query, key, value, dropout=0.5, training=True)
    assert torch.equal(weights, kept)
    assert not torch.allclose(output, exact, atol=1e-2)
    for need_weights in (True, False):
        evaluated, _ = scaled_dot_product_attention(
            query, key, value, dropout=0.5, need_weights=need_weights
        )
        torch.testing.assert_close(evaluated, exact, atol=1e-5, rtol=1e-5)


@BOTH
def test_dropout_changes_nothing_on_average(need_weights):
    query, key, value = draw(6, batch=(1, 1), Ev=4, dtype=torch.float32)
    torch.manual_seed(0)
    exact, _ = scaled_dot_product_attention(query, key, value)
    many = [x.expand(4000, -1, -1, -1) for x in (query, key, value)]
    outputs, _ = scaled_dot_product_attention(
        *many, dropout=0.3, training=True, need_weights=need_weights
    )
    assert outputs.std(dim=0).min() > 0.05
    torch.testing.assert_close(outputs.mean(dim=0), exact[0], atol=0.06, rtol=0)


MEMORY = """
import sys, torch
from attn_utils.attention import scaled_dot_product_attention
from attn_utils.masking import padding_mask
from benchmarks.memory import peak_mb
torch.set_num_threads(1)
case = sys.argv[1]
shape = (2, 4096, 32) if case == "three dimensions" else (1, 2, 4096, 32)
query, key = torch.randn(shape), torch.randn(shape)
value = torch.randn(*shape[:-1], 48 if case == "wider values" else 32)
mask = padding_mask(torch.tensor([4000, 90]), 4096) if case == "three dimensions" else None
if case == "columns first":
    query, key, value = (x.mT.contiguous().mT for x in (query, key, value))
scaled_dot_product_attention(query[..., :9, :], key, value, mask, need_weights=False)
before = peak_mb()
scaled_dot_product_attention(query, key, value, mask, need_weights=False)
print(peak_mb() - before)
"""


@pytest.mark.parametrize("case", ["plain", "wider values", "three dimensions", "columns first"])
def test_the_fused_path_holds_no_matrix(case):
    """The matrix of two heads would be 134 MB."""
    assert extra_mb(MEMORY, case) < 30


def test_elsewhere_than_on_a_cpu_rows_without_any_key_are_guarded(monkeypatch):
    """There the fused kernel may return anything for them: here, NaN."""
    real = F.scaled_dot_product_attention

    def careless(query, key, value, mask, *arguments, **options):
        assert mask.any(dim=-1).all(), "a row without any key reached the kernel"
        return real(query, key, value, mask, *arguments, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", careless)
    query, key, value = draw(7, batch=(2,), dtype=torch.float32)
    mask = torch.ones(2, 3, 5, dtype=torch.bool)
    mask[1, 2] = False
    expected, _ = scaled_dot_product_attention(query, key, value, mask)
    with pytest.raises(AssertionError, match="reached the kernel"):
        scaled_dot_product_attention(query, key, value, mask, need_weights=False)
    monkeypatch.setattr("attn_utils.attention._KERNEL_GIVES_ZERO", ())
    got, _ = scaled_dot_product_attention(query, key, value, mask, need_weights=False)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


zeros = torch.zeros


@BOTH
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((zeros(2, 3), zeros(4, 3), zeros(4, 1), zeros(2, 4)), TypeError, "True = may attend; got torch.float32"),
        ((zeros(2, 3), zeros(4, 3), zeros(4, 1), zeros(2, 5) > 0), ValueError, r"\(2, 5\) .* \(2, 4\)"),
        ((zeros(2, 3), zeros(4, 5), zeros(4, 1)), ValueError, r"query \(2, 3\) as of key \(4, 5\)"),
        ((zeros(2, 3), zeros(4, 3), zeros(5, 1)), ValueError, r"one value: .*\(4, 3\), value \(5, 1\)"),
        ((zeros(2, 3), zeros(0, 3), zeros(0, 1)), ValueError, "no keys"),
        ((zeros(2, 3).int(), zeros(4, 3), zeros(4, 1)), TypeError, "torch.int32"),
        ((zeros(2, 3), zeros(4, 3), zeros(4, 1).half()), TypeError, "value is torch.float16"),
        ((zeros(2, 2, 3), zeros(3, 4, 3), zeros(3, 4, 1)), ValueError, r"broadcast: query \(2, 2, 3\)"),
    ],
)  # fmt: skip
def test_bad_input(arguments, error, message, need_weights):
    with pytest.raises(error, match=message):
        scaled_dot_product_attention(*arguments, need_weights=need_weights)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, math.nan])
def test_bad_dropout(dropout):
    with pytest.raises(ValueError, match="dropout must be at least 0"):
        scaled_dot_product_attention(*draw(0), dropout=dropout)


# ---- Several heads ------------------------------------------------------------------------------


def twins(embed_dim, num_heads, kdim=None, vdim=None, bias=True):
    """Ours and PyTorch's with the same parameters."""
    ours = MultiHeadAttention(embed_dim, num_heads, kdim, vdim, bias=bias)
    torchs = nn.MultiheadAttention(
        embed_dim, num_heads, kdim=kdim or embed_dim, vdim=vdim or embed_dim, bias=bias, batch_first=True
    )  # fmt: skip
    maps = (ours.q_proj, ours.k_proj, ours.v_proj)
    with torch.no_grad():
        if torchs.in_proj_weight is not None:
            torchs.in_proj_weight.copy_(torch.cat([m.weight for m in maps]))
        else:
            for name, m in zip("qkv", maps, strict=True):
                getattr(torchs, f"{name}_proj_weight").copy_(m.weight)
        torchs.out_proj.load_state_dict(ours.out_proj.state_dict())
        if bias:
            torchs.in_proj_bias.copy_(torch.cat([m.bias for m in maps]))
    return ours, torchs


@BOTH
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kdim", "vdim"), [(None, None), (6, 10)])
def test_heads_equal_torchs(kdim, vdim, bias, need_weights):
    torch.manual_seed(0)
    ours, torchs = twins(12, 3, kdim, vdim, bias)
    query, key, value = (
        torch.randn(2, 4, 12),
        torch.randn(2, 5, kdim or 12),
        torch.randn(2, 5, vdim or 12),
    )
    lens = torch.tensor([3, 5])
    output, weights = ours(query, key, value, padding_mask(lens, 5), need_weights)
    expected, expected_weights = torchs(
        query, key, value, key_padding_mask=torch.arange(5) >= lens[:, None], average_attn_weights=False
    )  # fmt: skip
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    if need_weights:
        torch.testing.assert_close(weights, expected_weights, atol=1e-5, rtol=1e-5)
        assert weights.shape == (2, 3, 4, 5)


@BOTH
def test_heads_with_a_causal_mask(need_weights):
    torch.manual_seed(1)
    ours, torchs = twins(8, 2)
    x = torch.randn(2, 5, 8)
    output, _ = ours(x, x, x, causal_mask(5), need_weights)
    expected, _ = torchs(x, x, x, attn_mask=~causal_mask(5))
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


def test_heads_equal_a_loop_over_heads():
    torch.manual_seed(2)
    heads = MultiHeadAttention(6, 3)
    query, key = torch.randn(2, 4, 6), torch.randn(2, 5, 6)
    q, k, v = heads.q_proj(query), heads.k_proj(key), heads.v_proj(key)
    parts = [
        scaled_dot_product_attention(q[..., i : i + 2], k[..., i : i + 2], v[..., i : i + 2])
        for i in (0, 2, 4)
    ]
    for output, weights in (heads(query, key, key), heads.attend(query, *heads.prepare(key, key))):
        right = heads.out_proj(torch.cat([o for o, _ in parts], dim=-1))
        torch.testing.assert_close(output, right)
        torch.testing.assert_close(weights, torch.stack([w for _, w in parts], dim=1))
    assert heads(query, key, key, need_weights=False)[1] is None


@BOTH
def test_masks_of_heads(need_weights):
    torch.manual_seed(3)
    heads = MultiHeadAttention(6, 3)
    query, key = torch.randn(2, 4, 6), torch.randn(2, 5, 6)
    mask = torch.rand(2, 4, 5) < 0.6
    every, _ = heads(query, key, key, mask, need_weights)
    same, _ = heads(query, key, key, mask[:, None].expand(-1, 3, -1, -1), need_weights)
    torch.testing.assert_close(every, same)
    for b in range(2):
        alone, _ = heads(query[b : b + 1], key[b : b + 1], key[b : b + 1], mask[b], need_weights)
        torch.testing.assert_close(every[b : b + 1], alone, atol=1e-5, rtol=1e-5)


def test_dropout_of_heads_in_training_only():
    torch.manual_seed(4)
    heads = MultiHeadAttention(6, 3, dropout=0.5)
    x = torch.randn(2, 4, 6)
    assert not torch.equal(heads(x, x, x)[0], heads(x, x, x)[0])
    heads.eval()
    assert torch.equal(heads(x, x, x)[0], heads(x, x, x)[0])


@BOTH
def test_heads_refuse_other_features(need_weights):
    heads = MultiHeadAttention(6, 3, kdim=4)
    with pytest.raises(ValueError, match=r"k_proj takes 4 features, got \(2, 5, 6\)"):
        heads(torch.zeros(2, 4, 6), torch.zeros(2, 5, 6), torch.zeros(2, 5, 6), None, need_weights)


@BOTH
@pytest.mark.parametrize("batch", [(), (0,), (2, 0), (2, 3)])
def test_nothing_asked(batch, need_weights):
    query, key, value = draw(8, L=0, batch=batch)
    output, _ = scaled_dot_product_attention(query, key, value, need_weights=need_weights)
    assert output.shape == (*batch, 0, 6)


@pytest.mark.parametrize("num_heads", [3, 0, -2])
def test_heads_must_divide_the_features(num_heads):
    with pytest.raises(ValueError, match=f"num_heads {num_heads} must divide embed_dim 8"):
        MultiHeadAttention(8, num_heads)


def test_one_head_is_attention_between_projections():
    torch.manual_seed(5)
    head, x = MultiHeadAttention(6, 1), torch.randn(2, 4, 6)
    inside, weights = attention(head.q_proj(x), head.k_proj(x), head.v_proj(x))
    torch.testing.assert_close(head(x, x, x), (head.out_proj(inside), weights[:, None]))


def test_the_maps_have_a_bias_unless_told_otherwise():
    names = {name for name, _ in MultiHeadAttention(6, 3).named_parameters()}
    assert names == {
        f"{p}_proj.{kind}" for p in ("q", "k", "v", "out") for kind in ("weight", "bias")
    }


@pytest.mark.parametrize("need_weights", [True, False])
def test_no_features(need_weights):
    x = torch.zeros(3, 0)
    with pytest.raises(ValueError, match=r"no features: \(3, 0\)"):
        scaled_dot_product_attention(x, x, torch.zeros(3, 2), need_weights=need_weights)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 1.5])
def test_heads_refuse_dropout_at_once(dropout):
    with pytest.raises(ValueError, match=f"got {dropout}"):
        MultiHeadAttention(8, 2, dropout=dropout)
