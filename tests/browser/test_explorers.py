"""Every explorer on its built page: mouse, keyboard, touch, reset, links, themes, no JavaScript, axe-core.

A new explorer is one more line in CASES.
"""

from __future__ import annotations

import dataclasses
import itertools
import re

import pytest
from axe_playwright_python.sync_playwright import Axe

import attn_utils.explorers


@dataclasses.dataclass(frozen=True)
class Case:
    """Where an explorer is, what can be dragged in it, and how links to it are understood."""

    page: str
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
def show(watched, plain_site):
    """Open the page of an explorer anew; `state` goes into the link."""

    def open_page(case: Case, state: str | None = None, **options) -> Shown:
        end = "" if state is None else f"#{case.slug}?{state}"
        url = f"{plain_site}/{case.page}.html{end}"
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
        before = shown.look()
        radio.check()
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
    if radio := shown.root.locator("input[type=radio]:checked").all():
        radio[0].focus()
        before = shown.look()
        keyboard.press("ArrowDown")
        shown.changed(before)


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
    for part in shown.root.locator("svg, input, button, output").all():
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
    for radio in shown.root.get_by_role("radio").all():
        radio.check()
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
    slider = shown.sliders.first
    slider.focus()
    shown.page.keyboard.press("Home")
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
    assert "descent rests here" in descent.sentence()


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


# ---- For everybody ------------------------------------------------------------------------------


@each_explorer
def test_tab_reaches_every_control_and_shows_where_it_is(again, case):
    shown = again(case)
    shown.root.evaluate("""(root) => {
      root.tabIndex = -1;
      root.focus();
    }""")
    wanted = shown.sliders.count() + shown.root.get_by_role("button").count()
    wanted += shown.root.locator("fieldset").count()
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
    for group in shown.root.locator("fieldset").all():
        assert group.locator("legend").inner_text()
        assert group.locator("input:checked").count() == 1


@pytest.mark.parametrize(
    "case", {case.page: case for case in CASES}.values(), ids=lambda case: case.page
)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(again, case, dark):
    shown = again(case, dark=dark)
    options = {"resultTypes": ["violations"], "preload": False}
    results = Axe().run(shown.page, context=".attn-explorer", options=options).response
    assert [v["id"] for v in results["violations"]] == [], "\n".join(
        f"{violation['id']}: {violation['help']}: {node['html'][:150]} {node['failureSummary']}"
        for violation in results["violations"]
        for node in violation["nodes"]
    )


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
    still = shown.page.locator(f".explorer-still img[alt^={case.slug.title().replace('-', '')}]")
    assert still.is_visible()
    assert still.bounding_box()["width"] > 300
    assert still.bounding_box()["height"] > 100
