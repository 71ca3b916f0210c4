"""The JavaScript arithmetic beside attn_utils on the same inputs, in double precision, to 1e-5."""

from __future__ import annotations

import itertools
import math
import re

import pytest
import torch

from attn_utils.explorers import (
    Alignment,
    AttentionHeads,
    KernelPooling,
    KernelWidth,
    MaskPainter,
    PixelAttention,
    Positions,
    QueryAndKeys,
    Reach,
    SoftmaxSaturation,
    WidthDescent,
)
from attn_utils.explorers._pooling import effective_keys
from attn_utils.explorers.reach import _short
from attn_utils.kernels import KERNELS, leave_one_out_error, nadaraya_watson
from attn_utils.positional import sinusoidal_encoding
from attn_utils.vision import non_local_means

WIDTHS = [1e-6, 0.01, 0.3, 1.0, 2.5, 100.0]
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
each_kernel = pytest.mark.parametrize("kernel", KERNELS)
each_width = pytest.mark.parametrize("width", WIDTHS)


def data(seed: int = 0, keys: int = 7, queries: int = 11) -> tuple[torch.Tensor, ...]:
    """Keys that are not sorted, values, and more queries than keys, some of them far outside."""
    generator = torch.Generator().manual_seed(seed)
    key = 5 * torch.rand(keys, generator=generator, dtype=torch.float64)
    value = 3 * torch.randn(keys, generator=generator, dtype=torch.float64)
    inside = 5 * torch.rand(queries - 4, generator=generator, dtype=torch.float64)
    outside = torch.tensor([-1000.0, -7.3, 12.4, 1e6], dtype=torch.float64)
    return torch.cat([inside, outside]), key, value


@pytest.fixture(scope="module")
def javascript(browser):
    """javascript(cls, "expression of m", *arguments): m is the explorer's module, a its arguments."""
    context = browser.new_context()
    pages = {}

    def call(cls, expression, *arguments):
        if cls not in pages:
            pages[cls] = context.new_page()
            pages[cls].evaluate(
                """async (source) => {
                  const blob = new Blob([source], { type: "text/javascript" });
                  globalThis.m = await import(URL.createObjectURL(blob));
                }""",
                str(cls._esm),
            )
        plain = [a.tolist() if isinstance(a, torch.Tensor) else a for a in arguments]
        return pages[cls].evaluate(f"(a) => {expression}", plain)

    yield call
    context.close()


def close(got, expected, **tolerance):
    """Equal in shape and to 1e-5 in every number."""
    expected = torch.as_tensor(expected, dtype=torch.float64)
    got = torch.tensor(got, dtype=torch.float64)
    torch.testing.assert_close(got, expected, **{**TOLERANCE, **tolerance})


def weights(javascript, query, key, width, kernel, cls=KernelWidth):
    expression = "a[0].map((query) => m.weights(query, a[1], a[2], a[3]))"
    return javascript(cls, expression, query, key, width, kernel)


def slope(key, value, width, left_out=True):
    """Derivative of the error with respect to log(width), by autograd."""
    log = torch.tensor(math.log(width), dtype=torch.float64, requires_grad=True)
    if left_out:
        error = leave_one_out_error(key, value, width=log.exp())
    else:
        estimate, _ = nadaraya_watson(key, key, value, width=log.exp(), need_weights=True)
        error = (estimate - value).square().mean()
    return torch.autograd.grad(error, log)[0].item()


# ---- Kernels ------------------------------------------------------------------------------------


def test_both_sides_know_the_same_kernels(javascript):
    assert javascript(KernelWidth, "Object.keys(m.kernels)") == list(KERNELS)
    assert javascript(KernelWidth, "Object.keys(m.KERNEL_LABELS)") == list(KERNELS)


@each_kernel
def test_kernel(javascript, kernel):
    u = torch.tensor(
        [0, 0.2, 0.5, 1 - 1e-9, 1, 1 + 1e-9, 3, 40, 1e200, 1e-200], dtype=torch.float64
    )
    u = torch.cat([u, -u])
    got = javascript(KernelWidth, "a[0].map(m.kernels[a[1]])", u, kernel)
    close(got, KERNELS[kernel](u), atol=1e-12)


# ---- Weights ------------------------------------------------------------------------------------


@each_kernel
@each_width
def test_weights_and_estimates(javascript, kernel, width):
    query, key, value = data()
    estimate, expected = nadaraya_watson(query, key, value, kernel=kernel, width=width)
    got = weights(javascript, query, key, width, kernel)
    close(got, expected)
    assert torch.tensor(got).shape == (len(query), len(key)), "rows are queries, columns are keys"
    close(javascript(KernelWidth, "a[0].map((row) => m.mix(row, a[1]))", got, value), estimate)


@each_kernel
def test_more_keys_than_queries(javascript, kernel):
    query, key, value = data(seed=1, keys=23, queries=6)
    _, expected = nadaraya_watson(query, key, value, kernel=kernel, width=0.7)
    close(weights(javascript, query, key, 0.7, kernel), expected)


@each_kernel
@each_width
def test_query_on_a_key_and_equal_keys(javascript, kernel, width):
    key = torch.tensor([0.0, 1.0, 1.0, 4.0], dtype=torch.float64)
    value = torch.tensor([2.0, -1.0, 5.0, 0.5], dtype=torch.float64)
    _, expected = nadaraya_watson(key, key, value, kernel=kernel, width=width)
    close(weights(javascript, key, key, width, kernel), expected)


@each_kernel
def test_edge_of_a_compact_kernel(javascript, kernel):
    query = torch.tensor([0.5, 0.25, 2.0], dtype=torch.float64)
    key = torch.tensor([0.0, 1.0, 1.5], dtype=torch.float64)  # u is exactly 1 for the first two
    _, expected = nadaraya_watson(query, key, key, kernel=kernel, width=0.5)
    close(weights(javascript, query, key, 0.5, kernel), expected)


@each_kernel
@pytest.mark.parametrize("far", [0.0, 1e6, -1e6])
def test_equally_near_keys_out_of_reach(javascript, kernel, far):
    key = torch.tensor([-1.0, 1.0, 3.0], dtype=torch.float64) + far
    query = torch.tensor([0.0, 2.0], dtype=torch.float64) + far
    _, expected = nadaraya_watson(query, key, key, kernel=kernel, width=1e-3)
    close(weights(javascript, query, key, 1e-3, kernel), expected)


@pytest.mark.parametrize("cls", [KernelPooling, KernelWidth, WidthDescent])
def test_every_explorer_holds_the_same_arithmetic(javascript, cls):
    query, key, value = data(seed=2)
    _, expected = nadaraya_watson(query, key, value, kernel="epanechnikov", width=1.3)
    close(weights(javascript, query, key, 1.3, "epanechnikov", cls), expected)


@each_kernel
def test_effective_keys(javascript, kernel):
    query, key, value = data(seed=3)
    _, expected = nadaraya_watson(query, key, value, kernel=kernel, width=0.8)
    got = javascript(KernelWidth, "a[0].map(m.effectiveKeys)", expected)
    close(got, effective_keys(expected))
    uniform, single = [0.25] * 4, [0, 1, 0, 0]
    close(javascript(KernelWidth, "a[0].map(m.effectiveKeys)", [uniform, single]), [4.0, 1.0])


# ---- Errors and their slopes --------------------------------------------------------------------


@each_kernel
@each_width
def test_leave_one_out_error(javascript, kernel, width):
    _, key, value = data(seed=4, keys=9)
    expected = leave_one_out_error(key, value, kernel=kernel, width=width)
    got = javascript(KernelWidth, "m.poolingError(...a)", key, value, width, kernel)
    close(got, expected)


@each_kernel
@each_width
def test_training_error(javascript, kernel, width):
    _, key, value = data(seed=5, keys=9)
    estimate, _ = nadaraya_watson(key, key, value, kernel=kernel, width=width)
    arguments = (key, value, width, kernel)
    got = javascript(KernelWidth, "m.poolingError(...a, false)", *arguments)
    close(got, (estimate - value).square().mean())


@pytest.mark.parametrize("left_out", [True, False], ids=["leave-one-out", "training"])
@pytest.mark.parametrize("width", [0.01, 0.05, 0.3, 1.0, 2.5, 10.0, 100.0])
def test_slope_is_the_derivative_in_log_width(javascript, width, left_out):
    _, key, value = data(seed=6, keys=12)
    expression = "m.poolingErrorSlope(...a)"
    got = javascript(WidthDescent, expression, key, value, width, left_out)
    close(got, slope(key, value, width, left_out))


@pytest.mark.parametrize(
    ("rate", "left_out"), list(itertools.product([0.05, 0.5, 2.0], [True, False]))
)
def test_descend(javascript, rate, left_out):
    _, key, value = data(seed=7, keys=12)
    width = 2.0
    for _ in range(5):
        expression = "m.descend(...a)"
        got = javascript(WidthDescent, expression, key, value, width, rate, left_out)
        width = width * math.exp(-rate * slope(key, value, width, left_out))
        close(got, width)


# ---- The state of the second explorer -----------------------------------------------------------


@each_kernel
@each_width
def test_width_state(javascript, kernel, width):
    query, key, value = data(seed=8, keys=8, queries=13)
    query = query.sort().values
    estimate, expected = nadaraya_watson(query, key, value, kernel=kernel, width=width)
    arguments = (key, value, query, width, kernel)
    got = javascript(KernelWidth, "m.widthState(...a)", *arguments)
    close(got["matrix"], expected)
    close(got["estimates"], estimate)
    close(got["effective"], effective_keys(expected).mean())
    close(got["leaveOneOut"], leave_one_out_error(key, value, kernel=kernel, width=width))


# ---- A query and three keys in the plane --------------------------------------------------------


@pytest.mark.parametrize("score", ["dot", "gaussian", "cosine"])
@pytest.mark.parametrize("size", [0.1, 1.0, 2.5])
def test_attend(javascript, score, size):
    generator = torch.Generator().manual_seed(9)
    points = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    points = size * points / points.norm(dim=1, keepdim=True)
    values = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    explorer = QueryAndKeys(points[0], points[1:], values, score=score)
    expression = "m.attend(a[0][0], a[0].slice(1), a[1], a[2])"
    got = javascript(QueryAndKeys, expression, points, values, score)
    for name, expected in zip(("scores", "weights", "output"), explorer.attend(), strict=True):
        close(got[name], expected)


def test_attend_with_scores_that_overflow(javascript):
    got = javascript(QueryAndKeys, "m.attend([1e3, 0], [[1, 0], [2, 0]], [[0, 0], [1, 3]], 'dot')")
    close(got["output"], [1.0, 3.0])


def test_within(javascript):
    expression = "a[0].map((point) => m.within(point, [0.1, 2.5]))"
    got = javascript(QueryAndKeys, expression, [[3, 4], [0.03, -0.04], [1, 1], [0, 0]])
    close(got, [[1.5, 2.0], [0.06, -0.08], [1.0, 1.0], [0.1, 0.0]])


# ---- Saturation and masks -----------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("scaled", ["yes", "no"])
@pytest.mark.parametrize("draws", [4, 5])
def test_medians(javascript, temperature, scaled, draws):
    g = torch.Generator().manual_seed(10)
    query, key = torch.randn(draws, 1024, generator=g), torch.randn(draws, 7, 1024, generator=g)
    explorer = SoftmaxSaturation(query, key, temperature=temperature, scaled=scaled)
    for i, d in enumerate(explorer.dims):
        divisor = temperature * (math.sqrt(d) if scaled == "yes" else 1)
        expression = "m.medians(...a)"
        got = javascript(SoftmaxSaturation, expression, explorer.scores[i], divisor)
        for name, expected in explorer.measure(d).items():
            close(got[name], expected)


@pytest.mark.parametrize("real", [1, 3, 5])
@pytest.mark.parametrize("causal", ["yes", "no"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_masked_weights(javascript, real, causal, when):
    g = torch.Generator().manual_seed(11)
    scores = 30 * torch.randn(5, 5, generator=g, dtype=torch.float64)
    flipped = (torch.rand(25, generator=g) < 0.3).int().tolist()
    flipped[:5] = [
        int(s < real and (causal == "no" or s == 0)) for s in range(5)
    ]  # nobody for row 0
    state = {"real": real, "causal": causal, "flipped": flipped, "when": when}
    explorer = MaskPainter(scores, "abcde", **state)
    mask = javascript(MaskPainter, "m.maskOf(5, a[0], a[1], a[2])", real, causal, flipped)
    assert mask == explorer.mask().tolist()
    assert not any(mask[0])
    close(
        javascript(MaskPainter, "m.maskedWeights(...a)", scores, mask, when),
        explorer.weights(),
    )


# ---- Alignments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "source"), [(1, 1), (4, 7), (30, 25)])
@pytest.mark.parametrize("linked", [0.0, 0.2, 0.9])
def test_alignment(javascript, target, source, linked):
    g = torch.Generator().manual_seed(12)
    weights = (3 * torch.randn(target, source, generator=g)).softmax(dim=1)
    gold = torch.rand(target, source, generator=g) < linked
    links = gold.T.nonzero().tolist()
    names = {"target": [f"t{i}" for i in range(target)], "source": [f"s{i}" for i in range(source)]}
    explorer = Alignment([{**names, "weights": weights, "gold": links}])
    example = explorer.examples[0]
    held = torch.tensor(example["weights"], dtype=torch.float64)
    got = javascript(Alignment, "m.goldShare(...a)", held, links)
    if links:
        close(got, (held * gold).sum(dim=1)[gold.any(dim=1)].mean())
    else:
        assert got is None
    assert javascript(Alignment, "m.strongest(a[0])", held) == held.argmax(dim=1).tolist()
    for explorer.word in range(target):
        for explorer.gold in (True, False):
            state = (example, explorer.word, explorer.gold)
            said = javascript(Alignment, "m.describe(...a)", *state)
            assert said == explorer.describe()


def test_alignment_with_equal_and_without_weights(javascript):
    weights = [[0.5, 0.5], [0, 0], [0.2, 0.8]]
    assert javascript(Alignment, "m.strongest(a[0])", weights) == [0, -1, 1]
    close(javascript(Alignment, "m.goldShare(a[0], [[0, 0], [1, 0], [1, 1]])", weights), 0.5)
    explorer = Alignment([{"source": "a ", "target": "cde", "weights": weights}], gold=True)
    for explorer.word in range(3):
        state = (explorer.examples[0], explorer.word, True)
        said = javascript(Alignment, "m.describe(...a)", *state)
        assert said == explorer.describe()


# ---- Positions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("embed_dim", [1, 2, 7, 32, 128])
def test_encoding(javascript, embed_dim):
    got = javascript(Positions, "a[0].map((p) => m.encoding(p, a[1]))", [*range(100)], embed_dim)
    close(got, sinusoidal_encoding(100, embed_dim))
    if embed_dim % 2 == 0:
        expression = "a[0].map((d) => m.dotAt(d, a[1]))"
        pe = sinusoidal_encoding(51, embed_dim).double()
        close(javascript(Positions, expression, [*range(51)], embed_dim), pe @ pe[0], atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_permutations(javascript, count):
    expression = "Array.from({ length: m.factorial(a[0]) }, (_, i) => m.permutation(i, a[0]))"
    expected = [list(order) for order in itertools.permutations(range(count))]
    assert javascript(Positions, expression, count) == expected


def test_shuffled_outputs_and_words(javascript):
    features = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    explorer = Positions("abcde", features)
    held = explorer.double("features")
    states = itertools.product(["distance", "shuffle"], [0, 7, 119], [0, 3], [8, 128])
    for explorer.view, explorer.order, explorer.word, explorer.embed_dim in states:
        explorer.distance = explorer.order % 51
        for encoded in (False, True):
            arguments = held, explorer.order, explorer.word, encoded
            got = javascript(Positions, "m.outputOf(...a)", *arguments)
            close(got, explorer.outputs(encoded)[1])
        state = {name: getattr(explorer, name) for name in explorer.driven}
        said = javascript(Positions, "m.describe(...a)", list("abcde"), held, state)
        assert said == explorer.describe()


# ---- Pixels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("patch", [1, 3, 5, 9])
@pytest.mark.parametrize("width", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("channels", [1, 3])
def test_weights_of_patches(javascript, patch, width, channels):
    generator = torch.Generator().manual_seed(patch)
    image = torch.rand(channels, 5, 8, generator=generator, dtype=torch.float64)
    expression = (
        "a[0].flatMap((_, r) => a[0][0].map((_, c) => m.patchWeights(a[1], r, c, a[2], a[3])))"
    )
    got = javascript(PixelAttention, expression, image[0], image, patch, width)
    _, expected = non_local_means(image, patch, width, need_weights=True)
    close(got, expected)


@pytest.mark.parametrize("pool", [1, 2, 3])
@pytest.mark.parametrize("field", [1, 3, 5])
def test_pixel_attention_in_words(javascript, pool, field):
    g, keys = torch.Generator().manual_seed(pool), [7 // pool, 9 // pool]
    weights = torch.rand(1, 63, math.prod(keys), generator=g) ** 6
    weights = weights / weights.sum(dim=-1, keepdim=True)
    images = torch.rand(1, 3, 7, 9, generator=g)
    explorer = PixelAttention(images, weights, receptive_field=field)
    assert explorer.keyed == keys
    expression = "m.describe(m.spread(a[0], a[1]), a[1], a[2])"
    grid = {"pool": pool, "keys": keys, "field": field}

    def same(explorer, means):
        state = {"row": explorer.row, "column": explorer.column, **grid}
        said = javascript(PixelAttention, expression, explorer.shown(), state, means)
        pairs = zip(
            re.split(r"(\d+\.\d(?= %))", said),
            re.split(r"(\d+\.\d(?= %))", explorer.describe()),
            strict=True,
        )
        for one, other in pairs:  # sums of weights with four decimals may lie between two numbers
            assert one == other or float(one) == pytest.approx(float(other), abs=0.101)

    for explorer.row, explorer.column in itertools.product(range(7), range(9)):
        same(explorer, None)
    if pool == 1:
        same(PixelAttention(images, width=0.2, patch=3, receptive_field=field), [0.2, 3])


# ---- Reach --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["recurrent", "convolution", "dilated", "attention"])
def test_reach(javascript, kind):
    states = itertools.product([4, 32, 65, 8192], [8, 100, 1024], [2, 3, 9], [1, 3, 8], [0, 4, 63])
    explorers = [
        Reach(kind=kind, n=n, d=d, kernel_size=k, layers=layers, back=back)
        for n, d, k, layers, back in states
    ]
    given = [{name: getattr(one, name) for name in one.driven} for one in explorers]
    expression = "a[0].map((s) => [m.seen(s), m.route(s), m.describe(s)])"
    for explorer, got in zip(explorers, javascript(Reach, expression, given), strict=True):
        route = [list(corner) for corner in explorer.route()]
        assert got == [explorer.seen(), route, explorer.describe()]
    expression = "a[0].map((s) => [m.costs(s.kind, s), m.crossing(s.kind, s)])"
    for explorer, got in zip(explorers, javascript(Reach, expression, given), strict=True):
        assert got == [explorer.costs(kind), explorer.crossing(kind)]


def test_short_numbers(javascript):
    given = {
        0: "0", 7: "7", 999: "999", 1000: "1 k", 1006: "1.01 k", 65536: "65.5 k", 392960: "393 k",
        1048576: "1.05 M", 77309411328: "77.3 G", 5 * 10**13: "50 T", 3 * 10**15: "3000 T",
    }  # fmt: skip
    assert javascript(Reach, "a[0].map((x) => m.short(x))", list(given)) == list(given.values())
    assert [_short(x) for x in given] == list(given.values())


# ---- What all explorers share -------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 5), (3, 7), (12, 4)])
def test_measures_of_a_head(javascript, rows, columns):
    scores = 4 * torch.randn(3, rows, columns, generator=torch.Generator().manual_seed(rows))
    maps = scores.double().softmax(dim=-1)
    maps[0, 0] = torch.eye(columns)[0]  # weights of 0
    every = javascript(AttentionHeads, "m.withMean(a[0])", maps)
    close(every, torch.cat([maps, maps.mean(dim=0, keepdim=True)]))
    ahead = torch.arange(columns) - torch.arange(rows)[:, None]
    for weights in maps:
        got = javascript(AttentionHeads, "m.measures(a[0])", weights)
        entropy = torch.special.entr(weights).sum(dim=1)
        close(got["tokens"], entropy.exp().mean())
        close(got["away"], (weights * ahead.abs()).sum(dim=1).mean())
        for name, where in {"back": ahead < 0, "here": ahead == 0, "ahead": ahead > 0}.items():
            close(got[name], (weights * where).sum(dim=1).mean())


def test_attention_heads_in_words(javascript):
    g = torch.Generator().manual_seed(0)
    sizes = {"encoder_self": (3, 3), "decoder_self": (2, 2), "cross": (2, 3)}
    maps = {kind: torch.randn(2, 3, *size, generator=g).softmax(-1) for kind, size in sizes.items()}
    explorer = AttentionHeads([{"source": list("abc"), "target": list("de"), "maps": maps}])
    for explorer.kind, (rows, _) in sizes.items():
        places = itertools.product(range(2), range(4), range(rows))
        for explorer.layer, explorer.head, explorer.token in places:
            state = {name: getattr(explorer, name) for name in explorer.driven}
            said = javascript(AttentionHeads, "m.describe(...a)", explorer.examples[0], state)
            assert said == explorer.describe()
    weights = [[1, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5]]
    said = javascript(AttentionHeads, "m.summary(a[0], 'decoder_self')", weights)
    assert said == (
        "On average a query spreads over 1.7 tokens (exp of the entropy) and looks 0.3 tokens away: "
        "0.33 of its weight back, 0.67 on the token just read, 0.00 ahead."
    )


def test_linear_map_and_its_inverse(javascript):
    expression = "(([d, r, x]) => { const f = m.linear(d, r); return [f(x), f.invert(f(x))]; })(a)"
    close(javascript(KernelWidth, expression, [-2, 3], [400, 20], 1.5), [134.0, 1.5])


@pytest.mark.parametrize(("low", "high"), [(0, 5), (-0.37, 0.21), (1e-4, 9e-4), (-1500, 20)])
def test_ticks_are_inside_evenly_spaced_and_few(javascript, low, high):
    ticks = torch.tensor(javascript(KernelWidth, "m.ticks(...a)", low, high)).double()
    assert 3 <= len(ticks) <= 8
    assert low <= ticks.min() <= ticks.max() <= high
    torch.testing.assert_close(ticks.diff(), ticks.diff()[:1].expand(len(ticks) - 1))


def test_numbers_from_links(javascript):
    given = ["0.5", 0.5, "1e9", -3, "NaN", "Infinity", "", "wide", None]
    # JSON has no undefined: a value that is not permitted comes back as None.
    got = javascript(KernelWidth, "a[0].map(m.numberBetween(0.01, 100))", given)
    assert got == [0.5, 0.5, 100, 0.01, None, None, None, None, None]


def test_whole_numbers_and_lists_from_links(javascript):
    given = ["2.6", "9", -1, "many"]
    got = javascript(KernelWidth, "a[0].map(m.wholeBetween(0, 5))", given)
    assert got == [3, 5, 0, None]
    given = ["1,-2.5", [3, 4], "1", "1,2,3", "1,x", None]
    got = javascript(KernelWidth, "a[0].map(m.numbers(2))", given)
    assert got == [[1, -2.5], [3, 4], None, None, None, None]


def test_softmax(javascript):
    scores = torch.tensor([[1e3, 999.0, -1e3], [0.3, -0.2, 0.0]], dtype=torch.float64)
    close(javascript(KernelWidth, "a[0].map(m.softmax)", scores), scores.softmax(dim=1))
    close(javascript(KernelWidth, "m.softmax([1, -Infinity, 1])"), [0.5, 0.0, 0.5])
    close(javascript(KernelWidth, "m.softmax([-Infinity, -Infinity])"), [0.0, 0.0])


def test_path_lifts_the_pen_over_gaps(javascript):
    expression = "m.path([0, 1, 2, 3], [1, NaN, 2, 3], (x) => x, (y) => y)"
    assert javascript(KernelWidth, expression) == "M0.00,1.00M2.00,2.00L3.00,3.00"


def test_colours_are_viridis(javascript):
    matplotlib = pytest.importorskip("matplotlib")
    shares = [i / 50 for i in range(51)]
    got = torch.tensor(javascript(KernelWidth, "a[0].map(m.colour)", shares)).double()
    expected = 255 * torch.tensor(matplotlib.colormaps["viridis"](shares))[:, :3]
    assert (got - expected).abs().max() < 20, "of 255 steps"
