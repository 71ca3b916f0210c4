"""Every explorer on its built page: mouse, keyboard, touch, reset, links, themes, no JavaScript.

A new explorer is one more line in CASES. Examples in MADE, for explorers that no chapter shows yet and for tests with
data of their own, get a page of the site whose text has given way to them.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import itertools
import json
import re

import pytest
import torch

import attn_utils.explorers
from attn_utils.explorers import Alignment, AttentionHeads, PixelAttention

from .harness import SITE, drive, serve


@dataclasses.dataclass(frozen=True)
class Case:
    """Where an explorer is, what can be dragged in it, and how links to it are understood."""

    page: str  # empty: no chapter shows it yet
    slug: str
    figures: int  # how many of its pictures can be dragged
    link: str  # a state unlike the first one …
    says: str  # … and what the sentence then holds
    ignored: str  # values that are not permitted
    clamped: str  # a value outside its range …
    clamped_says: str  # … and what the sentence then holds
    quiet: tuple[str, ...] = ()  # sliders that change nothing before the next step
    plane: bool = False  # whether a finger drags up and down, too, instead of scrolling the page


CASES = [
    Case(
        page="chapters/07-seq2seq-attention",
        slug="alignment",
        figures=0,
        link="sentence=1&word=1&gold=1",
        says="“조용한” looks at “",
        ignored="sentence=first&word=NaN&gold=perhaps&examples=1",
        clamped="sentence=4&word=-5",
        clamped_says="“notre” looks at “",
    ),
    Case(
        page="chapters/10-transformer",
        slug="attention-heads",
        figures=0,
        link="sentence=1&kind=cross&layer=1&head=2&token=3",
        says="Cross-attention, layer 2, head 3: to say “petits” it looks at “",
        ignored="sentence=first&kind=all&layer=NaN&head=mean&token=&examples=1",
        clamped="layer=9&head=99&token=-4",
        clamped_says="Cross-attention, layer 2, mean over heads: to say “un” it looks at “",
    ),
    Case(
        page="chapters/01-kernel-pooling",
        slug="kernel-pooling",
        figures=3,
        link="query=1&width=0.4&kernel=boxcar",
        says="At query 1.00 the boxcar kernel of width 0.400",
        ignored="query=NaN&width=&kernel=foo&title=x",
        clamped="width=1e9&query=-1e9",
        clamped_says="kernel of width 5.00",
    ),
    Case(
        page="chapters/02-kernel-width",
        slug="kernel-width",
        figures=0,
        link="width=0.4&kernel=boxcar",
        says="Width 0.400: a query listens to about",
        ignored="width=NaN&kernel=foo&key=1",
        clamped="width=1e9",
        clamped_says="Width 100: a query listens to about",
    ),
    Case(
        page="chapters/05-scaled-dot-product",
        slug="mask-painter",
        figures=0,
        link="real=3&causal=yes&when=after",
        says="18 of 49 pairs are open. Masked after the softmax",
        ignored="real=many&causal=maybe&when=never&flipped=1,2,3",
        clamped="real=-7",
        clamped_says="7 of 49 pairs are open",
    ),
    Case(
        page="chapters/12-self-attention-cnn",
        slug="pixel-attention",
        figures=2,
        link="row=3&column=20&width=0.3&patch=3",
        says="Width 0.30, patches of 3 × 3: the pixel in row 4, column 21 gives itself",
        ignored="image=second&row=&column=NaN&width=wide&patch=4&images=1&grid=1,1",
        clamped="image=9&row=1e9&column=-4&width=1e9",
        clamped_says="Width 0.50, patches of 5 × 5: the pixel in row 35, column 1 gives itself",
    ),
    Case(
        page="chapters/08-self-attention-and-position",
        slug="positions",
        figures=1,
        link="view=shuffle&order=119&word=2",
        says="has moved by 0.00 without encodings",
        ignored="view=both&position=far&embed_dim=7&order=&word=NaN&words=1",
        clamped="position=1e9&distance=1e9",
        clamped_says="Positions 49 and 99: the dot product",
    ),
    Case(
        page="chapters/03-queries-keys-values",
        slug="query-and-keys",
        figures=1,
        link="points=2,0,1,0,0,1,0,-2&score=gaussian&moved=key 2",
        says="You move key 2. The scores (Gaussian kernel) -0.50, -2.50, -4.00 become",
        ignored="points=1,2,3&score=foo&moved=key 4",
        clamped="points=9,0,0,1,0,1,-9,0",
        clamped_says="The scores (dot product) 0.00, 0.00, -6.25 become",
        plane=True,
    ),
    Case(
        page="chapters/11-three-ways-to-read-a-sequence",
        slug="reach",
        figures=2,
        link="kind=recurrent&n=8192&d=128&layers=1&back=0",
        says="LSTM, 1 layer: output 8,191 sees 8,192 of 8,192 inputs, the farthest 8,192 steps away.",
        ignored="kind=hybrid&n=long&d=&kernel_size=NaN&layers=two&back=here",
        clamped="n=1e9&d=1e9&kernel_size=1e9&layers=1e9&back=1e9",
        clamped_says="kernel size 9, 8 layers: output 8,128 sees 8,129 of 8,192 inputs",
    ),
    Case(
        page="chapters/05-scaled-dot-product",
        slug="softmax-saturation",
        figures=0,
        link="d=512&temperature=2&scaled=yes",
        says="512 features, temperature 2.00, scores divided by √d",
        ignored="d=100&temperature=hot&scaled=perhaps",
        clamped="temperature=1e9",
        clamped_says="temperature 10.0, scores not divided",
    ),
    Case(
        page="chapters/02-kernel-width",
        slug="width-descent",
        figures=1,
        link="width=0.4&rate=1.5&loss=training",
        says="After 0 steps the width is 0.400, the training error loss",
        ignored="width=Infinity&rate=fast&loss=%3Cb%3E",
        clamped="width=-5&rate=1e9",
        clamped_says="the width is 0.0100",
        quiet=("Learning rate",),
    ),
]
CASE = {case.slug: case for case in CASES}
each_explorer = pytest.mark.parametrize("case", CASES, ids=lambda case: case.slug)

# Everything that is drawn: shapes and places in the SVGs, pixels of the canvases.
PICTURE = """(root) => [
  ...[...root.querySelectorAll("svg")].map((svg) => svg.innerHTML.replace(/clip-\\w+/g, "clip")),
  ...[...root.querySelectorAll("canvas")].map((canvas) => canvas.toDataURL()),
].join("\\n")"""


def alignments() -> Alignment:
    """A short sentence, Korean with a word that looks at nothing, 30 words, and a date letter by letter."""
    long = "the woman who lives in the small blue house near the river does not read the long letters that "
    long = f"{long} her two youngest children write to her almost every week .".split()
    date = [20, 21, 22, 23, 19, 16, 16, 19, 12, 13]  # what each letter of the ISO date comes from
    texts = [
        ("the old house", "la vieille maison", [(0, 0), (1, 1), (2, 2)]),
        ("the cat reads an old book", "작은 고양이가 오래된 책을 읽는다", [(1, 1), (4, 2), (5, 3), (2, 4)]),
        (long, long[::-1], [(29 - t, t) for t in range(30)]),
        (list("Donnerstag, 29. Mai 1997"), list("1997-05-29"), None),
    ]  # fmt: skip
    examples, g = [], torch.Generator().manual_seed(0)
    for source, target, gold in texts:
        source, target = (x.split() if isinstance(x, str) else x for x in (source, target))
        scores = torch.randn(len(target), len(source), generator=g)
        for s, t in gold or zip(date, itertools.count()):
            scores[t, s] += 6
        example = {"source": source, "target": target, "weights": scores.softmax(dim=1)}
        examples.append({**example, "gold": gold})
    examples[1]["weights"][0] = 0
    return Alignment(examples, translate=dict)


def heads() -> AttentionHeads:
    """Two short sentences, one Korean, and one of 30 words; the first head of layer 2 looks one token back."""
    texts = [
        ("the black cat reads .", "le chat noir lit . <eos>"),
        ("the cat reads an old book", "작은 고양이가 오래된 책을 읽는다 <eos>"),
        (" ".join(f"word{i}" for i in range(30)), " ".join(f"said{i}" for i in range(26))),
    ]
    examples, g = [], torch.Generator().manual_seed(0)
    for source, target in ((s.split(), t.split()) for s, t in texts):
        L, S = len(target), len(source)
        scores = {
            "encoder_self": 3 * torch.randn(2, 3, S, S, generator=g),
            "decoder_self": 3 * torch.randn(2, 3, L, L, generator=g),
            "cross": 3 * torch.randn(2, 3, L, S, generator=g) + 6 * torch.eye(L, S),
        }
        scores["encoder_self"][1, 0] += 9 * torch.ones(S - 1).diag(-1)
        scores["decoder_self"].masked_fill_(torch.ones(L, L).triu(1).bool(), -torch.inf)
        maps = {kind: x.softmax(dim=-1) for kind, x in scores.items()}
        examples.append({"source": source, "target": target, "maps": maps})
    return AttentionHeads(examples)


def waves(noise: float = 0.05) -> torch.Tensor:
    """Two colour images, (2, 3, 24, 40): stripes, and rings."""
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(40.0), indexing="ij")
    phases = torch.stack([x / 2 + y / 9, (x - 12).hypot(y - 9) / 1.5])
    colours = torch.tensor([0.0, 0.8, 1.9])[:, None, None]
    images = 0.5 + 0.4 * torch.sin(phases[:, None] + colours)
    return images + noise * torch.rand(images.shape, generator=torch.Generator().manual_seed(0))


def learned_pixels() -> PixelAttention:
    """Weights on 6 x 10 places over keys of 2 x 2 places each: every place looks at the key after its own."""
    places = torch.arange(60)
    own = places // 10 // 2 * 5 + places % 10 // 2
    weights = torch.full((2, 60, 15), 0.02)
    weights[:, places, (own + 1) % 15] = 0.72
    return PixelAttention(waves(), weights, names=["stripes", "rings"], receptive_field=3)


MADE = {
    "alignment": alignments,
    "attention-heads": heads,
    "pixel-attention": lambda: PixelAttention(waves(), names=["stripes", "rings"]),
    "pixel-attention-learned": learned_pixels,
}


@pytest.fixture(scope="module")
def made_site(tmp_path_factory):
    """The address of a page for each example in MADE, made from the page of another explorer."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("_static", "searchindex.js"):
        (folder / name).symlink_to(SITE / name)
    (folder / "chapters").mkdir()
    model = next(case.page for case in CASES if case.page)
    page = (SITE / f"{model}.html").read_text(encoding="utf-8")
    for slug, make in MADE.items():
        explorer = make()
        state = {"model_module": "anywidget", "state": explorer.get_state()}
        state = json.dumps({"state": {"it": state}}).replace("</", "<\\/")
        words = html.escape(repr(explorer))
        picture = f"data:image/png;base64,{base64.b64encode(explorer.still()).decode()}"
        article = f"""<section><h1>{slug}</h1><div class="cell"><div class="cell_output"><div class="explorer">
            <div class="explorer-still"><img alt="{words}" src="{picture}"></div><div class="explorer-live">
            <script type="application/vnd.jupyter.widget-view+json">{{"model_id": "it"}}</script>
            </div></div></div></div></section>"""
        made = page
        for start, new, end in (
            ("<article.*?>", article, "</article>"),
            ("<script [^>]*widget-state.json.>", state, "</script>"),
            ('<nav id="pst-page-toc-nav".*?>', "", "</nav>"),
        ):
            made = re.sub(f"(?s)({start}).*?(?={end})", lambda m, new=new: m[1] + new, made)
        (folder / "chapters" / f"{slug}.html").write_text(made, encoding="utf-8")
    with serve(folder, without="/mathjax/") as address:
        yield address


class Shown:
    """An explorer on an open page."""

    def __init__(self, page, slug: str, quiet: tuple[str, ...] = ()) -> None:
        self.page = page
        self.root = page.locator(f"section#{slug}")
        self.sliders = self.root.get_by_role("slider")
        self.quiet = quiet
        self.says = self.root.locator("[aria-live=polite]")

    def sentence(self) -> str:
        return self.says.inner_text()

    def look(self) -> tuple[str, str]:
        """The picture and the sentence."""
        return self.root.evaluate(PICTURE), self.sentence()

    def button(self, name: str):
        return self.root.get_by_role("button", name=name, exact=True)

    def loud(self) -> list:
        """The sliders that change picture and sentence at once."""
        names = [
            (slider, slider.evaluate("(i) => i.labels[0].textContent"))
            for slider in self.sliders.all()
        ]
        return [slider for slider, name in names if name not in self.quiet]

    def changed(self, before: tuple[str, str]) -> tuple[str, str]:
        """The look now, of which both the picture and the sentence differ from before."""
        now = self.look()
        assert now[0] != before[0], f"the picture has not changed; it says: {now[1]}"
        assert now[1] != before[1], f"the sentence is still: {now[1]}"
        return now


@pytest.fixture
def show(watched, plain_site, made_site):
    """Open the page of an explorer anew; `state` goes into the link."""

    def open_page(case: Case, state: str | None = None, **options) -> Shown:
        end = "" if state is None else f"#{case.slug}?{state}"
        page = f"{plain_site}/{case.page}" if case.page else f"{made_site}/chapters/{case.slug}"
        url = f"{page}.html{end}"
        return Shown(watched(url, **options), case.slug, case.quiet)

    return open_page


@pytest.fixture
def again(show):
    """An explorer in its first state, perhaps on a page that another test has used."""

    def reuse(case: Case, **options) -> Shown:
        shown = show(case, again=True, **options)
        shown.page.mouse.up()
        shown.page.mouse.move(0, 0)
        shown.button("Reset").click()
        return shown

    return reuse


def thumb(slider, share: float | None = None) -> tuple[float, float]:
    """Where the thumb of a slider is on the page, or would be at a share of its range."""
    slider.evaluate("(input) => input.scrollIntoView({ block: 'center', behavior: 'instant' })")
    if share is None:
        share = slider.evaluate("(i) => (i.value - i.min) / (i.max - i.min)")
    box = slider.bounding_box()
    half = 8  # of the thumb
    x = box["x"] + half + share * (box["width"] - 2 * half)
    return x, box["y"] + box["height"] / 2


def across(figure) -> tuple[tuple[float, float], tuple[float, float]]:
    """Two places inside the axes of a figure, neither in the middle nor level with each other."""
    figure.evaluate("(svg) => svg.scrollIntoView({ block: 'center', behavior: 'instant' })")
    box = figure.bounding_box()

    def at(x, y):
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    return at(0.35, 0.3), at(0.7, 0.6)


def touch(page, *points) -> None:
    """Put a finger on the first point, move it along the others, lift it."""
    session = page.context.new_cdp_session(page)

    def send(kind, *touches):
        touches = [{"x": x, "y": y} for x, y in touches]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    send("touchStart", points[0])
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        for step in range(1, 6):
            send("touchMove", (x0 + (x1 - x0) * step / 5, y0 + (y1 - y0) * step / 5))
    send("touchEnd")
    session.detach()


def test_every_explorer_is_tested():
    classes = [getattr(attn_utils.explorers, name) for name in attn_utils.explorers.__all__]
    assert [case.slug for case in CASES] == [cls.slug.default_value for cls in classes]


# ---- Mouse, keyboard, touch ---------------------------------------------------------------------


@each_explorer
def test_mouse(again, case):
    shown = again(case)
    mouse = shown.page.mouse
    for slider in shown.loud():
        before = shown.look()
        mouse.move(*thumb(slider))
        mouse.down()
        mouse.move(*thumb(slider, 0.3), steps=4)
        between = shown.changed(before)
        mouse.move(*thumb(slider, 0.55), steps=4)
        mouse.up()
        shown.changed(between)
    shown.button("Reset").click()
    for radio in shown.root.get_by_role("radio").all()[::-1]:
        if not radio.is_checked():  # a page may start with another than the first
            before = shown.look()
            radio.check()
            shown.changed(before)
    for box in shown.root.get_by_role("checkbox").all():
        before = shown.look()
        box.click()
        shown.changed(before)
    for menu in shown.root.get_by_role("combobox").all():
        for index in range(1, menu.locator("option").count()):
            before = shown.look()
            menu.select_option(index=index)
            shown.changed(before)


@each_explorer
def test_sliders_that_wait_for_the_next_step(again, case):
    shown = again(case)
    for name in case.quiet:
        slider = shown.root.get_by_role("slider", name=name)
        before = slider.get_attribute("aria-valuetext")
        shown.page.mouse.move(*thumb(slider))
        shown.page.mouse.down()
        shown.page.mouse.move(*thumb(slider, 0.9), steps=4)
        shown.page.mouse.up()
        assert slider.get_attribute("aria-valuetext") != before


@each_explorer
def test_mouse_on_the_figures(again, case):
    shown = again(case)
    figures = shown.root.locator("svg.attn-draggable")
    assert figures.count() == case.figures
    for figure in figures.all():
        start, end = across(figure)
        before = shown.look()
        shown.page.mouse.move(*start)
        assert shown.look() == before, "a mouse that only passes over changes nothing"
        shown.page.mouse.down()
        pressed = shown.changed(before)
        shown.page.mouse.move(*end, steps=4)
        dragged = shown.changed(pressed)
        shown.page.mouse.up()
        shown.page.mouse.move(*start)
        assert shown.look() == dragged, "the button is up, the drag is over"


@each_explorer
def test_keyboard(again, case):
    shown = again(case)
    keyboard = shown.page.keyboard
    for slider in shown.loud():
        slider.focus()
        look = shown.look()
        for key in ("ArrowRight", "PageUp", "Home"):
            keyboard.press(key)
            look = shown.changed(look)
        keyboard.press("End")
        shown.changed(look)
    for slider in shown.sliders.all():
        low, high, step = (float(slider.get_attribute(name)) for name in ("min", "max", "step"))
        slider.focus()
        keyboard.press("Home")
        assert float(slider.input_value()) == pytest.approx(low)
        keyboard.press("ArrowRight")
        assert float(slider.input_value()) == pytest.approx(low + step)
        keyboard.press("ArrowLeft")
        assert float(slider.input_value()) == pytest.approx(low)
        keyboard.press("End")
        assert float(slider.input_value()) == pytest.approx(high, abs=step)
        assert slider.get_attribute("aria-valuetext") == slider.evaluate(
            "(input) => input.parentElement.querySelector('output').textContent"
        )
    shown.button("Reset").click()
    start = shown.look()
    for kind, key in (
        ("input[type=radio]:checked", "ArrowDown"),
        ("input[type=checkbox]", "Space"),
        ("select", "ArrowDown"),
    ):
        for number in range(shown.root.locator(kind).count()):
            shown.root.locator(kind).nth(number).focus()
            before = shown.look()
            keyboard.press(key)
            shown.changed(before)
            shown.button("Reset").focus()
            keyboard.press("Enter")
            assert shown.look() == start


@each_explorer
def test_touch(again, case):
    shown = again(case, phone=True)
    for slider in shown.loud():
        before = shown.look()
        touch(shown.page, thumb(slider), thumb(slider, 0.2), thumb(slider, 0.55))
        dragged = shown.changed(before)
        shown.page.touchscreen.tap(*thumb(slider, 0.3))
        shown.changed(dragged)
    for figure in shown.root.locator("svg.attn-draggable").all():
        start, end = across(figure)
        before = shown.look()
        shown.page.touchscreen.tap(*start)
        tapped = shown.changed(before)
        touch(shown.page, start, (end[0], start[1] + 25))
        shown.changed(tapped)
        action = figure.evaluate("(svg) => getComputedStyle(svg).touchAction")
        assert action == ("none" if case.plane else "pan-y"), (
            "a finger that moves up or down scrolls the page, unless the figure needs both directions"
        )


@each_explorer
def test_fits_a_phone(again, case):
    shown = again(case, phone=True)
    box = shown.root.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    for part in shown.root.locator("svg, input, button, output, select").all():
        inside = part.bounding_box()
        assert inside["x"] >= box["x"]
        assert inside["x"] + inside["width"] <= box["x"] + box["width"]
    # Drawn in a 420 px wide frame, 12 px text must not shrink to something illegible.
    size = shown.root.locator("svg text").first.evaluate(
        "(t) => parseFloat(getComputedStyle(t).fontSize) * t.ownerSVGElement.getScreenCTM().a"
    )
    assert size >= 8


# ---- Reset and links ----------------------------------------------------------------------------


@each_explorer
def test_reset(show, case):
    shown = show(case)
    start = shown.look()
    for slider in shown.sliders.all():
        slider.focus()
        shown.page.keyboard.press("Home")
    for choice in shown.root.get_by_role("radio").or_(shown.root.get_by_role("checkbox")).all():
        choice.check()
    shown.changed(start)
    shown.button("Reset").click()
    assert shown.look() == start


@each_explorer
def test_a_link_opens_the_state(show, case):
    start = show(case).look()
    shown = show(case, case.link)
    shown.changed(start)
    assert case.says in shown.sentence()
    for name, value in (pair.split("=") for pair in case.link.split("&")):
        if shown.root.locator(f"input[value={value!r}][type=radio]").count():
            assert shown.root.locator(f"input[value={value!r}]").is_checked(), name
    box = shown.root.bounding_box()
    height = shown.page.viewport_size["height"]
    assert box["y"] < height * 0.5, "the link leads to the explorer, not to the top of the page"
    assert box["y"] + box["height"] > height * 0.5


@each_explorer
def test_a_link_followed_on_the_page(show, case):
    shown = show(case)
    start = shown.look()
    shown.page.evaluate("(hash) => { location.hash = hash; }", f"{case.slug}?{case.link}")
    shown.says.filter(has_text=case.says).wait_for()
    linked = shown.changed(start)
    shown.page.evaluate("() => { location.hash = 'another?width=3'; }")
    assert shown.look() == linked


@each_explorer
def test_a_link_with_bad_values(show, case):
    start = show(case).look()
    assert show(case, case.ignored).look() == start
    shown = show(case, case.clamped)
    assert case.clamped_says in shown.sentence()
    assert not re.search("NaN|undefined|Infinity", "".join(shown.look()))


@each_explorer
def test_copy_link(show, case):
    allowed = {"permissions": ["clipboard-read", "clipboard-write"]}
    shown = show(case, **allowed)
    drive(shown.root)
    look = shown.look()
    shown.button("Copy link").click()
    shown.says.filter(has_text="copied").wait_for()
    link = shown.page.evaluate("navigator.clipboard.readText()")
    assert link == shown.page.url
    page, _, state = link.partition(f"#{case.slug}?")
    assert page.endswith(f"{case.page}.html")
    assert show(case, state, **allowed).look() == look


@each_explorer
def test_copy_link_where_the_clipboard_is_closed(show, case):
    closed = """Object.defineProperty(navigator, "clipboard", { value: undefined })"""
    shown = show(case, before=lambda page: page.add_init_script(closed))
    shown.button("Copy link").click()
    shown.says.filter(has_text="address bar").wait_for()
    assert f"#{case.slug}?" in shown.page.url


# ---- Two explorers on one page ------------------------------------------------------------------


def test_explorers_on_one_page_do_not_disturb_each_other(again):
    width, descent = CASE["kernel-width"], CASE["width-descent"]
    shown = again(width)
    other = Shown(shown.page, descent.slug)
    before, untouched = shown.look(), other.look()
    shown.sliders.first.focus()
    shown.page.keyboard.press("Home")
    shown.changed(before)
    shown.root.get_by_role("radio").last.check()
    assert other.look() == untouched
    other.root.get_by_role("radio").last.check()
    assert shown.root.get_by_role("radio").last.is_checked()
    ids = shown.page.evaluate(
        "[...document.querySelectorAll('.attn-explorer [id]')].map((e) => e.id)"
    )
    assert len(ids) == len(set(ids)), f"ids that are used twice: {ids}"


# ---- Playing ------------------------------------------------------------------------------------


def steps(shown: Shown) -> int:
    """How many steps the sentence counts."""
    return int(re.search(r"After (\d+) steps?", shown.sentence())[1])


def width(shown: Shown) -> float:
    """The width of which the sentence speaks."""
    return float(re.search(r"width is ([\d.e-]+)", shown.sentence())[1].rstrip("."))


@pytest.fixture
def descent(show):
    """The third explorer, with a clock that stands still until the test turns it."""
    shown = show(CASE["width-descent"], before=lambda page: page.clock.install(time=0))
    shown.page.clock.pause_at(60_000)
    return shown


def test_nothing_plays_by_itself(descent):
    start = descent.look()
    descent.page.clock.run_for(5000)
    assert descent.look() == start
    assert steps(descent) == 0


def test_step(descent):
    start = descent.look()
    descent.button("Step").click()
    descent.changed(start)
    assert steps(descent) == 1
    descent.button("Step").click()
    assert steps(descent) == 2
    assert descent.root.locator(".attn-trail").count() == 2


def test_play_and_pause(descent):
    descent.button("Play").click()
    assert descent.button("Pause").is_visible()
    descent.page.clock.run_for(500)
    some = steps(descent)
    assert 3 <= some <= 20
    descent.button("Pause").click()
    descent.page.clock.run_for(1000)
    assert steps(descent) == some
    descent.button("Play").click()
    descent.page.clock.run_for(60_000)
    assert steps(descent) > some
    assert descent.button("Play").is_visible(), "it stops by itself where the slope is zero"
    assert "descent hardly moves here" in descent.sentence()


def test_the_ends_of_the_axis_have_names(descent):
    for key, name in (("Home", "narrow"), ("End", "wide")):
        descent.sliders.first.press(key)
        assert f"The width is at the {name} end of the axis." in descent.sentence()
    descent.sliders.first.press("ArrowLeft")
    assert "end of the axis" not in descent.sentence()


def test_a_drag_ends_the_play_and_begins_a_new_trail(descent):
    descent.button("Play").click()
    descent.page.clock.run_for(500)
    descent.sliders.first.focus()
    descent.page.keyboard.press("Home")
    assert steps(descent) == 0
    assert descent.button("Play").is_visible()
    descent.page.clock.run_for(1000)
    assert steps(descent) == 0


def test_reset_while_playing(descent):
    start = descent.look()
    descent.button("Play").click()
    descent.page.clock.run_for(500)
    descent.button("Reset").click()
    descent.page.clock.run_for(1000)
    assert descent.look() == start


def test_without_motion_play_jumps_to_the_end(show):
    shown = show(CASE["width-descent"], reduced_motion="reduce")
    shown.button("Play").click()
    left_out, rest = width(shown), shown.look()
    assert steps(shown) > 3
    assert shown.button("Play").is_visible()
    shown.button("Reset").click()
    shown.root.get_by_role("radio").last.check()
    shown.button("Play").click()
    shown.changed(rest)
    assert width(shown) < left_out, "the training error asks for a narrower kernel"


# ---- The mask -----------------------------------------------------------------------------------


def test_a_click_turns_a_cell_over(show):
    shown = show(CASE["mask-painter"])
    cell = shown.root.get_by_role("button", name="we may attend to old")
    assert cell.get_attribute("aria-pressed") == "true"
    start = shown.look()
    cell.click()
    shown.changed(start)
    assert cell.get_attribute("aria-pressed") == "false"
    assert "34 of 49" in shown.sentence()
    cell.press("Space")
    assert cell.get_attribute("aria-pressed") == "true"
    for word in ("we", "read", "very", "old", "books"):
        shown.root.get_by_role("button", name=f"we may attend to {word}").click()
    assert "1 of 7 queries may attend to nobody" in shown.sentence()
    shown.button("Copy link").click()
    state = shown.page.url.partition("?")[2]
    assert "1 of 7 queries" in show(CASE["mask-painter"], state).sentence()
    shown.button("Reset").click()
    assert shown.look() == start


# ---- The alignment ------------------------------------------------------------------------------


@pytest.fixture
def alignment(show):
    """The alignment explorer with the examples above at a state, on a desk or a phone."""
    case = dataclasses.replace(CASE["alignment"], page="")
    return lambda state=None, **options: show(case, state, **options)


def chosen(shown: Shown) -> int:
    """The target word that is chosen."""
    return int(shown.root.locator(".attn-words :checked").get_attribute("value"))


def shares(shown: Shown) -> list[str]:
    """The weights under the source words."""
    return shown.root.locator(".attn-keys small").all_inner_texts()


def test_a_mouse_over_a_word_or_a_row_chooses_it(alignment):
    shown = alignment()
    before = shown.look(), shares(shown)
    shown.root.locator(".attn-words label").nth(2).hover()
    shown.changed(before[0])
    assert chosen(shown) == 2
    assert shares(shown) != before[1]
    assert f"“house” ({shares(shown)[2]})" in shown.sentence()
    for row in (0, 1, 2):
        box = shown.root.locator("canvas").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] * (row + 0.5) / 3
        shown.page.mouse.move(x, y)
        assert chosen(shown) == row
    shown.page.mouse.move(0, 0)
    assert chosen(shown) == 2, "the last word stays chosen"


def test_arrow_keys_go_through_the_words(alignment):
    shown = alignment()
    shown.root.locator(".attn-words :checked").focus()
    seen = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowDown"):
        shown.page.keyboard.press(key)
        seen.append(chosen(shown))
        assert shown.root.locator(".attn-words :checked").evaluate("(e) => e.matches(':focus')")
    assert seen == [1, 2, 1, 2]


def test_a_tap_chooses_a_word_or_a_row(alignment):
    shown = alignment(phone=True)
    shown.root.locator(".attn-words label").nth(2).tap()
    assert chosen(shown) == 2
    shown.root.locator("canvas").evaluate("(e) => e.scrollIntoView({ block: 'center' })")
    box = shown.root.locator("canvas").bounding_box()
    shown.page.touchscreen.tap(box["x"] + 9, box["y"] + box["height"] / 2)
    assert chosen(shown) == 1


def test_gold_links_are_shown_where_there_are_some(alignment):
    shown = alignment("sentence=1&word=3")
    box, gold = (
        shown.root.get_by_role("checkbox"),
        shown.root.locator(".attn-gold:not(.attn-gold-edge)"),
    )
    assert [one.is_visible() for one in gold.all()] == [False] * 4
    assert shown.root.locator(".attn-linked").count() == 0
    box.check()
    assert [one.is_visible() for one in gold.all()] == [True] * 4
    assert shown.root.locator(".attn-linked").all_inner_texts()[0].startswith("book")
    assert shown.sentence().endswith("Gold: “book”.")
    korean = alignments().examples[1]
    share = sum(korean["weights"][t][s] for s, t in korean["gold"]) / 4  # each word has one link
    words = f"{share:.2f} of the attention"
    assert words in shown.root.locator(".attn-summary").inner_text()
    assert "for 4 of 4." in shown.root.locator(".attn-summary").inner_text()
    shown.root.locator(".attn-words label").first.hover()
    assert shown.sentence() == "“작은” looks at nothing. Gold: nothing."
    shown.root.get_by_role("combobox").select_option(index=3)
    assert box.is_disabled()
    assert not box.is_checked()
    assert gold.count() == 0
    shown.root.get_by_role("combobox").select_option(index=0)
    assert box.is_checked(), "what the reader wished is not forgotten"


def test_nothing_can_be_typed_without_a_kernel(alignment):
    assert alignment().root.get_by_role("textbox").count() == 0


def test_spaces_can_be_seen(alignment):
    shown = alignment("sentence=3")
    words = shown.root.locator(".attn-keys li").all_inner_texts()
    assert [word[0] for word in words] == list("Donnerstag,␣29.␣Mai␣1997")
    assert shown.root.locator("svg text", has_text="␣").count() == 3


@pytest.mark.parametrize("sentence", [2, 3], ids=["30 words", "date"])
@pytest.mark.parametrize("phone", [True, False], ids=["phone", "desk"])
def test_long_sentences_fit(alignment, sentence, phone):
    shown = alignment(f"sentence={sentence}&word=8&gold=1", phone=phone)
    box = shown.root.bounding_box()
    for part in shown.root.locator("svg, canvas, select, label, li, svg text").all():
        inside = part.bounding_box()
        assert box["x"] <= inside["x"]
        assert inside["x"] + inside["width"] <= box["x"] + box["width"]
    assert shown.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    sizes = shown.root.locator("svg text").evaluate_all(
        "(all) => all.map((t) => parseFloat(getComputedStyle(t).fontSize) * t.ownerSVGElement.getScreenCTM().a)"
    )
    assert min(sizes) >= 8


# ---- The heads ----------------------------------------------------------------------------------


@pytest.fixture
def shown_heads(show):
    """The explorer of heads with the examples above at a state, on a desk or a phone."""
    case = dataclasses.replace(CASE["attention-heads"], page="")
    return lambda state=None, **options: show(case, state, **options)


@pytest.mark.parametrize("phone", [True, False], ids=["phone", "desk"])
def test_a_click_isolates_a_head(shown_heads, phone):
    shown = shown_heads("layer=1&head=3", phone=phone)
    before = shown.look()
    head = shown.root.locator(".attn-heads label").nth(4)
    (head.tap if phone else head.click)()
    now = shown.changed(before)
    assert "layer 2, head 1: “the”" in now[1]
    assert shown.root.get_by_role("radio", name="layer 2, head 1").is_checked()
    weights = torch.tensor(heads().examples[0]["encoder_self"]["weights"][1][0])
    tokens = torch.special.entr(weights).sum(dim=1).exp().mean()
    words = shown.root.locator(".attn-summary").inner_text()
    assert f"a query spreads over {tokens:.1f} tokens" in words
    assert head.inner_text() == f"{tokens:.1f}"
    shown.page.keyboard.press("ArrowRight")
    assert "layer 2, head 2" in shown.sentence()
    assert shown.root.locator(".attn-heads :checked").evaluate("(e) => e.matches(':focus')")


@pytest.mark.parametrize("picture", [0, 1], ids=["arcs", "heatmap"])
@pytest.mark.parametrize("phone", [True, False], ids=["phone", "desk"])
def test_a_row_under_a_mouse_or_a_finger_is_chosen(shown_heads, picture, phone):
    shown = shown_heads("kind=cross&layer=1", phone=phone)
    svg = shown.root.locator("svg").nth(picture)
    svg.evaluate("(svg) => svg.scrollIntoView({ block: 'center', behavior: 'instant' })")
    slider, label = shown.sliders.first, svg.locator("text", has_text="lit").first
    box, frame = label.bounding_box(), svg.bounding_box()
    at = frame["x"] + frame["width"] / 2, box["y"] + box["height"] / 2
    (shown.page.touchscreen.tap if phone else shown.page.mouse.move)(*at)
    assert slider.input_value() == "3"
    assert slider.get_attribute("aria-valuetext") == "lit"
    assert "to say “lit” it looks at" in shown.sentence()
    assert svg.locator("text.attn-chosen").all_text_contents() == ["lit"] * (not picture)


def test_arcs_are_the_weights(shown_heads):
    shown = shown_heads("kind=decoder_self&layer=1&head=2&token=4")
    row = heads().examples[0]["decoder_self"]["weights"][1][2][4]
    wanted = [f"{w:.2f}" for w in row if w >= 0.005]
    arcs = shown.root.locator("g.attn-chosen path").all()
    assert [arc.get_attribute("stroke-opacity") for arc in arcs] == wanted
    assert set(wanted) <= set(shown.root.locator(".attn-arcs svg text").all_text_contents())


def test_another_kind_or_sentence_keeps_the_head(shown_heads):
    shown = shown_heads("kind=encoder_self&layer=1&head=1&token=4")
    shown.root.get_by_role("radio", name="cross").check()
    assert "Cross-attention, layer 2, head 2: to say “.” it" in shown.sentence()
    shown.root.get_by_role("combobox").select_option(index=1)
    assert "Cross-attention, layer 2, head 2: to say “작은” it" in shown.sentence()
    shown.sliders.first.press("End")
    assert "to say “<eos>” it" in shown.sentence()


@pytest.mark.parametrize("kind", ["encoder_self", "decoder_self", "cross"])
@pytest.mark.parametrize("phone", [True, False], ids=["phone", "desk"])
def test_long_sentences_of_heads_fit(shown_heads, kind, phone):
    shown = shown_heads(f"sentence=2&kind={kind}&token=20", phone=phone)
    box = shown.root.bounding_box()
    for part in shown.root.locator("svg, canvas, select, label, svg text:not(:empty)").all():
        inside = part.bounding_box()
        assert box["x"] <= inside["x"]
        assert inside["x"] + inside["width"] <= box["x"] + box["width"]
    assert shown.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


# ---- Pixels -------------------------------------------------------------------------------------


@pytest.fixture
def pixels(show):
    """The explorer of pixels at a state, with weights that are given or with non-local means."""

    def open_page(state=None, learned=False, **options):
        slug = "pixel-attention-learned" if learned else "pixel-attention"
        return show(
            dataclasses.replace(CASE["pixel-attention"], page="", slug=slug), state, **options
        )

    return open_page


@pytest.mark.parametrize("phone", [True, False], ids=["phone", "desk"])
@pytest.mark.parametrize("picture", [0, 1])
def test_a_click_chooses_the_pixel_under_it(pixels, phone, picture):
    shown = pixels(phone=phone)
    canvas = shown.root.locator("canvas").nth(picture)
    canvas.evaluate("(e) => e.scrollIntoView({ block: 'center', behavior: 'instant' })")
    box = canvas.bounding_box()
    assert box["width"] / box["height"] == pytest.approx(40 / 24, rel=0.02), "pixels are square"
    for row, column in ((0, 0), (23, 39), (5, 20)):
        at = (
            box["x"] + box["width"] * (column + 0.5) / 40,
            box["y"] + box["height"] * (row + 0.5) / 24,
        )
        (shown.page.touchscreen.tap if phone else shown.page.mouse.click)(*at)
        assert f"the pixel in row {row + 1}, column {column + 1} gives" in shown.sentence()
        assert [s.input_value() for s in shown.sliders.all()[:2]] == [str(row), str(column)]


def pixel(shown, picture, row, column):
    """Its colour in a canvas."""
    expression = """(canvas, at) => {
      const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
      copy.drawImage(canvas, 0, 0);
      return [...copy.getImageData(...at, 1, 1).data.slice(0, 3)];
    }"""
    return shown.root.locator("canvas").nth(picture).evaluate(expression, [column, row])


def test_colours_are_the_weights_and_the_square(pixels):
    shown = pixels("row=3&column=20&width=0.3&patch=3&image=1")
    explorer = PixelAttention(waves(), image=1, row=3, column=20, width=0.3, patch=3)
    weights = (explorer.shown() / explorer.shown().max()).reshape(24, 40)
    image = 255 * explorer.double("images")[1]
    for row, column in ((3, 20), (3, 22), (3, 23), (6, 20), (11, 4), (23, 39)):
        share = weights[row, column]
        wanted = (1 - share) * 0.6 * image[:, row, column].mean() + share * torch.tensor(
            [253, 231, 37]
        )
        torch.testing.assert_close(
            torch.tensor(pixel(shown, 0, row, column)).double(), wanted.double(), atol=1.01, rtol=0
        )
        lit = abs(row - 3) <= 2 and abs(column - 20) <= 2
        torch.testing.assert_close(
            torch.tensor(pixel(shown, 1, row, column)).double(),
            image[:, row, column] * (1 if lit else 0.35), atol=1.01, rtol=0,
        )  # fmt: skip


def test_weights_that_are_given(pixels):
    shown = pixels("image=1&row=1&column=2", learned=True)
    assert shown.sliders.count() == 2
    assert shown.sentence() == (
        "The place in row 2, column 3 gives itself 2.0 % of its weight and, elsewhere, most to "
        "rows 1–2, columns 5–6: 72.0 %. "
        "A convolution of 3 × 3 would not reach it; 92.0 % of the weight lies beyond."
    )
    yellow = [253, 231, 37]
    assert pixel(shown, 0, 0, 16) == pixel(shown, 0, 7, 23) == yellow
    assert yellow not in [pixel(shown, 0, 0, 15), pixel(shown, 0, 8, 23), pixel(shown, 0, 7, 24)]
    before = shown.look()
    shown.root.get_by_role("combobox").select_option("stripes")
    assert shown.look()[0] != before[0]


# ---- For everybody ------------------------------------------------------------------------------


@each_explorer
def test_tab_reaches_every_control_and_shows_where_it_is(again, case):
    shown = again(case)
    shown.root.evaluate("""(root) => {
      root.tabIndex = -1;
      root.focus();
    }""")
    wanted = shown.sliders.count() + shown.root.get_by_role("button").count()
    wanted += shown.root.locator("fieldset, select, input[type=checkbox]").count()
    without = shown.root.screenshot()
    for _ in range(wanted):
        shown.page.keyboard.press("Tab")
        style = shown.root.evaluate("""(root) => {
          const at = document.activeElement;
          const { outlineStyle, outlineWidth } = getComputedStyle(at);
          return [root.contains(at), at.matches(":focus-visible"), outlineStyle, parseFloat(outlineWidth)];
        }""")
        assert style[:2] == [True, True]
        assert style[2] != "none"
        assert style[3] >= 2
        assert shown.root.screenshot() != without, "the outline cannot be seen"
    shown.page.keyboard.press("Tab")
    assert not shown.root.evaluate("(root) => root.contains(document.activeElement)")


@each_explorer
def test_names_for_those_who_do_not_see(again, case):
    shown = again(case)
    assert shown.root.get_attribute("aria-label")
    for picture in shown.root.locator("svg").all():
        assert picture.get_attribute("role") == "img"
        assert len(picture.get_attribute("aria-label")) > 20
    for slider in shown.sliders.all():
        assert slider.evaluate("(input) => input.labels.length") == 1
        assert slider.get_attribute("aria-valuetext")
    for control in shown.root.locator("select, input[type=checkbox]").all():
        assert control.evaluate("(control) => control.labels[0].textContent")
    for group in shown.root.locator("fieldset").all():
        assert group.locator("legend").inner_text()
        assert group.locator("input:checked").count() == 1


@each_explorer
def test_light_and_dark_differ(again, case):
    def looks(dark):
        shown = again(case, dark=dark)
        style = "(root) => [getComputedStyle(root).color, getComputedStyle(root).backgroundColor]"
        return shown.root.evaluate(style), shown.root.screenshot()

    (light_style, light), (dark_style, dark) = looks(False), looks(True)
    assert light_style[0] != dark_style[0]
    assert light_style[1] != dark_style[1]
    assert light != dark


# ---- The still picture --------------------------------------------------------------------------


def numbers(text: str) -> set[str]:
    """The numbers in a text, to two significant digits."""
    return {f"{float(n):.2g}" for n in re.findall(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", text)}


@each_explorer
def test_the_live_explorer_takes_the_place_of_the_still_picture(again, case):
    shown = again(case)
    frame = shown.page.locator(".explorer").filter(has=shown.root)
    still = frame.locator(".explorer-still img")
    assert still.is_hidden()
    assert shown.root.is_visible()
    words = still.get_attribute("alt")
    assert numbers(words.split(":", 1)[1]) <= numbers(shown.sentence()), "both say the same numbers"


@each_explorer
def test_without_javascript_the_still_picture_stands(show, case):
    shown = show(case, java_script_enabled=False, wait=False, allow=[r"/_static/scripts/.* csp"])
    assert shown.root.count() == 0
    still = shown.page.locator(
        f".explorer-still img[alt^={case.slug.title().replace('-', '')}]"
    ).first
    assert still.is_visible()
    assert still.bounding_box()["width"] > 300
    assert still.bounding_box()["height"] > 100
