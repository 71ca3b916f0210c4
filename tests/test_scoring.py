"""Score functions against formulas written with loops, in value, gradient and memory."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attn_utils.scoring
from attn_utils.scoring import (
    Additive,
    Cosine,
    DotProduct,
    General,
    LocationBased,
    ScaledDotProduct,
    _check_points,
)
from benchmarks.memory import extra_mb

MAKE = {
    "dot": lambda Eq, Ek, S: DotProduct(),
    "scaled": lambda Eq, Ek, S: ScaledDotProduct(),
    "cosine": lambda Eq, Ek, S: Cosine(),
    "general": lambda Eq, Ek, S: General(Eq, Ek),
    "additive": lambda Eq, Ek, S: Additive(Eq, Ek, 3),
    "location": lambda Eq, Ek, S: LocationBased(Eq, S + 2),
}
LEARNED = ("general", "additive", "location")
each_score = pytest.mark.parametrize("name", MAKE)


def formula(name, score, q, k, s):
    """The score of one query (Eq,) and the key (Ek,) in place s."""
    weights = {n: p.detach() for n, p in score.named_parameters()}
    dot = sum(a * b for a, b in zip(q.tolist(), k.tolist(), strict=False))
    if name == "dot":
        return dot
    if name == "scaled":
        return dot / math.sqrt(len(q))
    if name == "cosine":
        return dot / (math.hypot(*q.tolist()) * math.hypot(*k.tolist()))
    if name == "general":
        return torch.einsum("a,ab,b->", q, weights["k_proj.weight"], k).item()
    if name == "location":
        return torch.einsum("a,a->", weights["q_proj.weight"][s], q).item()
    hidden = weights["q_proj.weight"].mv(q) + weights["k_proj.weight"].mv(k)
    terms = zip(weights["out_proj.weight"][0].tolist(), hidden.tolist(), strict=True)
    return sum(w * math.tanh(x) for w, x in terms)


def draw(name, seed, L=3, S=5, Eq=4, Ek=6, batch=((), ()), dtype=torch.float64):
    """A score and a query (…, L, Eq) and key (…, S, Ek) for it."""
    torch.manual_seed(seed)
    Ek = Ek if name in LEARNED else Eq
    query = torch.randn(*batch[0], L, Eq, dtype=dtype)
    key = torch.randn(*batch[1], S, Ek, dtype=dtype)
    return MAKE[name](Eq, Ek, S).to(dtype), query, key


@each_score
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), L=st.integers(1, 4), S=st.integers(1, 5), Eq=st.integers(1, 5))
def test_equals_its_formula(name, seed, L, S, Eq):
    score, query, key = draw(name, seed, L, S, Eq, Ek=3)
    expected = [[formula(name, score, q, k, s) for s, k in enumerate(key)] for q in query]
    torch.testing.assert_close(score(query, key), torch.tensor(expected, dtype=torch.float64))


@each_score
@pytest.mark.parametrize(
    "batch", [((2,), (2,)), ((2, 3), (3,)), ((1,), (2,)), ((2, 1), (2, 3)), ((), (2,))]
)
def test_batch_dimensions_broadcast(name, batch):
    score, query, key = draw(name, 0, batch=batch)
    shape = torch.broadcast_shapes(*batch)
    got = score(query, key)
    assert got.shape == (*shape, 3, 5)
    queries = query.expand(*shape, -1, -1).flatten(0, -3)
    keys = key.expand(*shape, -1, -1).flatten(0, -3)
    for one, q, k in zip(got.flatten(0, -3), queries, keys, strict=True):
        torch.testing.assert_close(one, score(q, k))


@each_score
def test_float32(name):
    score, query, key = draw(name, 1)
    got = score.float()(query.float(), key.float())
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), score.double()(query, key), atol=1e-5, rtol=1e-5)


@each_score
def test_keys_prepared_once(name):
    score, query, key = draw(name, 2, batch=((2,), (2,)))
    prepared = score.prepare(key)
    for step in range(3):
        one = query[:, step : step + 1]
        torch.testing.assert_close(score.compare(one, prepared), score(one, key))


@each_score
def test_gradients(name):
    score, query, key = draw(name, 3)
    query.requires_grad_()
    key.requires_grad_(name != "location")
    assert torch.autograd.gradcheck(score, (query, key))
    score(query, key).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in score.parameters())


@each_score
def test_nothing_is_changed_in_place(name):
    score, query, key = draw(name, 4)
    before = query.clone(), key.clone()
    prepared = score.prepare(key)
    kept = prepared.clone()
    score.compare(query, prepared)
    assert torch.equal(query, before[0])
    assert torch.equal(key, before[1])
    assert torch.equal(prepared, kept)


@each_score
def test_compiles_and_maps(name):
    score, query, key = draw(name, 5, batch=((2,), (2,)))
    expected = score(query, key)
    compiled = torch.compile(score, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(query, key), expected)
    torch.testing.assert_close(torch.func.vmap(score)(query, key), expected)


def test_scaled_is_dot_over_root_of_features():
    query, key = torch.randn(3, 16), torch.randn(5, 16)
    torch.testing.assert_close(ScaledDotProduct()(query, key), DotProduct()(query, key) / 4)


def test_cosine_of_a_zero_vector_is_zero_with_finite_gradient():
    query = torch.zeros(1, 3, requires_grad=True)
    got = Cosine()(query, torch.ones(2, 3))
    assert got.tolist() == [[0, 0]]
    got.sum().backward()
    assert query.grad.isfinite().all()


def test_cosine_ignores_lengths():
    query, key = torch.randn(3, 4), torch.randn(5, 4)
    scale = torch.rand(5, 1) + 0.1
    torch.testing.assert_close(Cosine()(7 * query, scale * key), Cosine()(query, key))


def test_location_based_takes_as_many_keys_as_places():
    score = LocationBased(3, 4)
    query = torch.randn(2, 3)
    torch.testing.assert_close(score(query, torch.zeros(4, 6)), score.q_proj(query))


def test_location_based_does_not_read_the_keys():
    score, query, key = draw("location", 6)
    assert torch.equal(score(query, key), score(query, torch.randn_like(key)))


@pytest.mark.parametrize("limit", [1, 40, 100])
def test_additive_in_parts(monkeypatch, limit):
    score, query, key = draw("additive", 7, L=5, batch=((2,), (2,)))
    query.requires_grad_()
    key.requires_grad_()
    wanted = [query, key, *score.parameters()]
    whole = score(query, key)
    gradients = torch.autograd.grad(whole.square().sum(), wanted)
    monkeypatch.setattr("attn_utils.scoring._CHUNK", limit)
    parts = score(query, key)
    torch.testing.assert_close(parts, whole)
    for got, expected in zip(
        torch.autograd.grad(parts.square().sum(), wanted), gradients, strict=True
    ):
        torch.testing.assert_close(got, expected)


def test_additive_in_parts_under_functional_call(monkeypatch):
    score, query, key = draw("additive", 8, L=5)
    others = {name: torch.randn_like(p).requires_grad_() for name, p in score.named_parameters()}
    wanted = list(others.values())

    def gradients():
        got = torch.func.functional_call(score, others, (query, key))
        return torch.autograd.grad(got.square().sum(), wanted)

    whole = gradients()
    monkeypatch.setattr("attn_utils.scoring._CHUNK", 20)
    for got, expected in zip(gradients(), whole, strict=True):
        torch.testing.assert_close(got, expected)


@each_score
def test_no_queries(name):
    score, query, key = draw(name, 11, L=0, batch=((2,), (2,)))
    assert score(query, key).shape == (2, 0, 5)


@each_score
def test_an_empty_batch(name):
    score, query, key = draw(name, 9, batch=((0,), (0,)))
    assert score(query, key).shape == (0, 3, 5)


@pytest.mark.parametrize(("limit", "rows"), [(2 * 4 * 3 * 2, 2), (1, 1)])
def test_additive_holds_no_more_than_a_part(monkeypatch, limit, rows):
    score, query, key = draw("additive", 10, L=6, S=4, batch=((2,), (2,)))
    monkeypatch.setattr("attn_utils.scoring._CHUNK", limit)
    seen = []
    real = attn_utils.scoring._meet
    monkeypatch.setattr(
        "attn_utils.scoring._meet", lambda q, k, w: seen.append((q + k).shape) or real(q, k, w)
    )
    score(query, key)
    assert seen == [(2, rows, 4, 3)] * (6 // rows)


Q, K = torch.zeros(2, 3), torch.zeros(4, 3)

MEMORY = """
import sys, torch
from attn_utils.scoring import Additive
from benchmarks.memory import peak_mb
score = Additive(64, 64, 256)
def plain(query, key):
    hidden = score.q_proj(query)[:, :, None] + score.k_proj(key)[:, None]
    return score.out_proj(torch.tanh(hidden))[..., 0]
run = plain if sys.argv[1] == "plain" else score
run(torch.randn(1, 2, 64), torch.randn(1, 2, 64)).sum().backward()
query, key = torch.randn(1, 512, 64), torch.randn(1, 512, 64)
before = peak_mb()
run(query, key).sum().backward()
print(peak_mb() - before)
"""


def test_additive_needs_a_quarter_of_the_plain_memory():
    plain = extra_mb(MEMORY, "plain")
    assert plain > 250, "512 · 512 · 256 numbers take 268 MB"
    assert extra_mb(MEMORY, "ours") < plain / 4


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: DotProduct()(torch.zeros(2, 3), torch.zeros(4, 5)), ValueError, r"\(2, 3\) as of key \(4, 5\)"),
        (lambda: Cosine()(torch.zeros(2, 3), torch.zeros(4, 5)), ValueError, "Cosine needs"),
        (lambda: General(3, 5)(torch.zeros(2, 4), torch.zeros(4, 5)), ValueError, r"query must have 3 .*\(2, 4\)"),
        (lambda: Additive(3, 5, 2)(torch.zeros(2, 3), torch.zeros(4, 6)), ValueError, r"key must have 5 .*\(4, 6\)"),
        (lambda: LocationBased(3, 2)(torch.zeros(2, 3), torch.zeros(4, 6)), ValueError, "4 keys but .* 2 places"),
        (lambda: DotProduct()(torch.zeros(2, 3).long(), torch.zeros(4, 3)), TypeError, "floating, got torch.int64"),
        (lambda: DotProduct()(torch.zeros(2, 3), torch.zeros(4, 3).double()), TypeError, "float32 but key is"),
        (lambda: DotProduct()(torch.zeros(2, 3), torch.zeros(0, 3)), ValueError, r"no keys.*\(0, 3\)"),
        (lambda: DotProduct()(torch.zeros(3), torch.zeros(4, 3)), ValueError, r"needs 2 dim.*\(3,\)"),
        (lambda: DotProduct()(torch.zeros(2, 1, 3), torch.zeros(5, 4, 3)), ValueError, r"broadcast.*\(2, 1, 3\)"),
        (lambda: DotProduct()(torch.zeros(2, 0), torch.zeros(4, 0)), ValueError, r"query has no features: \(2, 0\)"),
        (lambda: DotProduct()(torch.zeros(3, 2, 0), torch.zeros(3, 4, 0)), ValueError, r"no features: \(3, 2, 0\)"),
        (lambda: LocationBased(3, 9)(torch.zeros(2, 3), K[:, :0]), ValueError, r"key has no features: \(4, 0\)"),
        (lambda: _check_points(query=Q, key=K, value=torch.zeros(5, 1)), ValueError, r"one value: .* value \(5, 1\)"),
        (lambda: _check_points(query=Q, key=K, value=torch.zeros(4, 1).half()), TypeError, "value is torch.float16"),
        (lambda: _check_points(query=Q, key=K, value=torch.zeros(4)), ValueError, r"needs 2 dim.* value \(4,\)"),
        (lambda: _check_points(query=Q, key=K, value=torch.zeros(3, 4, 1).long()), TypeError, "value must be floating"),
    ],
)  # fmt: skip
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_points_that_fit():
    _check_points(query=Q, key=K, value=torch.zeros(4, 0))
    _check_points(query=Q[:0], key=K.expand(5, 4, 3), value=torch.zeros(2, 1, 4, 7))
