"""Kernels and pooling against statsmodels, plain numpy loops, limits, symmetries and derivatives."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.nonparametric.kernel_regression import KernelReg
from torch.autograd import gradcheck
from torch.testing import assert_close

from attn_utils.kernels import (
    KERNELS,
    _default_widths,
    _fused_dtype,
    choose_width,
    gaussian,
    knn_widths,
    leave_one_out_error,
    local_widths,
    nadaraya_watson,
)
from benchmarks.memory import extra_mb

COMPACT = ["boxcar", "epanechnikov", "triangular"]
each_kernel = pytest.mark.parametrize("kernel", KERNELS)
both_paths = pytest.mark.parametrize("need_weights", [True, False], ids=["explicit", "lean"])


def draw(seed, L=5, S=7, d=2, v=3, dtype=torch.float64):
    """Random queries (L, d), keys (S, d), values (S, v); d or v None drops that dimension."""
    g = torch.Generator().manual_seed(seed)

    def points(n, width):
        return torch.rand((n,) if width is None else (n, width), generator=g, dtype=dtype)

    return points(L, d), points(S, d), points(S, v)


def closeness_by_hand(kernel, u):
    """The five kernels once more, for one number."""
    return {
        "gaussian": math.exp(-u * u / 2) / math.sqrt(2 * math.pi),
        "boxcar": 0.5 if abs(u) < 1 else 0.0,
        "epanechnikov": 0.75 * (1 - u * u) if abs(u) < 1 else 0.0,
        "triangular": 1 - abs(u) if abs(u) < 1 else 0.0,
        "constant": 1.0,
    }[kernel]


def weights_by_loops(query, key, kernel, width_of):
    """Weights (L, S) from python loops over numpy rows; width_of(l, s) is the width of a pair."""
    query, key = (np.asarray(t).reshape(len(t), -1) for t in (query, key))
    weights = np.zeros((len(query), len(key)))
    for i, q in enumerate(query):
        distances = [math.sqrt(sum((a - b) ** 2 for a, b in zip(q, k, strict=True))) for k in key]
        row = [closeness_by_hand(kernel, x / width_of(i, s)) for s, x in enumerate(distances)]
        if sum(row) == 0:
            row = [float(x == min(distances)) for x in distances]
        weights[i] = np.array(row) / sum(row)
    return torch.from_numpy(weights)


# ---- Kernels --------------------------------------------------------------------------------------


@each_kernel
def test_kernel_values(kernel):
    u = torch.tensor([-1.5, -1.0, -0.5, 0.0, 0.3, 0.999, 1.0, 2.5], dtype=torch.float64)
    expected = [closeness_by_hand(kernel, x) for x in u.tolist()]
    assert_close(KERNELS[kernel](u), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("kernel", [k for k in KERNELS if k != "constant"])
def test_kernels_are_symmetric_densities(kernel):
    u = torch.linspace(-12, 12, 240_001, dtype=torch.float64)
    height = KERNELS[kernel](u)
    assert torch.equal(height, height.flip(0))
    assert (height >= 0).all()
    assert torch.trapezoid(height, u).item() == pytest.approx(1, abs=1e-4)


# ---- Pooling against something independent --------------------------------------------------------


@pytest.mark.parametrize("width", [0.1, 0.4, 2.0])
def test_equals_statsmodels(width):
    query, key, value = draw(0, L=9, S=30, d=None, v=None)
    reference = KernelReg(value.numpy(), key.numpy(), "c", reg_type="lc", bw=[width])
    expected, _ = reference.fit(query.numpy())
    estimate, _ = nadaraya_watson(query, key, value, width=width)
    assert_close(estimate, torch.from_numpy(expected))


@both_paths
@each_kernel
@pytest.mark.parametrize("form", ["number", "per key", "per query"])
@pytest.mark.parametrize("d", [None, 1, 3])
def test_equals_loops(kernel, form, d, need_weights):
    query, key, value = draw(1, d=d)
    g = torch.Generator().manual_seed(2)
    width, width_of = {
        "number": (0.4, lambda i, s: 0.4),
        "per key": (h := 0.2 + torch.rand(7, generator=g, dtype=torch.float64), lambda i, s: h[s].item()),
        "per query": (w := 0.2 + torch.rand(5, 1, generator=g, dtype=torch.float64), lambda i, s: w[i].item()),
    }[form]  # fmt: skip
    expected = weights_by_loops(query, key, kernel, width_of)
    estimate, weights = nadaraya_watson(query, key, value, kernel, width, need_weights=need_weights)
    assert_close(estimate, expected @ value)
    if need_weights:
        assert_close(weights, expected)
    else:
        assert weights is None


def test_shapes_follow_the_values():
    query, key, value = draw(3, d=None, v=None)
    assert nadaraya_watson(query, key, value)[0].shape == (5,)
    assert nadaraya_watson(query, key, value[:, None])[0].shape == (5, 1)
    assert nadaraya_watson(query, key, value, need_weights=False)[0].shape == (5,)
    assert nadaraya_watson(query[:0], key, value)[0].shape == (0,)
    assert nadaraya_watson(query[:0], key, value, need_weights=False)[0].shape == (0,)


def test_a_function_may_be_the_kernel():
    query, key, value = draw(4, d=None, v=None)
    named, _ = nadaraya_watson(query, key, value, "triangular", 0.5)
    given_, _ = nadaraya_watson(query, key, value, lambda u: 7 * (1 - u).clamp(min=0), 0.5)
    assert_close(given_, named)


# ---- Properties -----------------------------------------------------------------------------------

cases = given(
    seed=st.integers(0, 2**31),
    kernel=st.sampled_from(list(KERNELS)),
    width=st.floats(0.01, 10),
    d=st.integers(1, 3),
)


@settings(max_examples=60, deadline=None)
@cases
def test_weights_average_the_values(seed, kernel, width, d):
    query, key, value = draw(seed, d=d)
    estimate, weights = nadaraya_watson(query, key, value, kernel, width)
    assert (weights >= 0).all()
    assert_close(weights.sum(dim=1), torch.ones(5, dtype=torch.float64))
    assert (estimate <= value.amax(dim=0) + 1e-12).all()
    assert (estimate >= value.amin(dim=0) - 1e-12).all()


@settings(max_examples=60, deadline=None)
@cases
def test_place_and_unit_of_the_keys_do_not_matter(seed, kernel, width, d):
    query, key, value = draw(seed, d=d)
    # Multiples of 1/4: shifting and scaling them is exact, so no key crosses an edge by rounding.
    query, key, width = (query * 8).round() / 4, (key * 8).round() / 4, round(width * 8) / 8 + 0.125
    expected, _ = nadaraya_watson(query, key, value, kernel, width)
    moved, _ = nadaraya_watson(query + 1024, key + 1024, value, kernel, width)
    scaled, _ = nadaraya_watson(4 * query, 4 * key, value, kernel, 4 * width)
    assert_close(moved, expected)
    assert_close(scaled, expected)


@settings(max_examples=60, deadline=None)
@cases
def test_order_of_the_keys_does_not_matter(seed, kernel, width, d):
    query, key, value = draw(seed, d=d)
    query, key = (query * 3).round(), (key * 3).round()  # ties, so that nearest keys share
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
    expected, weights = nadaraya_watson(query, key, value, kernel, width)
    estimate, reordered = nadaraya_watson(query, key[order], value[order], kernel, width)
    assert_close(estimate, expected)
    assert_close(reordered, weights[:, order])


@pytest.mark.parametrize("kernel", ["gaussian", *COMPACT])
@pytest.mark.parametrize("width", [1e-3, 1e-10, 1e-30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_narrow_is_the_nearest_neighbour(kernel, width, dtype):
    key = torch.tensor([0.0, 1.0, 1.0, 3.0, 5.0], dtype=dtype)
    value = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0], dtype=dtype)
    query = torch.tensor([0.2, 1.25, 4.0, 1000.0], dtype=dtype)
    expected = torch.tensor([1.0, 3.0, 12.0, 16.0], dtype=dtype)  # equally near keys share
    for need_weights in (True, False):
        estimate, _ = nadaraya_watson(query, key, value, kernel, width, need_weights=need_weights)
        assert_close(estimate, expected)


@each_kernel
@both_paths
def test_wide_is_the_mean(kernel, need_weights):
    query, key, value = draw(5)
    estimate, _ = nadaraya_watson(query, key, value, kernel, 1e6, need_weights=need_weights)
    assert_close(estimate, value.mean(dim=0).expand(5, 3))


def test_no_underflow_where_every_weight_would_be_zero():
    key = torch.tensor([0.0, 1.0, 1.5])
    query = torch.tensor([1000.0])
    _, weights = nadaraya_watson(query, key, key, width=1.0)
    # Ratios of the Gaussian, worked out in log space: exp(-(u² - 998.5²)/2)
    assert_close(weights, torch.tensor([[0.0, 0.0, 1.0]]))
    _, weights = nadaraya_watson(query, key, key, width=50.0)
    log = -(((1000 - key.double()) / 50) ** 2) / 2
    assert_close(weights.double(), log.softmax(dim=0)[None], atol=1e-6, rtol=1e-4)


# ---- Without the matrix ---------------------------------------------------------------------------


@each_kernel
@pytest.mark.parametrize("width", [1e-6, 0.01, 0.3, 1e6])
@pytest.mark.parametrize(
    ("dtype", "offset"), [(torch.float32, 0.0), (torch.float32, 1e3), (torch.float64, 1e6)]
)
@pytest.mark.parametrize("d", [None, 3])
def test_lean_equals_explicit(kernel, width, dtype, offset, d):
    query, key, value = draw(6, L=11, S=50, d=d, dtype=dtype)
    query, key = query + offset, key + offset
    expected, _ = nadaraya_watson(query, key, value, kernel, width)
    estimate, none = nadaraya_watson(query, key, value, kernel, width, need_weights=False)
    assert none is None
    assert_close(estimate, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("width", [0.3, 0.03, 0.003, 0.0003])
def test_lean_keeps_five_digits_in_float32(width):
    """The fused call subtracts numbers as large as (range / width)²; it must notice what that costs."""
    g = torch.Generator().manual_seed(0)
    key, value = torch.rand(2_000, generator=g), torch.randn(2_000, generator=g)
    query = torch.linspace(0, 1, 50)
    expected, _ = nadaraya_watson(query.double(), key.double(), value.double(), width=width)
    estimate, _ = nadaraya_watson(query, key, value, width=width, need_weights=False)
    # A query's float32 rounding moves the estimate a little at narrow widths; the lost digits far more.
    explicit, _ = nadaraya_watson(query, key, value, width=width)
    slack = 1e-5 + 2 * (explicit - expected).abs().max().item()
    assert_close(estimate.double(), expected, atol=slack, rtol=0)


SINGLE, DOUBLE = torch.float32, torch.float64


@pytest.mark.parametrize(
    ("query", "key", "values", "width", "expected"),
    [
        (0.0, SINGLE, (5, 1), 0.2, SINGLE),  # radius / width is 5
        (0.0, SINGLE, (5, 1), 0.1, DOUBLE),  # 10: its square costs more than two of seven digits
        (0.0, SINGLE, (5, 1), 1e-4, DOUBLE),
        (0.0, SINGLE, (5, 1), 1e-6, None),
        (0.0, DOUBLE, (5, 1), 1e-4, DOUBLE),
        (0.0, DOUBLE, (5, 1), 1e-6, None),
        (3.0, SINGLE, (5, 1), 1.0, SINGLE),
        (9.0, SINGLE, (5, 1), 1.0, DOUBLE),
        (0.0, SINGLE, (5, 1), [[1.0], [0.1]], DOUBLE),
        (0.0, SINGLE, (5, 1), [1.0] * 5, None),
        (0.0, SINGLE, (7_000, 1), 1.0, SINGLE),
        (0.0, SINGLE, (6_000, 2), 1.0, SINGLE),
        (0.0, SINGLE, (7_000, 2), 1.0, DOUBLE),  # rounding errors of many keys add up
        (0.0, SINGLE, (7_000, 1), [[1.0], [1.0]], DOUBLE),
    ],
)
def test_the_precision_of_the_fused_call(query, key, values, width, expected):
    query, key = torch.full((2, 1), query, dtype=key), torch.linspace(-1, 1, values[0], dtype=key)
    arguments = key[:, None], torch.zeros(values, dtype=key.dtype)
    width = torch.tensor(width, dtype=key.dtype)
    assert _fused_dtype(query, *arguments, width) == expected
    assert _fused_dtype(query[:0], *arguments, width) is None


def test_chunks_cover_every_query(monkeypatch):
    query, key, value = draw(7, L=23, S=10)
    monkeypatch.setattr("attn_utils.kernels._CHUNK", 40)  # 4 queries a chunk; 23 is no multiple
    width = 0.1 + torch.rand(23, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected, _ = nadaraya_watson(query, key, value, "triangular", width)
    estimate, _ = nadaraya_watson(query, key, value, "triangular", width, need_weights=False)
    assert_close(estimate, expected)


PEAK = """
import sys, torch
from attn_utils.kernels import nadaraya_watson
from benchmarks.memory import peak_mb
g = torch.Generator().manual_seed(0)
key, query = 5 * torch.rand(100_000, generator=g), torch.linspace(0, 5, 1_000)
value = torch.stack([key.sin(), key.cos()]).T  # not contiguous
case, lean = sys.argv[1], {"width": 0.5, "need_weights": False}
if case == "one value":
    value = value[:, 0]
if "backward" in case:
    key.requires_grad_()
if case == "width per key":
    lean["width"] = torch.full((100_000,), 0.5)
if "triangular" in case:
    lean["kernel"] = "triangular"
if case in ("width per key", "backward") or "triangular" in case:
    query = query[::5]
few = {**lean, "width": lean["width"][:99] if case == "width per key" else 0.5}
few, _ = nadaraya_watson(query[:9], key[:99], value[:99], **few)  # imports, first-call costs
if "backward" in case:
    few.sum().backward()
before = peak_mb()
estimate, _ = nadaraya_watson(query, key, value, **lean)
if "backward" in case:
    estimate.sum().backward()
print(peak_mb() - before)
lean.pop("need_weights")
if isinstance(lean["width"], torch.Tensor):
    lean["width"] = lean["width"].double()
dense, _ = nadaraya_watson(query[::50].double(), key.double(), value.double(), **lean)
torch.testing.assert_close(estimate[::50].double(), dense, atol=1e-5, rtol=1e-5)
"""


@pytest.mark.parametrize(
    "case",
    ["one value", "two values", "width per key", "triangular", "backward", "triangular backward"],
)
def test_memory_does_not_hold_the_matrix(case):
    """The matrix alone would be 400 MB, or 80. And float32 keeps five digits over so many keys."""
    assert extra_mb(PEAK, case) < 30


# ---- Derivatives ----------------------------------------------------------------------------------


@both_paths
@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov", "triangular"])
@pytest.mark.parametrize("shape", [(), (4,), (3, 1)])
@pytest.mark.parametrize("d", [None, 2])
def test_gradients(kernel, shape, d, need_weights):
    query, key, value = draw(8, L=3, S=4, d=d, v=2)
    g = torch.Generator().manual_seed(9)
    width = 1.5 + torch.rand(shape, generator=g, dtype=torch.float64)  # everybody is in reach

    def pool(query, key, value, width):
        return nadaraya_watson(query, key, value, kernel, width, need_weights=need_weights)[0]

    assert gradcheck(pool, [t.requires_grad_() for t in (query, key, value, width)])


@pytest.mark.parametrize("shape", [(), (6,), (6, 1)])
def test_gradient_of_leave_one_out(shape):
    _, key, value = draw(10, S=6)
    width = 0.5 + torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    arguments = [t.requires_grad_() for t in (key, value, width)]
    assert gradcheck(lambda k, v, w: leave_one_out_error(k, v, width=w), arguments)


@each_kernel
@both_paths
@pytest.mark.parametrize("d", [None, 2])
def test_gradients_are_finite_where_points_coincide_or_are_alone(kernel, need_weights, d):
    shape = (3,) if d is None else (3, d)
    key = torch.zeros(shape).requires_grad_()
    query = torch.stack([torch.zeros(shape[1:]), torch.full(shape[1:], 9.0)]).requires_grad_()
    width = torch.tensor(0.5, requires_grad=True)
    value = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    estimate, _ = nadaraya_watson(query, key, value, kernel, width, need_weights=need_weights)
    estimate.sum().backward()
    for t in (query, key, value, width):
        assert t.grad is None or torch.isfinite(t.grad).all()
    assert_close(value.grad, torch.full((3,), 2 / 3))


@both_paths
@each_kernel
@pytest.mark.parametrize("width", [1e-30, 1e-12, 1e-3])
@pytest.mark.parametrize("shape", [(), (3,), (2, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_at_any_width(kernel, width, shape, dtype, need_weights):
    key, value = torch.tensor([[0.0, 1.0, 1.5], [1.0, 2.0, 3.0]], dtype=dtype)
    query = torch.tensor([0.0, 9.0], dtype=dtype)  # on a key, and far from all
    inputs = [query, key, value, torch.full(shape, width, dtype=dtype)]
    for t in inputs:
        t.requires_grad_()
    query, key, value, width = inputs
    estimate, _ = nadaraya_watson(query, key, value, kernel, width, need_weights=need_weights)
    if kernel != "constant":
        assert estimate.tolist() == [1, 3]
    estimate.sum().backward()
    assert all(t.grad is None or torch.isfinite(t.grad).all() for t in inputs)


# ---- Empty neighbourhoods -------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", COMPACT)
def test_empty(kernel):
    key, value = torch.tensor([0.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 4.0])
    query = torch.tensor([0.1, 1.0, 2.0])  # the middle one reaches nobody, and two keys are as near
    arguments = (query, key, value, kernel, 0.5)
    assert_close(nadaraya_watson(*arguments)[0], torch.tensor([1.0, 1.5, 2.0]))
    estimate, weights = nadaraya_watson(*arguments, empty="nan")
    assert estimate.isnan().tolist() == weights.isnan().any(dim=1).tolist() == [False, True, False]
    for need_weights in (True, False):
        with pytest.raises(ValueError, match=r"^1 of 3 queries.* is 1 away, .*0\.5"):
            nadaraya_watson(*arguments, empty="raise", need_weights=need_weights)


@pytest.mark.parametrize("width", [0.5, torch.full((3,), 0.5), torch.full((9, 1), 0.5)])
def test_the_error_counts_over_all_chunks(monkeypatch, width):
    monkeypatch.setattr("attn_utils.kernels._CHUNK", 6)  # 2 queries a chunk
    key, query = torch.tensor([0.0, 2.0, 3.0]), torch.arange(-4.0, 5.0)
    message = r"^6 of 9 queries have no key in reach; .* first is 4 away, .* up to 0\.5$"
    for need_weights in (True, False):
        with pytest.raises(ValueError, match=message):
            nadaraya_watson(query, key, key, "boxcar", width, "raise", need_weights)


@both_paths
def test_queries_without_an_answer_leave_no_nan_in_the_gradient(need_weights):
    value = torch.tensor([1.0, 2.0], requires_grad=True)
    key, query = torch.tensor([0.0, 0.1]), torch.tensor([0.0, 9.0])
    estimate, _ = nadaraya_watson(query, key, value, "boxcar", 1.0, "nan", need_weights)
    estimate[~estimate.isnan()].sum().backward()
    assert_close(value.grad, torch.tensor([0.5, 0.5]))


def test_a_function_that_underflows_counts_as_empty():
    key, value = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0])
    estimate, _ = nadaraya_watson(torch.tensor([0.4]), key, value, lambda u: torch.exp(-u), 1e-6)
    assert_close(estimate, torch.tensor([1.0]))


# ---- Choosing and adapting the width --------------------------------------------------------------


@each_kernel
@pytest.mark.parametrize("width", [0.02, 0.3, 3.0])
def test_leave_one_out_leaves_each_one_out(kernel, width):
    _, key, value = draw(11, S=9)
    errors = []
    for s in range(9):
        rest = torch.arange(9) != s
        estimate, _ = nadaraya_watson(key[s : s + 1], key[rest], value[rest], kernel, width)
        errors.append((estimate - value[s]).square())
    assert_close(leave_one_out_error(key, value, kernel, width), torch.cat(errors).mean())


def test_leave_one_out_with_a_width_for_each():
    _, key, value = draw(12, S=6, d=None, v=None)
    widths = 0.1 + torch.rand(6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for form in (widths, widths[:, None]):
        errors = []
        for s in range(6):
            rest = torch.arange(6) != s
            width = widths[rest] if form.ndim == 1 else widths[s].item()
            estimate, _ = nadaraya_watson(key[s : s + 1], key[rest], value[rest], width=width)
            errors.append((estimate - value[s]).square())
        assert_close(leave_one_out_error(key, value, width=form), torch.cat(errors).mean())


def test_choose_width_takes_the_smallest_error():
    _, key, value = draw(13, S=25, d=None, v=None)
    widths = [2.0, 0.05, 0.5, 0.15]
    errors = [leave_one_out_error(key, value, width=w).item() for w in widths]
    assert choose_width(key, value, widths=widths) == widths[errors.index(min(errors))]
    assert choose_width(key, value, widths=torch.tensor(widths)) == pytest.approx(
        widths[errors.index(min(errors))]
    )
    found = leave_one_out_error(key, value, width=choose_width(key, value))
    assert found <= 1.01 * min(errors)


def test_the_default_grid_spans_the_data_in_any_unit():
    g = torch.Generator().manual_seed(0)
    key = torch.linspace(0, 1, 40, dtype=torch.float64)
    value = torch.sin(12 * key) + 0.3 * torch.randn(40, generator=g, dtype=torch.float64)
    width = choose_width(key, value)
    assert 0.01 < width < 0.1
    assert choose_width(1000 * key, value) == pytest.approx(1000 * width, rel=1e-3)


def test_of_equally_good_widths_the_smaller():
    assert choose_width(K, V, "constant", widths=[3.0, 1.0, 2.0]) == 1


@pytest.mark.parametrize("key", [[0, 1, 1, 4], [0, 1, 4, 9, 16], [[0, 0], [3, 4], [6, 8], [3, 4]]])
def test_the_default_grid(key):
    key = torch.tensor(key, dtype=torch.float64).reshape(len(key), -1)
    distance = torch.cdist(key, key)
    nearest = [min(x for x in row if x > 0) for row in distance.tolist()]
    grid = torch.tensor(_default_widths(key), dtype=torch.float64)
    assert grid[0].item() == pytest.approx(sorted(nearest)[(len(key) - 1) // 2] / 10)
    assert grid[-1].item() == pytest.approx(2 * distance.max().item())
    assert_close(grid.log().diff(), (grid[-1] / grid[0]).log().expand(99) / 99)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_local_widths_by_the_formula(alpha):
    _, key, _ = draw(14, S=8, d=2)
    density = torch.tensor(
        [sum(math.exp(-(((a - b).norm().item() / 0.3) ** 2) / 2) for b in key) for a in key]
    ).double()
    g = density.log().mean().exp()
    assert_close(local_widths(key, 0.3, alpha), 0.3 * (density / g) ** -alpha)


def test_local_widths_survive_a_far_outlier():
    widths = local_widths(torch.tensor([0.0, 0.1, 0.2, 1e4]), 1e-3)
    assert torch.isfinite(widths).all()
    assert widths.log().mean().exp().item() == pytest.approx(1e-3, rel=1e-4)


@pytest.mark.parametrize("d", [None, 2])
def test_knn_widths_by_sorting(d):
    query, key, _ = draw(15, d=d)
    flat_q, flat_k = query.reshape(5, -1), key.reshape(7, -1)
    distance = (flat_q[:, None] - flat_k).norm(dim=-1).sort(dim=1).values
    for k in (1, 3, 7):
        assert_close(knn_widths(query, key, k), distance[:, k - 1 : k])


# ---- Bad input ------------------------------------------------------------------------------------

Q, K, V = torch.zeros(2), torch.arange(3.0), torch.arange(3.0)
NAN, INT, CUBE = torch.tensor([0.0, math.nan, 1.0]), torch.arange(3), torch.zeros(2, 3, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nadaraya_watson([0.0], K, V), TypeError, "query must be a torch.Tensor, got list"),
        (lambda: nadaraya_watson(Q, INT, V), TypeError, "key must be float32 or float64, got torch.int64"),
        (lambda: nadaraya_watson(Q, K, V.half()), TypeError, "value .*float16"),
        (lambda: nadaraya_watson(Q.double(), K, V), TypeError, "query is torch.float64 but key is torch.float32"),
        (lambda: nadaraya_watson(Q, K, V.double()), TypeError, "value is torch.float64 but key is torch.float32"),
        (lambda: nadaraya_watson(CUBE, K, V), ValueError, r"query must have shape .* got \(2, 3, 4\)"),
        (lambda: nadaraya_watson(Q, K, CUBE), ValueError, r"value must have shape .* got \(2, 3, 4\)"),
        (lambda: nadaraya_watson(Q, K[:0], V[:0]), ValueError, r"key is empty: shape \(0,\)"),
        (lambda: nadaraya_watson(torch.zeros(2, 0), torch.zeros(3, 0), V), ValueError, r"query is empty: .*\(2, 0\)"),
        (lambda: nadaraya_watson(Q, NAN, V), ValueError, r"key holds NaN or infinity at index \[1\]"),
        (lambda: nadaraya_watson(Q, K, NAN), ValueError, "value holds NaN"),
        (lambda: nadaraya_watson(Q / 0, K, V), ValueError, "query holds NaN"),
        (lambda: nadaraya_watson(Q, K, V[:2]), ValueError, r"lengths of value \(2,\) and key \(3,\) differ"),
        (lambda: nadaraya_watson(torch.zeros(2, 4), K, V), ValueError, r"features of query \(2, 4\)"),
        (lambda: nadaraya_watson(Q, K, V, width=0), ValueError, "positive and finite, got 0"),
        (lambda: nadaraya_watson(Q, K, V, width=-2.5), ValueError, r"got -2\.5"),
        (lambda: nadaraya_watson(Q, K, V, width=math.nan), ValueError, "got nan"),
        (lambda: nadaraya_watson(Q, K, V, width=torch.tensor([1.0, 0.0, 1.0])), ValueError, "got 0"),
        (lambda: nadaraya_watson(Q, K, V, width=torch.ones(2)), ValueError, r"\(3,\).*\(2, 1\).*got shape \(2,\)"),
        (lambda: nadaraya_watson(Q, K, V, width=torch.tensor(1)), TypeError, "torch.int64"),
        (lambda: nadaraya_watson(Q, K, V, kernel="cosine"), ValueError, "'cosine'; known are gaussian, boxcar"),
        (lambda: nadaraya_watson(Q, K, V, empty="zero"), ValueError, '"nearest", "nan" or "raise", got \'zero\''),
        (lambda: nadaraya_watson(Q, K, V, kernel=["boxcar"]), ValueError, r"unknown kernel \['boxcar'\]; known"),
        (lambda: nadaraya_watson(Q, K, V, kernel=torch.sum), ValueError, r"kernel made \(\) of distances \(2, 3\)"),
        (lambda: nadaraya_watson(Q, K, V, kernel=lambda u: u / 0), ValueError, "heights whose sum .* is nan"),
        (lambda: nadaraya_watson(Q, K, V, width=None), TypeError, "a number or a tensor, got None"),
        (lambda: nadaraya_watson(Q, K, V, width="wide"), TypeError, "a number or a tensor, got 'wide'"),
        (lambda: nadaraya_watson(Q, K, V, width=1e-60), ValueError, r"got 0\.0 \(in torch\.float32\)"),
        (lambda: nadaraya_watson(Q, K, V, width=math.inf), ValueError, "got inf"),
        (lambda: choose_width(K, V, widths=1.0), ValueError, r"a row of numbers, .* got 1\.0"),
        (lambda: choose_width(K, V, widths=torch.ones(2, 2)), ValueError, "a row of numbers, .* got tensor"),
        (lambda: choose_width(K, V, widths=[1.0, math.nan]), ValueError, "got nan"),
        (lambda: leave_one_out_error(K[:1], V[:1]), ValueError, "at least 2 keys, got 1"),
        (lambda: choose_width(K, V, widths=[]), ValueError, "one at least, got ..$"),
        (lambda: choose_width(K, V, widths=[1.0, -1.0]), ValueError, r"got -1\.0"),
        (lambda: choose_width(torch.zeros(3), V), ValueError, "all keys coincide"),
        (lambda: local_widths(K, torch.ones(3)), ValueError, r"one number, got shape \(3,\)"),
        (lambda: local_widths(K, 1.0, alpha=math.nan), ValueError, "alpha must be finite, got nan"),
        (lambda: knn_widths(Q, K, 0), ValueError, "from 1 to 3 .* got 0"),
        (lambda: knn_widths(Q, K, 4), ValueError, "got 4"),
        (lambda: knn_widths(Q, K, 1.5), ValueError, r"got 1\.5"),
        (lambda: knn_widths(torch.tensor([5.0, 1.0]), K, 1), ValueError, "query number 1 coincide"),
    ],
)  # fmt: skip
def test_bad_input_is_quoted(call, error, message):
    with pytest.raises(error, match=message):
        call()


@both_paths
@each_kernel
def test_inputs_and_random_state_are_left_alone(kernel, need_weights):
    inputs = draw(16)
    before, state = [t.clone() for t in inputs], torch.get_rng_state()
    nadaraya_watson(*inputs, kernel, 0.2, need_weights=need_weights)
    assert all(torch.equal(a, b) for a, b in zip(inputs, before, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_gaussian_is_the_default():
    query, key, value = draw(17, d=None, v=None)
    assert_close(
        nadaraya_watson(query, key, value)[0],
        nadaraya_watson(query, key, value, gaussian, 1.0)[0],
    )
    assert leave_one_out_error(key, value) == leave_one_out_error(key, value, gaussian, 1.0)
    assert torch.equal(local_widths(key, 1.0), local_widths(key, 1.0, 0.5))
