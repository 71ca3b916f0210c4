"""Masks and the masked softmax, against plain loops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attn_utils.masking import (
    Dropout,
    _check_tokens,
    _source_mask,
    causal_mask,
    masked_softmax,
    padding_mask,
)


def softmax_by_loops(scores, mask):
    """Rows of exp(score) over the permitted keys, divided by their sum."""
    weights = torch.zeros_like(scores)
    for index in torch.cartesian_prod(*[torch.arange(n) for n in scores.shape[:-1]]).reshape(
        -1, scores.ndim - 1
    ):
        row, allowed = scores[tuple(index)], mask[tuple(index)]
        heights = [math.exp(s) if a else 0.0 for s, a in zip(row, allowed, strict=True)]
        total = sum(heights)
        if total:
            weights[tuple(index)] = torch.tensor([h / total for h in heights])
    return weights


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), B=st.integers(1, 3), L=st.integers(1, 4), S=st.integers(1, 5))
def test_equals_loops(seed, B, L, S):
    g = torch.Generator().manual_seed(seed)
    scores = torch.randn(B, L, S, generator=g, dtype=torch.float64)
    mask = torch.rand(B, L, S, generator=g) < 0.6
    torch.testing.assert_close(masked_softmax(scores, mask), softmax_by_loops(scores, mask))


@pytest.mark.parametrize("shape", [(3, 5), (1, 5), (2, 1, 5), (1, 1, 5), (2, 3, 1), (5,), (1,)])
def test_mask_broadcasts(shape):
    g = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 5, generator=g)
    mask = torch.rand(shape, generator=g) < 0.5
    expected = softmax_by_loops(scores, mask.expand(2, 3, 5))
    torch.testing.assert_close(masked_softmax(scores, mask), expected)


def test_no_mask_is_softmax():
    scores = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(masked_softmax(scores), scores.softmax(dim=-1))


def test_true_means_may_attend():
    weights = masked_softmax(torch.zeros(1, 3), torch.tensor([True, False, True]))
    torch.testing.assert_close(weights, torch.tensor([[0.5, 0.0, 0.5]]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_fully_masked_rows_are_zero_with_zero_gradient(dtype):
    scores = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=dtype, requires_grad=True)
    weights = masked_softmax(scores, torch.tensor([[False, False], [True, True]]))
    assert weights.dtype == dtype
    assert weights[0].tolist() == [0, 0]
    weights.square().sum().backward()
    assert scores.grad[0].tolist() == [0, 0]
    assert scores.grad[1].abs().min() > 0


def test_gradients():
    scores = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True, False, True, True], [False] * 4, [False, True, False, False]])
    assert torch.autograd.gradcheck(lambda s: masked_softmax(s, mask), scores.requires_grad_())


def test_large_scores_and_infinite_scores_at_masked_places():
    scores = torch.tensor([[1e4, -1e4, 1e38], [-math.inf, 0.0, 1.0]])
    weights = masked_softmax(scores, torch.tensor([[True, True, False], [False, True, True]]))
    assert weights[0].tolist() == [1, 0, 0]
    torch.testing.assert_close(weights[1, 1:], torch.tensor([0.0, 1.0]).softmax(dim=0))


def test_rows_of_minus_infinity_are_fully_masked():
    scores = torch.tensor([[-math.inf, -math.inf], [0.0, -math.inf]], requires_grad=True)
    weights = masked_softmax(scores)
    assert weights.tolist() == [[0, 0], [1, 0]]
    weights.square().sum().backward()
    assert scores.grad.tolist() == [[0, 0], [0, 0]]


def test_garbage_at_masked_places_stays_there():
    scores = torch.tensor([[math.nan, math.inf], [1.0, math.nan]], requires_grad=True)
    weights = masked_softmax(scores, torch.tensor([[False, False], [True, False]]))
    assert weights.tolist() == [[0, 0], [1, 0]]
    weights.square().sum().backward()
    assert scores.grad.tolist() == [[0, 0], [0, 0]]


def test_nothing_is_changed_in_place():
    scores, mask = torch.randn(3, 4), torch.rand(3, 4) < 0.5
    before = scores.clone(), mask.clone()
    masked_softmax(scores, mask)
    assert torch.equal(scores, before[0])
    assert torch.equal(mask, before[1])


def test_padding_mask():
    mask = padding_mask(torch.tensor([2, 0, 3]), 3)
    assert mask.shape == (3, 1, 3)
    assert mask[:, 0].tolist() == [[True, True, False], [False] * 3, [True] * 3]
    weights = masked_softmax(torch.zeros(3, 2, 3), mask)
    assert weights[1].abs().max() == 0
    torch.testing.assert_close(weights[0], torch.tensor([[0.5, 0.5, 0.0]] * 2))


def test_causal_mask():
    mask = causal_mask(3)
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[True, False, False], [True, True, False], [True, True, True]]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: masked_softmax(torch.zeros(2, 3), torch.ones(3)), TypeError, "True = may attend; got torch.float32"),
        (lambda: masked_softmax(torch.zeros(2, 3), [True]), TypeError, "True = may attend; got list"),
        (lambda: masked_softmax(torch.zeros(2, 3, dtype=torch.long)), TypeError, "torch.int64"),
        (lambda: masked_softmax(torch.zeros(2, 0)), ValueError, r"no keys.*\(2, 0\)"),
        (lambda: masked_softmax(torch.zeros(2, 3, 0)), ValueError, r"no keys.*\(2, 3, 0\)"),
        (lambda: masked_softmax(torch.tensor(1.0)), ValueError, r"no keys.*\(\)"),
        (lambda: masked_softmax(torch.zeros(2, 3), torch.zeros(2, 4) > 0), ValueError, r"\(2, 4\).*\(2, 3\)"),
        (lambda: masked_softmax(torch.zeros(2, 3), torch.zeros(4, 2, 3) > 0), ValueError, r"\(4, 2, 3\)"),
        (lambda: padding_mask(torch.tensor([1.0]), 3), TypeError, "torch.float32"),
        (lambda: padding_mask(torch.tensor([[1]]), 3), ValueError, r"\(1, 1\)"),
        (lambda: padding_mask(torch.tensor([1, 4]), 3), ValueError, r"from 0 to 3, got \[1, 4\]"),
    ],
)  # fmt: skip
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_masks_live_where_they_should():
    with torch.device("meta"):  # the default, for a mask that does not look
        assert padding_mask(torch.tensor([1], device="cpu"), 3).device.type == "cpu"
    assert causal_mask(3, device="meta").device.type == "meta"


def test_compiles_and_maps_with_a_row_that_sees_nothing():
    scores = torch.tensor([[-math.inf, -math.inf], [0.0, 0.0]])
    expected = torch.tensor([[0, 0], [0.5, 0.5]])
    compiled = torch.compile(masked_softmax, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(scores), expected)
    torch.testing.assert_close(torch.func.vmap(masked_softmax)(scores), expected)


def test_there_may_be_no_queries():
    assert masked_softmax(torch.zeros(2, 0, 3)).shape == (2, 0, 3)


@pytest.mark.parametrize("tokens", [[[0]], [[4]], [[0, 4], [1, 2]]])
def test_tokens(tokens):
    for dtype in (torch.int32, torch.int64):
        _check_tokens("src", torch.tensor(tokens, dtype=dtype), 5)


@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        (torch.zeros(1, 2), TypeError, "src must hold token ids .*torch.float32"),
        (torch.zeros(2).long(), ValueError, r"src must be .*\(2,\)"),
        (torch.zeros(1, 1, 2).long(), ValueError, r"src must be .*\(1, 1, 2\)"),
        (torch.zeros(2, 0).long(), ValueError, r"not empty, got \(2, 0\)"),
        (torch.tensor([[-1, 4]]), ValueError, "from -1 to 4, the vocabulary 5"),
        (torch.tensor([[0, 5]]), ValueError, "from 0 to 5, the vocabulary 5"),
    ],
)
def test_bad_tokens(tokens, error, message):
    with pytest.raises(error, match=message):
        _check_tokens("src", tokens, 5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_padding_mask_of_small_integers(dtype):
    mask = padding_mask(torch.tensor([0, 100], dtype=dtype), 300)
    assert mask.sum(dim=-1).flatten().tolist() == [0, 100]


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9])
def test_dropout_drops_that_share(p):
    """As many zeros as p asks for, no more than chance away; what stays is scaled, so the mean stays."""
    torch.manual_seed(0)
    n = 10**6
    y = Dropout(p)(torch.full((n // 8, 8), 3.0))
    dropped = (y == 0).float().mean().item()
    assert abs(dropped - p) < 5 * math.sqrt(p * (1 - p) / n) + 2**-16
    assert y.unique().tolist() == pytest.approx([0, 3 / (1 - p)])
    # Neighbours, in both directions, are drawn apart: two zeros together are as rare as p².
    zero = (y == 0).float()
    for a, b in ((zero[1:], zero[:-1]), (zero[:, 1:], zero[:, :-1]), (zero[4:], zero[:-4])):
        assert abs((a * b).mean().item() - p * p) < 6 * math.sqrt(p * p / n) + 1e-4


@pytest.mark.parametrize("p", [0.0, 1e-7, 1 - 1e-7, 1.0])
def test_dropout_at_its_ends(p):
    x = torch.ones(1001)
    assert Dropout(p)(x).count_nonzero() == (1001 if p < 0.5 else 0)
    assert torch.equal(Dropout(p).eval()(x), x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (5,), (2, 3, 7)])
def test_dropout_keeps_shape_and_dtype(shape, dtype):
    x = torch.ones(shape, dtype=dtype, requires_grad=True)
    torch.manual_seed(0)
    y = Dropout(0.5)(x)
    assert (y.shape, y.dtype) == (x.shape, dtype)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())  # of ones, the output is the factor
    torch.manual_seed(0)
    assert torch.equal(Dropout(0.5)(x), y)


def test_dropout_draws_sixteen_bits_for_a_number():
    """What makes it quick on a CPU: four numbers share one draw of 64 bits."""
    torch.manual_seed(0)
    Dropout(0.1)(torch.ones(1000))
    after = torch.rand(())
    torch.manual_seed(0)
    torch.empty(251, dtype=torch.int64).random_(-(2**63), None)
    assert torch.rand(()) == after


@pytest.mark.parametrize(
    ("lens", "said"), [([[1], [2]], r"src_lens \(2, 1\) do not fit src \(2, 3\)"), ([4, 1], "4")]
)
def test_source_mask_wants_a_length_for_each_sentence(lens, said):
    src = torch.ones(2, 3, dtype=torch.int64)
    assert _source_mask(src, torch.tensor([3, 1]), 2).sum(dim=-1).tolist() == [[3], [1]]
    with pytest.raises(ValueError, match=said):
        _source_mask(src, torch.tensor(lens), 2)
    with pytest.raises(ValueError, match="src holds ids from 1 to 1, the vocabulary 1"):
        _source_mask(src, torch.tensor([3, 1]), 1)


def test_dropout_refuses_what_is_no_probability():
    with pytest.raises(ValueError, match="1.5"):
        Dropout(1.5)
