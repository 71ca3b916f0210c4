"""Explorers on the Python side: traits, errors, words, still pictures. Runs under Colab's versions too."""

import gzip
import itertools
import json
import math
import struct

import ipywidgets
import pytest
import torch
import traitlets
from matplotlib.figure import Figure
from torch.utils.flop_counter import FlopCounterMode

import attn_utils.explorers
from attn_utils import plotting
from attn_utils.attention import attention
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
from attn_utils.kernels import KERNELS, leave_one_out_error, nadaraya_watson
from attn_utils.masking import causal_mask
from attn_utils.plotting import show_alignment
from attn_utils.positional import sinusoidal_encoding
from attn_utils.transformer import AttentionMaps, Transformer
from attn_utils.vision import SelfAttention2d, non_local_means

POOLING = [KernelPooling, KernelWidth, WidthDescent]
KEY = torch.tensor([0.0, 0.7, 1.1, 2.0, 3.5])
VALUE = torch.tensor([1.0, -1.0, 2.0, 0.5, 3.0])


QUERY, KEYS = torch.tensor([1.5, 0.5]), torch.tensor([[1.0, 1.0], [-1.0, 0.5], [0.5, -1.5]])
VALUES = torch.tensor([[0.0, 0.0], [4.0, 0.0], [2.0, 3.0]])
SCORES = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))


WEIGHTS = [[0.9, 0.1, 0.0], [0.25, 0.25, 0.5]]
SENTENCES = [
    {"source": ["old", "house", "."], "target": ["vieille", "maison"], "weights": torch.tensor(WEIGHTS),
     "gold": [(1, 1), (0, 0), (2, 1)]},
    {"source": "1 2", "target": "가나다라", "weights": [[0, 0, 0], [0.5, 0, 0.5], [0, 1, 0], [0, 0, 1]]},
]  # fmt: skip


SIZES = {"encoder_self": (3, 3), "decoder_self": (2, 2), "cross": (2, 3)}  # layers 2, heads 4
MAPS = {
    kind: torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(0)).softmax(dim=-1)
    for kind, size in SIZES.items()
}
HEADS = [
    {"source": ["old", "house", "."], "target": ["maison", "<eos>"], "maps": MAPS},
    {"source": ["no"], "target": ["non"], "label": "short",
     "maps": dict.fromkeys(SIZES, torch.ones(2, 4, 1, 1))},
]  # fmt: skip


PIXELS = torch.rand(2, 3, 6, 9, generator=torch.Generator().manual_seed(0))


def many_features():
    """Query (draws, 1024) and key (draws, S, 1024)."""
    g = torch.Generator().manual_seed(0)
    return torch.randn(3, 1024, generator=g), torch.randn(3, 4, 1024, generator=g)


EXAMPLES = {cls: lambda cls=cls: cls(KEY, VALUE) for cls in POOLING} | {
    QueryAndKeys: lambda: QueryAndKeys(QUERY, KEYS, VALUES),
    SoftmaxSaturation: lambda: SoftmaxSaturation(*many_features()),
    MaskPainter: lambda: MaskPainter(SCORES, "abcde", real=4),
    Positions: lambda: Positions("abcde", SCORES),
    PixelAttention: lambda: PixelAttention(PIXELS),
    Alignment: lambda: Alignment(SENTENCES),
    AttentionHeads: lambda: AttentionHeads(HEADS),
    Reach: Reach,
}


@pytest.fixture(params=POOLING, ids=lambda cls: cls.__name__)
def cls(request):
    return request.param


@pytest.fixture(params=EXAMPLES, ids=lambda cls: cls.__name__)
def example(request):
    """Makes an explorer, a new one at each call."""
    return EXAMPLES[request.param]


def test_every_explorer_has_an_example():
    assert {cls.__name__ for cls in EXAMPLES} == set(attn_utils.explorers.__all__)


def test_bundle_has_live_view_picture_and_words(example):
    explorer = example()
    data, _ = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["image/png"].startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data["image/png"][16:24])
    assert 1200 < width < 2800
    assert 400 < height < 1400
    assert data["text/plain"].startswith(type(explorer).__name__ + "(")


def test_words_are_the_same_for_equal_states(example):
    assert repr(example()) == repr(example())


def test_words_differ_where_the_state_does(cls):
    assert repr(cls(KEY, VALUE, width=0.2)) != repr(cls(KEY, VALUE, width=2.0))


def test_ipywidgets_7_does_not_bypass_the_bundle(example):
    assert not callable(getattr(example(), "_ipython_display_", None))


def test_state_holds_module_and_style_as_plain_json(example):
    explorer = example()
    state = explorer.get_state()
    assert "export default" in state["_esm"]
    assert ".attn-explorer" in state["_css"]
    assert state["slug"].replace("-", "").isalpha()
    assert set(explorer.driven) <= set(state)
    assert not any(isinstance(v, bytes | memoryview) for v in state.values())


def test_state_holds_the_data(cls):
    state = cls(KEY, VALUE, truth=torch.zeros(61)).get_state()
    assert state["key"] == pytest.approx(KEY.tolist())
    assert len(state["queries"]) == len(state["truth"]) == 61


def test_modules_are_self_contained(example):
    source = str(example()._esm)
    assert "import " not in source.replace("import(", "")
    assert "http://www.w3.org/2000/svg" in source
    assert source.count("://") == 1, "no address but the SVG namespace"


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_width_outside_its_range_is_refused_and_nothing_changes(cls, bad):
    explorer = cls(KEY, VALUE, width=0.5)
    with pytest.raises(traitlets.TraitError, match="width must lie between"):
        explorer.width = bad
    assert explorer.width == 0.5


def test_unknown_kernel_is_refused():
    with pytest.raises(traitlets.TraitError, match="epanechnikov"):
        KernelWidth(KEY, VALUE, kernel="cosine")


def test_query_outside_the_axis_is_refused():
    with pytest.raises(traitlets.TraitError, match="between 0 and 3.5, got 9"):
        KernelPooling(KEY, VALUE, query=9.0)
    assert KernelPooling(KEY, VALUE).query == pytest.approx(1.75)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(2, 2), VALUE), r"key must have shape \(S,\), got \(2, 2\)"),
        ((torch.zeros(0), VALUE), r"got \(0,\); no length may be 0"),
        ((KEY, VALUE[:3]), r"value must have shape \(5,\), got \(3,\)"),
        ((KEY[:1], VALUE[:1]), "at least 2 keys, got 1"),
        ((torch.tensor([0.0, float("nan")]), VALUE[:2]), "key holds NaN"),
        ((KEY, VALUE, torch.zeros(3)), r"truth must have shape \(61,\), got \(3,\)"),
    ],
)
def test_bad_data_is_refused(cls, arguments, message):
    with pytest.raises(ValueError, match=message):
        cls(*arguments)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("width", [0.01, 0.5, 100.0])
def test_pool_is_nadaraya_watson(kernel, width):
    explorer = KernelWidth(KEY, VALUE, kernel=kernel, width=width)
    grid = torch.tensor(explorer.queries)
    expected, weights = nadaraya_watson(grid, KEY, VALUE, kernel=kernel, width=width)
    estimate, got = explorer.pool()
    torch.testing.assert_close(estimate.float(), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got.float(), weights, atol=1e-4, rtol=1e-4)


def test_width_descent_errors():
    explorer = WidthDescent(KEY, VALUE, width=0.8)
    expected = leave_one_out_error(KEY.double(), VALUE.double(), width=0.8).item()
    assert explorer.error(0.8) == pytest.approx(expected, rel=1e-5)
    explorer.loss = "training"
    assert explorer.error(0.01) < 1e-12 < explorer.error(0.8)


@pytest.mark.parametrize("score", ["dot", "gaussian", "cosine"])
def test_query_and_keys_attend(score):
    explorer = QueryAndKeys(QUERY, KEYS, VALUES, score=score)
    scores, weights, output = (x.float() for x in explorer.attend())
    expected = {
        "dot": KEYS @ QUERY,
        "gaussian": -(KEYS - QUERY).square().sum(dim=1) / 2,
        "cosine": torch.cosine_similarity(KEYS, QUERY[None]),
    }[score]
    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(weights, expected.softmax(dim=0))
    torch.testing.assert_close(output, weights @ VALUES)
    assert ", ".join(f"{x:.2f}" for x in weights.tolist()) in explorer.describe()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((QUERY, KEYS[:2], VALUES), ValueError, r"key must have shape \(3, 2\), got \(2, 2\)"),
        ((QUERY[:1], KEYS, VALUES), ValueError, r"query must have shape \(2,\), got \(1,\)"),
        ((QUERY, KEYS, VALUES * float("nan")), ValueError, "value holds NaN"),
        ((QUERY, 3 * KEYS, VALUES), traitlets.TraitError, r"key 1 .* 0.1 to 2.5, got \(3.0, 3.0\)"),
        ((0 * QUERY, KEYS, VALUES), traitlets.TraitError, r"query .* got \(0.0, 0.0\)"),
    ],
)
def test_query_and_keys_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        QueryAndKeys(*arguments)


@pytest.mark.parametrize("d", [1, 64, 1024])
@pytest.mark.parametrize("scaled", ["yes", "no"])
def test_softmax_saturation_measures(d, scaled):
    query, key = many_features()
    explorer = SoftmaxSaturation(query, key, d=d, temperature=2.0, scaled=scaled)
    scores = (query[:, None, :d] * key[..., :d]).sum(dim=-1).double() / 2
    weights = (scores / d**0.5 if scaled == "yes" else scores).softmax(dim=1)
    norms = [
        torch.autograd.functional.jacobian(lambda s: s.softmax(dim=0), w.log()) for w in weights
    ]
    got = explorer.measure(d)
    assert got["largest"] == pytest.approx(weights.amax(dim=1).median().item(), abs=2e-3)
    entropies = -(weights * weights.log()).sum(dim=1)
    assert got["entropy"] == pytest.approx(entropies.median().item(), abs=5e-3)
    jacobian = torch.stack([n.norm() for n in norms]).median().item()
    assert got["jacobian"] == pytest.approx(jacobian, abs=2e-3)


@pytest.mark.parametrize(
    ("query", "key", "message"),
    [
        ((3, 100), (3, 4, 1024), r"query must have shape \(draws, 1024\), got \(3, 100\)"),
        ((3, 1024), (2, 4, 1024), r"key must have shape \(3, S, 1024\), got \(2, 4, 1024\)"),
        ((3, 1024), (4, 1024), r"key must have shape \(3, S, 1024\), got \(4, 1024\)"),
        ((3, 1024), (3, 1, 1024), "at least 2 keys, got 1"),
        ((0, 1024), (0, 4, 1024), r"query .* got \(0, 1024\)"),
    ],
)
def test_softmax_saturation_refuses(query, key, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxSaturation(torch.zeros(query), torch.zeros(key))


def test_mask_painter_masks():
    explorer = MaskPainter(SCORES, "abcde", real=3, causal="yes")
    assert explorer.mask().int().tolist() == [
        [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0],
    ]  # fmt: skip
    explorer.flipped = [1] + 24 * [0]
    assert not explorer.mask()[0].any()
    assert explorer.weights()[0].abs().max() == 0
    torch.testing.assert_close(explorer.weights()[1:].sum(dim=1), torch.ones(4).double())
    explorer.when = "after"
    assert explorer.weights()[1:].sum(dim=1).max() < 1


@pytest.mark.parametrize(
    ("traits", "message"),
    [
        ({"real": 0}, "between 1 and 5, got 0"),
        ({"real": 6}, "between 1 and 5, got 6"),
        ({"flipped": [0, 1]}, "25 numbers"),
        ({"flipped": [2] * 25}, "0 or 1"),
        ({"when": "never"}, "when"),
    ],
)
def test_mask_painter_refuses_a_state(traits, message):
    with pytest.raises(traitlets.TraitError, match=message):
        MaskPainter(SCORES, "abcde", **traits)


@pytest.mark.parametrize("scores", [SCORES[:4], torch.zeros(1, 1), torch.full((5, 5), torch.nan)])
def test_mask_painter_refuses_scores(scores):
    with pytest.raises(ValueError, match="scores"):
        MaskPainter(scores, "abcde")
    with pytest.raises(ValueError, match="2 to 8 words, got 1"):
        MaskPainter(scores, "a")


@pytest.mark.parametrize("embed_dim", [8, 32, 128])
@pytest.mark.parametrize("distance", [0, 1, 50])
def test_positions_know_their_distance(embed_dim, distance):
    explorer = Positions("abcde", SCORES, embed_dim=embed_dim, distance=distance)
    dots = [
        sum(
            math.sin(w * p) * math.sin(w * q) + math.cos(w * p) * math.cos(w * q)
            for w in (10_000 ** (-2 * i / embed_dim) for i in range(embed_dim // 2))
        )
        for p, q in ((0, distance), (49, 49 + distance))
    ]
    assert explorer.dots()[distance].item() == pytest.approx(dots[0], abs=1e-5)
    assert dots[1] == pytest.approx(dots[0])
    said = explorer.describe()
    explorer.position = 0
    assert explorer.describe() == said.replace("10 and", "0 and").replace(
        f"and {10 + distance}:", f"and {distance}:"
    )


@pytest.mark.parametrize("order", [1, 77, 119])
@pytest.mark.parametrize("word", [0, 4])
def test_positions_shuffled(order, word):
    explorer = Positions("abcde", SCORES, view="shuffle", order=order, word=word)
    places = list(itertools.permutations(range(5)))[order]
    x = SCORES.double().round(decimals=3)
    first, now = explorer.outputs(encoded=False)
    torch.testing.assert_close(first, now)
    rows = x[list(places)] + sinusoidal_encoding(5, 5)
    wanted = (rows @ rows.T / 5**0.5).softmax(dim=1) @ rows
    torch.testing.assert_close(explorer.outputs(encoded=True)[1], wanted[places.index(word)])
    assert "moved by 0.00 without" in explorer.describe()


@pytest.mark.parametrize(
    ("traits", "said"),
    [({"position": 50}, "50"), ({"distance": -1}, "-1"), ({"order": 120}, "120"),
     ({"word": 5}, "5"), ({"embed_dim": 7}, "7"), ({"view": "both"}, "both")],
)  # fmt: skip
def test_positions_refuses_a_state(traits, said):
    with pytest.raises(traitlets.TraitError, match=said):
        Positions("abcde", SCORES, **traits)


def test_positions_refuses_data():
    with pytest.raises(ValueError, match=r"features must have shape \(5, E\), got \(4, 5\)"):
        Positions("abcde", SCORES[:4])
    with pytest.raises(traitlets.TraitError, match="words"):
        Positions("abcd", SCORES)


def test_alignment_in_words():
    explorer = Alignment(SENTENCES, word=1, gold=True)
    assert explorer.describe() == (
        "“maison” looks at “.” (0.50), “old” (0.25) and “house” (0.25). Gold: “house” and “.”."
    )
    explorer.sentence = 1
    assert explorer.describe() == "“나” looks at “1” (0.50) and “2” (0.50)."
    explorer.word = 0
    assert explorer.describe() == "“가” looks at nothing."
    explorer.word = 2
    assert explorer.describe() == "“다” looks at “␣” (1.00)."


def test_alignment_keeps_the_word_inside_the_sentence():
    explorer = Alignment(SENTENCES, sentence=1, word=3)
    explorer.sentence = 0
    assert explorer.word == 1
    explorer.set_state({"sentence": 1, "word": 2})  # what the page sends
    assert (explorer.sentence, explorer.word) == (1, 2)


def letters(text: str) -> dict:
    """An example of a text that has no unknown word: each letter looks at itself."""
    if "zebra" in text:
        raise ValueError("zebra is unknown")
    return {"source": text, "target": text, "weights": torch.eye(len(text))}


def test_alignment_of_a_typed_sentence():
    explorer = Alignment(SENTENCES, translate=letters, word=1)
    explorer.set_state({"typed": "abc"})  # what the page sends
    assert (len(explorer.examples), explorer.sentence, explorer.word) == (3, 2, 0)
    assert explorer.describe() == "“a” looks at “a” (1.00)."
    assert explorer.typed == "", "the same text can be typed again"


@pytest.mark.parametrize("bad", ["a zebra", ""])
def test_alignment_of_a_typed_sentence_that_is_refused(bad):
    explorer = Alignment(SENTENCES, translate=letters, word=1)
    before = repr(explorer)
    for _ in range(2):
        explorer.typed = bad
        assert explorer.describe().endswith("“a zebra”: zebra is unknown" if bad else "(0.25).")
        assert (len(explorer.examples), explorer.sentence, explorer.word) == (2, 0, 1)
    explorer.word = 0
    explorer.word = 1
    assert repr(explorer) == before, "what was wrong is forgotten"


def test_alignment_where_nothing_can_be_typed():
    explorer = Alignment(SENTENCES)
    assert explorer.typed is None
    explorer.typed = "abc"
    assert len(explorer.examples) == 2


@pytest.mark.parametrize(
    ("traits", "message"),
    [
        ({"sentence": 2}, "sentence must lie between 0 and 1, got 2"),
        ({"sentence": -1}, "sentence must lie between 0 and 1, got -1"),
        ({"word": 2}, "word must lie between 0 and 1, got 2"),
        ({"sentence": 1, "word": 4}, "word must lie between 0 and 3, got 4"),
        ({"gold": "perhaps"}, "gold"),
    ],
)
def test_alignment_refuses_a_state(traits, message):
    with pytest.raises(traitlets.TraitError, match=message):
        Alignment(SENTENCES, **traits)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"weights": torch.eye(3)}, ValueError, r"example 1, .* \(2, 3\), got \(3, 3\)"),
        ({"weights": torch.tensor(WEIGHTS).T}, ValueError, r"\(2, 3\), got \(3, 2\)"),
        (
            {"weights": torch.zeros(0, 3), "target": []},
            ValueError,
            r"got \(0, 3\); no length may be 0",
        ),
        (
            {"weights": 2 * torch.tensor(WEIGHTS)},
            ValueError,
            "rows of example 1, .* sum to 1 or to 0, got sums from 2 to 2",
        ),
        ({"weights": [[2, -1, 0], [0, 0, 1]]}, ValueError, "the least weight is -1"),
        ({"weights": torch.full((2, 3), torch.nan)}, ValueError, "example 1, .* holds NaN"),
        ({"gold": [(0, 0), (0, 2)]}, ValueError, r"inside \(3, 2\), got \[\(0, 2\)\]"),
        ({"gold": [(-1, 0)]}, ValueError, r"got \[\(-1, 0\)\]"),
        ({"words": []}, TypeError, "words"),
    ],
)
def test_alignment_refuses_an_example(change, error, message):
    with pytest.raises(error, match=message):
        Alignment([SENTENCES[0], {**SENTENCES[0], **change}])


def test_alignment_refuses_nothing():
    with pytest.raises(ValueError, match="list of examples is empty"):
        Alignment([])


def test_alignment_is_small_in_the_page():
    weights = torch.rand(1, 30, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    held = Alignment([{"source": "a" * 30, "target": "b", "weights": weights}]).examples
    assert all(len(str(w)) <= 6 for w in held[0]["weights"][0])


def test_attention_heads_of_a_transformer():
    model = Transformer(50, 50, 64, 4, 2, 128).eval()
    with torch.no_grad():
        _, maps = model(torch.tensor([[5, 6, 7]]), torch.tensor([3]), torch.tensor([[1, 8]]), True)
    maps = AttentionMaps(*([w[0] for w in layers] for layers in maps))
    explorer = AttentionHeads([{**HEADS[0], "maps": maps}], layer=1, head=2, token=1, kind="cross")
    rows, columns, every = explorer.shown()
    assert (rows, columns) == (["maison", "<eos>"], ["old", "house", "."])
    torch.testing.assert_close(every[1, 2].float(), maps.cross[1][2], atol=1e-4, rtol=0)
    torch.testing.assert_close(every[1, 4].float(), maps.cross[1].mean(dim=0), atol=1e-4, rtol=0)
    most, s = maps.cross[1][2, 1].max(dim=0)
    words = f"head 3: to say “<eos>” it looks at “{columns[s]}” ({most:.2f})."
    assert explorer.describe() == f"Cross-attention, layer 2, {words}"
    explorer.kind, explorer.head, explorer.token = "decoder_self", 4, 0
    words = "mean over heads: to say “maison” it looks at “<bos>” (1.00)."
    assert explorer.describe() == f"Decoder self-attention, layer 2, {words}"
    assert explorer.shown()[1] == ["<bos>", "maison"]
    explorer.kind = "encoder_self"
    assert "mean over heads: “old” looks at “" in explorer.describe()


def test_attention_heads_keep_the_token_inside_the_sentence():
    explorer = AttentionHeads(HEADS, token=2)
    explorer.kind = "cross"
    assert explorer.token == 1
    explorer.sentence = 1
    assert explorer.token == 0
    explorer.set_state({"sentence": 0, "kind": "encoder_self", "token": 2})  # what the page sends
    assert (explorer.sentence, explorer.kind, explorer.token) == (0, "encoder_self", 2)
    assert [example["label"] for example in explorer.examples] == ["old house .", "short"]
    explorer = AttentionHeads([{**HEADS[1], "source": " "}])
    assert explorer.describe().endswith("“␣” looks at “␣” (1.00)."), "spaces can be seen"


@pytest.mark.parametrize(
    ("traits", "message"),
    [
        ({"sentence": 2}, "sentence must lie between 0 and 1, got 2"),
        ({"layer": 2}, "layer must lie between 0 and 1, got 2"),
        ({"head": 5}, "head must lie between 0 and 4, got 5"),
        ({"head": -1}, "head must lie between 0 and 4, got -1"),
        ({"kind": "cross", "token": 2}, "token must lie between 0 and 1, got 2"),
        ({"kind": "self"}, "kind"),
    ],
)
def test_attention_heads_refuse_a_state(traits, message):
    with pytest.raises(traitlets.TraitError, match=message):
        AttentionHeads(HEADS, **traits)


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ({"cross": MAPS["cross"].mT}, r"cross of example 1 .* 2, 3\), got \(2, 4, 3, 2\)"),
        ({"cross": MAPS["cross"][:, None]}, r"got \(2, 1, 4, 2, 3\)"),
        ({"cross": MAPS["cross"][:1]}, r"same \(layers, heads\), got \[\(1, 4\), \(2, 4\)\]"),
        ({"decoder_self": MAPS["decoder_self"][:, :3]}, r"got \[\(2, 3\), \(2, 4\)\]"),
        ({"cross": 2 * MAPS["cross"]}, "rows of cross of example 1 must be weights that sum to 1"),
        ({"cross": MAPS["cross"] * torch.nan}, "cross of example 1 holds NaN"),
    ],
)
def test_attention_heads_refuse_an_example(maps, message):
    with pytest.raises(ValueError, match=message):
        AttentionHeads([HEADS[0], {**HEADS[0], "maps": {**MAPS, **maps}}])


def test_attention_heads_refuse_nothing():
    with pytest.raises(ValueError, match="got \\[\\]"):
        AttentionHeads([])


def test_attention_heads_are_small_in_the_page():
    maps = dict.fromkeys(SIZES, torch.randn(2, 4, 12, 12).softmax(dim=-1))
    example = {"source": ["word"] * 12, "target": ["word"] * 12, "maps": maps}
    explorer = AttentionHeads([example] * 4)
    assert len(json.dumps(explorer.examples)) < 150_000


def test_reach_is_what_gradients_reach():
    places, k, layers = 40, 3, 3
    for kind in ("recurrent", "convolution", "dilated", "attention"):
        explorer = Reach(kind=kind, n=places, kernel_size=k, layers=layers, back=4)
        x = torch.randn(1, 2, places, requires_grad=True)
        h = x
        for layer in range(layers):
            gap = k**layer if kind == "dilated" else 1
            if kind == "recurrent":
                h = torch.nn.LSTM(2, 2, batch_first=True)(h.mT)[0].mT
            elif kind == "attention":
                mask = causal_mask(places)
                h = attention(h.mT, h.mT, h.mT, attn_mask=mask)[0].mT
            else:
                padded = torch.nn.functional.pad(h, ((k - 1) * gap, 0))
                h = torch.nn.functional.conv1d(padded, torch.rand(2, 2, k), dilation=gap)
        h[0, :, -5].sum().backward()
        reached = x.grad.abs().sum(dim=(0, 1)).nonzero().flatten().tolist()
        assert explorer.seen()[0] == reached
        output, far = explorer.route()[0][0], explorer.route()[-1][0]
        assert (output, far) == (35, reached[0])
        assert f"output 35 sees {len(reached)} of 40 inputs" in explorer.describe()


@pytest.mark.parametrize("n", [4, 10, 64, 8192])
@pytest.mark.parametrize("k", [2, 3, 9])
def test_reach_needs_as_many_layers(n, k):
    explorer = Reach(n=n, kernel_size=k)
    paths = {kind: explorer.costs(kind)["path"] for kind in ("convolution", "dilated")}
    for kind, wide in (("convolution", lambda x: 1 + x * (k - 1)), ("dilated", lambda x: k**x)):
        assert wide(paths[kind]) >= n > wide(paths[kind] - 1)
    assert (explorer.costs("recurrent")["path"], explorer.costs("attention")["path"]) == (n, 1)
    if paths["dilated"] <= 8:
        explorer = Reach(n=n, kernel_size=k, kind="dilated", layers=paths["dilated"], back=0)
        assert explorer.route()[-1] == (0, 0)


def test_reach_counts_multiply_adds():
    n, d, k = 12, 8, 5
    explorer, x = Reach(n=n, d=d, kernel_size=k), torch.randn(1, n, d)
    counts = {}
    with FlopCounterMode(display=False) as counter:
        torch.nn.functional.conv1d(torch.randn(1, d, n + k - 1), torch.randn(d, d, k))
    counts["convolution"] = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        q, k, v, _ = (x @ torch.randn(d, d) for _ in range(4))
        (q @ k.mT).softmax(dim=-1) @ v
    counts["attention"] = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        for _ in range(n):
            x[:, 0] @ torch.randn(d, 4 * d)
            x[:, 0] @ torch.randn(d, 4 * d)
    counts["recurrent"] = counter.get_total_flops()
    for kind, flops in counts.items():  # an addition and a multiplication each
        costs = explorer.costs(kind)
        assert 2 * (costs["matrices"] + costs["mixing"]) == flops


def test_reach_crossing():
    for k, d in itertools.product([2, 5, 9], [8, 64]):
        for kind in ("recurrent", "convolution", "dilated"):
            meet = Reach(kernel_size=k, d=d).crossing(kind)
            if meet >= 4:
                explorer = Reach(n=int(meet), kernel_size=k, d=d)
                attention, other = explorer.costs("attention"), explorer.costs(kind)
                assert attention["matrices"] + attention["mixing"] == other["matrices"]
    explorer = Reach(n=128, d=64)
    assert explorer.costs("attention")["matrices"] == explorer.costs("attention")["mixing"]


@pytest.mark.parametrize(
    ("traits", "said"),
    [({"n": 3}, "3"), ({"n": 8193}, "8193"), ({"d": 4}, "4"), ({"kernel_size": 1}, "1"),
     ({"layers": 9}, "9"), ({"back": 64}, "64"), ({"back": -1}, "-1"), ({"kind": "both"}, "both")],
)  # fmt: skip
def test_reach_refuses_a_state(traits, said):
    with pytest.raises(traitlets.TraitError, match=said):
        Reach(**traits)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (5, 8), (2, 3)])
@pytest.mark.parametrize("patch", [1, 5, 7])
def test_pixel_attention_of_non_local_means(row, column, patch):
    explorer = PixelAttention(PIXELS, image=1, row=row, column=column, patch=patch, width=0.3)
    image = PIXELS[1].double().round(decimals=3)
    _, weights = non_local_means(image, patch, 0.3, need_weights=True)
    weights = weights[row * 9 + column]
    torch.testing.assert_close(explorer.shown(), weights)
    grid, own = weights.reshape(6, 9), weights[row * 9 + column]
    beyond = 1 - grid[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3].sum()
    most, s = weights.masked_fill(weights == own, 0).max(dim=0)
    r, c = divmod(s.item(), 9)
    near = max(abs(r - row), abs(c - column)) <= 2
    assert explorer.describe() == (
        f"Width 0.30, patches of {patch} × {patch}: the pixel in row {row + 1}, column {column + 1} gives itself "
        f"{100 * own:.1f} % of its weight and, elsewhere, most to row {r + 1}, column {c + 1}: {100 * most:.1f} %. "
        "A convolution of 5 × 5 would "
        f"{'' if near else 'not '}reach it; {100 * beyond:.1f} % of the weight lies beyond."
    )


@pytest.mark.parametrize(
    ("size", "pool", "grid", "keyed"),
    [((6, 8), 1, [6, 8], [6, 8]), ((6, 8), 2, [6, 8], [3, 4]), ((7, 9), 3, [7, 9], [2, 3]),
     ((3, 4), 1, [3, 4], [3, 4]), ((3, 4), 3, [3, 4], [1, 1])],
)  # fmt: skip
def test_pixel_attention_of_a_block(size, pool, grid, keyed):
    torch.manual_seed(0)
    with torch.no_grad():
        block = SelfAttention2d(8, pool=pool)
        _, weights = block(3 * torch.randn(2, 8, *size), need_weights=True)
    images = torch.rand(2, 1, 7, 9) if size == (7, 9) else torch.rand(2, 1, 6, 8)
    if keyed == [1, 1]:
        with pytest.raises(ValueError, match="at least 2 keys, got 1"):
            PixelAttention(images, weights)
        return
    explorer = PixelAttention(images, weights, image=1, row=1, column=3)
    assert (explorer.grid, explorer.keyed) == (grid, keyed)
    assert explorer.driven == ("image", "row", "column")
    assert explorer.get_state()["slug"] == "pixel-attention-learned"
    torch.testing.assert_close(explorer.shown().float(), weights[1, grid[1] + 3], atol=1e-4, rtol=0)
    assert explorer.describe().startswith("The place in row 2, column 4 gives itself ")
    assert "width" not in repr(explorer)
    assert explorer.still().startswith(b"\x89PNG")


def test_the_still_of_pixel_attention_counts_from_1():
    figure = Figure()
    PixelAttention(torch.rand(1, 1, 8, 8), torch.full((1, 16, 16), 1 / 16), row=0).draw(figure)
    figure.canvas.draw()
    for ax in figure.axes:
        labels = [label.get_text() for label in ax.get_xticklabels() + ax.get_yticklabels()]
        assert {*labels} - {"0", "5"} == {"1", "2", "3", "4"}  # the outer two are out of view
        assert (ax.get_xlim(), ax.get_ylim()) == ((0.5, 4.5), (4.5, 0.5))
        assert ax.patches[0].get_xy() == (1.5, 0.5)  # the chosen place, (1, 2)


def test_pixel_attention_in_words():
    weights = torch.zeros(1, 24, 6)  # 4 x 6 places, 2 x 3 keys
    weights[0, :, 0], weights[0, :, 5] = 0.25, 0.75
    explorer = PixelAttention(torch.zeros(1, 3, 8, 12), weights, receptive_field=3, row=0, column=1)
    assert explorer.describe() == (
        "The place in row 1, column 2 gives itself 25.0 % of its weight and, elsewhere, most to "
        "rows 3–4, columns 5–6: 75.0 %. A convolution of 3 × 3 would not reach it; 75.0 % of the weight lies beyond."
    )
    explorer.row, explorer.column = 1, 3
    assert (
        "gives itself 0.0 % of its weight and, elsewhere, most to rows 3–4, columns 5–6"
        in explorer.describe()
    )
    assert explorer.describe().endswith("would reach it; 25.0 % of the weight lies beyond.")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(2, 2, 6, 9)}, "grey or RGB in .* got 2 channels from 0 to 0"),
        ({"images": PIXELS * 255}, "in \\[0, 1\\], got 3 channels from 0.* to 25"),
        ({"images": PIXELS - 0.5}, "got 3 channels from -0"),
        ({"images": PIXELS[0]}, r"images must have shape \(N, C, h, w\), got \(3, 6, 9\)"),
        ({"images": PIXELS * torch.nan}, "images holds NaN"),
        ({"images": PIXELS[..., :4]}, r"at least 5 x 5 pixels, got \(6, 4\)"),
        ({"names": ["one"]}, r"2 images need as many names, got \['one'\]"),
        ({"receptive_field": 4}, "odd and positive, got 4"),
        ({"receptive_field": -1}, "odd and positive, got -1"),
        ({"weights": torch.full((1, 54, 54), 1 / 54)}, r"\(2, places, S\), got \(1, 54, 54\)"),
        ({"weights": torch.full((2, 53, 54), 1 / 54)}, r"53 places are no grid of squares over \(6, 9\)"),
        ({"weights": torch.full((2, 54, 55), 1 / 55)}, "55 keys are no grid"),
        ({"weights": torch.full((2, 54, 54), 1.0)}, "sum to 1 or to 0, got sums from 54 to 54"),
        ({"weights": torch.tensor([2.0, -1.0]).repeat(2, 54, 27)}, "the least weight is -1"),
    ],
)  # fmt: skip
def test_pixel_attention_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        PixelAttention(**{"images": PIXELS, **change})


@pytest.mark.parametrize(
    ("traits", "message"),
    [
        ({"row": 6}, "row must lie between 0 and 5, got 6"),
        ({"column": -1}, "column must lie between 0 and 8, got -1"),
        ({"image": 2}, "image must lie between 0 and 1, got 2"),
        ({"width": 0.0}, "width must lie between 0.01 and 0.5, got 0"),
        ({"patch": 2}, "patch"),
    ],
)
def test_pixel_attention_refuses_a_state(traits, message):
    with pytest.raises(traitlets.TraitError, match=message):
        PixelAttention(PIXELS, **traits)


def test_pixel_attention_is_small_in_the_page():
    scores = torch.randn(4, 256, 256, generator=torch.Generator().manual_seed(0))
    explorer = PixelAttention(torch.rand(4, 1, 16, 16), (5 * scores).softmax(dim=-1))
    state = json.dumps(explorer.get_state()["weights"]).encode()
    assert len(gzip.compress(state)) < 400_000


@pytest.mark.filterwarnings("error")
def test_show_alignment():
    source, target = ["old", "house", "."], ["vieille", "maison"]
    figure = show_alignment(torch.tensor(WEIGHTS), source, target, gold=[(1, 0), (2, 1)])
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == source
    assert [label.get_text() for label in ax.get_yticklabels()] == target
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("source (keys)", "target (queries)")
    torch.testing.assert_close(torch.tensor(ax.images[0].get_array()), torch.tensor(WEIGHTS))
    centres = {(p.get_x() + p.get_width() / 2, p.get_y() + p.get_height() / 2) for p in ax.patches}
    assert {(round(x, 6), round(y, 6)) for x, y in centres} == {(1, 0), (2, 1)}
    with pytest.raises(ValueError, match=r"= \(3, 2\), got \(2, 3\)"):
        show_alignment(torch.tensor(WEIGHTS), target, source)


@pytest.mark.filterwarnings("error")
def test_letters_that_no_font_has_give_way_to_positions(monkeypatch):
    fonts = plotting.font_manager.fontManager.ttflist
    without = [font for font in fonts if font.name.startswith(("DejaVu", "Last Resort"))]
    monkeypatch.setattr(plotting.font_manager.fontManager, "ttflist", without)
    plotting._fonts_for.cache_clear()
    figure = show_alignment(torch.eye(3), ["a", " ", "é"], ["책을", "가", "."])
    figure.canvas.draw()
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "␣", "é"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["#0", "#1", "."]
    assert ax.get_ylabel() == "target (queries), # = position"
    plotting._fonts_for.cache_clear()


def test_effective_keys():
    weights = torch.tensor([[1.0, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]])
    torch.testing.assert_close(effective_keys(weights), torch.tensor([1.0, 4, 2]))


def test_python_hears_a_change_from_the_page(cls):
    explorer = cls(KEY, VALUE)
    heard = []
    explorer.observe(lambda change: heard.append(change.new), "width")
    explorer.set_state({"width": 0.25})  # what the widget manager calls when the reader drags
    assert heard == [0.25]


def test_runs_with_the_installed_ipywidgets():
    assert tuple(map(int, ipywidgets.__version__.split(".")[:2])) >= (7, 7)
