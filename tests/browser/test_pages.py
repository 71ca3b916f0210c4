"""Every page of the table of contents as a reader meets it: on a desk, on a phone in the dark, from disk."""

from __future__ import annotations

import dataclasses
import functools
import io
import itertools
import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from fontTools.ttLib import TTFont
from lxml import html
from PIL import Image

from .conftest import PHONE, new_page
from .harness import READY, ROOT, SITE, drive, pages, slug

PAGES = pages()
NOTEBOOKS = [page for page in PAGES if (ROOT / f"{page}.ipynb").is_file()]
EXPLORERS = [
    page
    for page in NOTEBOOKS
    if "attn_utils.explorers" in (ROOT / f"{page}.ipynb").read_text(encoding="utf-8")
]
WIDGETS = "script[type='application/vnd.jupyter.widget-view+json']"
# Bytes after gzip of all that a page asks for, and of every picture further down, which comes later.
MOST_WEIGHT = 1_000_000
MOST_WAIT = 1000  # ms from the load event to explorers that answer
MOST_SHIFT = 0.05  # cumulative layout shift; "good" ends at 0.1 (web.dev/cls)
# What Sphinx adds to the pages of the table of contents: one of each kind.
ADDED = ["search", "genindex", "py-modindex", "_modules/index", "_modules/attn_utils/attention"]

each_page = pytest.mark.parametrize("name", PAGES)
each_with_explorers = pytest.mark.parametrize("name", EXPLORERS)
each_notebook = pytest.mark.parametrize("name", NOTEBOOKS)

FACTS = """() => {
  const shown = (selector) => [...document.querySelectorAll(selector)].filter((e) => e.checkVisibility());
  const clip = (node) => {
    for (let e = node.parentElement; e && e !== document.body; e = e.parentElement) {
      if (getComputedStyle(e).overflowX !== "visible") return true;
    }
    return false;
  };
  return {
    language: document.documentElement.lang,
    headings: shown("main :is(h1, h2, h3, h4, h5, h6)").map((e) => [Number(e.tagName[1]), e.textContent]),
    alts: [...document.images].map((image) => [image.getAttribute("alt") ?? "", image.getAttribute("src")]),
    pictures: [...document.images].map((image) => image.src),
    bent: [...document.images].filter((e) => e.checkVisibility()).filter((e) => {
      const style = getComputedStyle(e);
      const frame = (sides) => sides.map((side) => parseFloat(style["padding" + side])).reduce((a, b) => a + b);
      const width = e.clientWidth - frame(["Left", "Right"]), height = e.clientHeight - frame(["Top", "Bottom"]);
      return Math.abs(width / height / (e.getAttribute("width") / e.getAttribute("height")) - 1) > 0.02;
    }).map((e) => e.src),
    sizeless: [...document.images].filter((e) => !e.matches("[width][height]")).map((e) => e.src),
    icons: [...document.querySelectorAll("body :not(.highlight *, mjx-container *)")]
      .flatMap((e) => ["::before", "::after"].map((part) => getComputedStyle(e, part).content))
      .join("").match(/[\ue000-\uf8ff]/gu) ?? [],
    iconless: [...document.querySelectorAll("[class*='fa-']")]
      .filter((e) => getComputedStyle(e, "::before").content === "none").map((e) => e.className),
    math: document.querySelectorAll(".math").length,
    typeset: document.querySelectorAll("mjx-container").length,
    badMath: [...document.querySelectorAll("mjx-merror")].map((e) => e.textContent),
    links: [...document.links].map((a) => a.href),
    cells: document.querySelectorAll(".cell_input pre").length,
    copyButtons: document.querySelectorAll(".cell_input button.copybtn").length,
    views: document.querySelectorAll("script[type='application/vnd.jupyter.widget-view+json']").length,
    live: shown("section.attn-explorer").length,
    notes: shown(".explorer-note").map((e) => e.textContent),
    theme: document.documentElement.dataset.theme,
    ready: (globalThis.readyAt ?? 0) - performance.getEntriesByType("navigation")[0].loadEventEnd,
    shifts: globalThis.shifts,
    scrollWidth: document.documentElement.scrollWidth,
    wide: [...document.querySelectorAll("body *")].filter((e) =>
      e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1 && !clip(e))
      .map((e) => e.outerHTML.slice(0, 120)),
  };
}"""


# Hides each text that repeats the colours and size of another one: thousands of pieces of code are a dozen kinds.
# The explorers, in which things overlap, stay whole.
ONE_OF_EACH = """() => {
  document.head.append(Object.assign(document.createElement("style"),
    { textContent: "[data-repeats] { display: none !important; }" }));
  const all = [...document.querySelectorAll("body, body *")];
  for (const e of all) e.removeAttribute("data-repeats");
  const grounds = new Map(), seen = new Set();
  const kinds = all.map((e) => {
    const { color, fontSize, fontWeight, backgroundColor, backgroundImage, opacity } = getComputedStyle(e);
    const own = `${backgroundColor} ${backgroundImage} ${opacity} `;
    const under = grounds.get(e.parentElement) ?? "";
    grounds.set(e, own === "rgba(0, 0, 0, 0) none 1 " ? under : under + own);
    return `${grounds.get(e)}${color} ${fontSize} ${fontWeight}`;
  });
  for (let i = all.length - 1; i >= 0; i--) {  // what is inside comes before what is around it
    const stays = all[i].closest(".attn-explorer") || !all[i].checkVisibility();
    if (stays || all[i].querySelector(":scope > :not([data-repeats])")) continue;
    if (!all[i].textContent.trim()) continue;
    all[i].toggleAttribute("data-repeats", seen.has(kinds[i]));
    seen.add(kinds[i]);
  }
}"""


@dataclasses.dataclass
class Visit:
    """What was found on a first visit to a page."""

    facts: dict
    complaints: list[str]
    weight: dict[str, int]
    pixels: np.ndarray


@functools.cache
def text_of(path) -> str:
    """The text of a built page, read once."""
    return path.read_text(encoding="utf-8")


def settle(page) -> None:
    """Wait for explorers, formulas and whatever is still loading."""
    if page.locator(WIDGETS).count():
        page.wait_for_selector(READY, state="attached")
    if page.locator(".math").count():
        page.wait_for_function("globalThis.MathJax?.startup?.promise")
        page.evaluate("MathJax.startup.promise.then(() => null)")
    page.wait_for_load_state("networkidle")


@pytest.fixture(scope="module")
def visit(browser, site):
    """visit(name, phone=…, dark=…): the first visit to a page; each is made once."""
    made = {}

    def look(name: str, phone: bool = False, dark: bool = False) -> Visit:
        if (name, phone, dark) not in made:
            scheme = "dark" if dark else "light"
            context = browser.new_context(**(PHONE if phone else {}), color_scheme=scheme)
            page = new_page(context)
            page.watch.start(site)
            page.goto(f"{site}/{name}.html")
            settle(page)
            facts = page.evaluate(FACTS)
            page.watch.requests += facts["pictures"]
            made[name, phone, dark] = Visit(
                facts=facts,
                complaints=page.watch.complaints[:],
                weight=page.watch.weight(SITE),
                pixels=np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("L")),
            )
            context.close()
        return made[name, phone, dark]

    return look


# ---- What every page has ------------------------------------------------------------------------


@each_page
def test_no_complaint_and_no_third_party(visit, name):
    assert visit(name).complaints == []
    assert visit(name, phone=True, dark=True).complaints == []


@each_page
def test_one_h1_and_no_level_left_out(visit, name):
    headings = visit(name).facts["headings"]
    assert [level for level, _ in headings].count(1) == 1, headings
    assert headings[0][0] == 1
    for (level, _), (below, text) in itertools.pairwise(headings):
        assert below <= level + 1, f"{text}: level {below} after level {level}"


@each_page
def test_the_page_names_its_language(visit, name):
    assert visit(name).facts["language"] == "en"


@each_page
def test_no_sideways_scroll_on_a_phone(visit, name):
    facts = visit(name, phone=True, dark=True).facts
    assert facts["scrollWidth"] <= 390, f"these stick out: {facts['wide']}"


@each_page
def test_light_and_dark(visit, name):
    light, dark = visit(name), visit(name, phone=True, dark=True)
    assert (light.facts["theme"], dark.facts["theme"]) == ("light", "dark")
    assert np.median(light.pixels) > 200
    assert np.median(dark.pixels) < 60
    assert min(light.pixels.std(), dark.pixels.std()) > 5, "an empty page"


@each_page
def test_images_have_alt_text(visit, name):
    for alt, source in visit(name).facts["alts"]:
        assert alt.strip(), f"{source} has no alt text"
        assert not re.search(r"\.(png|svg|jpe?g|webp)$|^_?images?\b", alt), (
            f"{source}: {alt} is a file name"
        )


@each_page
def test_images_carry_their_size(visit, name):
    """Without it the text moves when they come."""
    assert visit(name).facts["sizeless"] == []


@each_page
def test_no_picture_is_bent(visit, name):
    assert visit(name).facts["bent"] == []


@each_notebook
def test_figures_are_sharp_on_fine_screens(site, name):
    """Two dots a pixel, along each side."""
    page = SITE / f"{name}.html"
    for figure in html.parse(page).xpath("//div[contains(@class, 'cell_output')]//img"):
        with Image.open(page.parent / figure.get("src")) as picture:
            assert picture.width >= 2 * int(figure.get("width")), figure.get("alt")


@each_page
def test_icons_are_in_their_fonts(visit, name):
    """Fonts and style are cut down to what pages show."""
    assert visit(name).facts["iconless"] == []
    fonts = (SITE / "_static" / "vendor" / "fontawesome").rglob("*.ttf")
    held = {chr(code) for font in fonts for code in TTFont(font).getBestCmap()}
    icons = set(visit(name).facts["icons"] + visit(name, phone=True, dark=True).facts["icons"])
    assert len(icons) > 5
    assert icons <= held, f"missing: {icons - held}"


@each_page
def test_formulas_are_typeset(visit, name):
    facts = visit(name).facts
    assert facts["typeset"] >= facts["math"]
    assert facts["badMath"] == []


@each_page
def test_links_within_the_site_lead_somewhere(visit, site, name):
    for url in sorted({url for url in visit(name).facts["links"] if url.startswith(site)}):
        path, _, place = url.removeprefix(site).lstrip("/").partition("#")
        target = SITE / (path.partition("?")[0] or "index.html")
        assert target.is_file(), url
        # An explorer's place is made by the explorer.
        wanted = rf'id="{re.escape(place)}"|"slug": "{re.escape(place)}"'
        assert not place or re.search(wanted, text_of(target)), f"{url}: no such place"


@each_page
def test_weight(visit, report, name):
    weight = visit(name).weight
    largest = ", ".join(
        f"{path.rpartition('/')[2]} {n / 1000:.0f}" for path, n in list(weight.items())[:3]
    )
    report(f"{name}: {sum(weight.values()) / 1000:.0f} kB gzip in {len(weight)} files ({largest})")
    assert sum(weight.values()) <= MOST_WEIGHT, weight


def violations(page, **options) -> list[str]:
    """What axe-core finds wrong on a page, all of it."""
    options = {"resultTypes": ["violations"], "preload": False, **options}
    return [
        f"{violation['id']} ({violation['help']}): {node['html'][:150]} {node['failureSummary']}"
        for violation in Axe().run(page, options=options).response["violations"]
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("name", PAGES + ADDED)
def test_axe_finds_nothing(watched, site, plain_site, name):
    # The formulas of one page stand for all: they double the time that a page takes.
    plain = name in NOTEBOOKS
    address = plain_site if plain else site
    page = watched(f"{address}/{name}.html", wait=name in EXPLORERS, before=lambda page: None)
    if not plain:
        settle(page)
    contrast = "color-contrast"  # alone depends on the theme, and takes most of the time
    assert violations(page, rules={contrast: {"enabled": False}}) == []
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        page.wait_for_selector(f"html[data-theme={theme}]", state="attached")
        page.evaluate(ONE_OF_EACH)
        assert violations(page, runOnly=[contrast]) == [], theme


def test_the_contrast_of_every_kind_of_text_is_checked(watched, plain_site):
    page = watched(f"{plain_site}/{NOTEBOOKS[0]}.html", before=lambda page: None)
    for spoiled in (".highlight .k { color: #aaa !important; }", "main p { color: #aaa; }"):
        style = page.add_style_tag(content=spoiled)
        page.evaluate(ONE_OF_EACH)
        found = violations(page, runOnly=["color-contrast"])
        assert any("#aaaaaa" in one for one in found), f"not noticed: {spoiled}"
        style.evaluate("(style) => style.remove()")


# ---- What notebooks have ------------------------------------------------------------------------


@each_notebook
def test_colab_button(visit, name):
    links = visit(name).facts["links"]
    wanted = f"https://colab.research.google.com/github/{slug()}/blob/main/{name}.ipynb"
    assert [url for url in links if "colab" in url and url.endswith(".ipynb")] == [wanted]


@each_notebook
def test_every_code_cell_can_be_copied(visit, name):
    facts = visit(name).facts
    assert facts["copyButtons"] == facts["cells"] > 0


@each_with_explorers
def test_every_widget_is_live_or_says_why_not(visit, name):
    facts = visit(name).facts
    assert facts["live"] + len(facts["notes"]) == facts["views"] > 0
    assert facts["live"] > 0
    for note in facts["notes"]:
        assert "open the notebook in Colab or Jupyter" in note


@each_with_explorers
def test_explorers_are_ready_soon(visit, report, name):
    ready = visit(name).facts["ready"]
    report(f"{name}: explorers ready {ready:.0f} ms after the load event")
    assert ready < MOST_WAIT


@each_page
def test_little_moves_while_the_page_appears(visit, report, name):
    for kind, one in (("desk", visit(name)), ("phone", visit(name, phone=True, dark=True))):
        shift = sum(entry["value"] for entry in one.facts["shifts"])
        report(f"{name} ({kind}): cumulative layout shift {shift:.3f}")
        assert shift <= MOST_SHIFT, one.facts["shifts"]


@each_with_explorers
def test_a_link_below_the_explorers_leads_there(watched, plain_site, name):
    """Places are kept for them: the section stays on the screen, also where no browser holds it there."""
    style = "document.documentElement.style.overflowAnchor = 'none'"
    script = f"addEventListener('DOMContentLoaded', () => {{ {style} }})"
    url = f"{plain_site}/{name}.html#exercises"
    page = watched(url, phone=True, before=lambda page: page.add_init_script(script))
    top = page.locator("#exercises").evaluate("(e) => e.getBoundingClientRect().top")
    assert 0 <= top < PHONE["viewport"]["height"]


# ---- The site as a whole ------------------------------------------------------------------------


def test_the_reference_has_every_public_name_with_its_source():
    html = (SITE / "chapters/reference.html").read_text(encoding="utf-8")
    listed = (ROOT / "STYLE.md").read_text(encoding="utf-8").split("## Public names")[1]
    for module, names in re.findall(
        r"- `(attn_utils\.\w+)`: (.+?)(?=\n- |\n\n)", listed, re.DOTALL
    ):
        for name in re.findall(r"`(\w+)`", names):
            if name.isupper() or name == "RolesTable":  # constants have no docstring of their own
                continue
            place = re.search(rf'<dt [^>]*id="{module}\.{name}".*?</dt>', html, re.DOTALL)
            assert place, f"{module}.{name}"
            assert "viewcode-link" in place[0], f"{module}.{name} has no link to its source"


def test_the_first_page_is_the_introduction(watched, site):
    page = watched(f"{site}/index.html", wait=False)
    page.wait_for_url(f"**/{PAGES[0]}.html")
    page.wait_for_load_state("load")


def test_the_introduction_can_be_dragged(visit, watched, site):
    assert not [url for url in visit(PAGES[0]).facts["links"] if "colab" in url]
    page = watched(f"{site}/{PAGES[0]}.html")
    says, before = page.locator(".attn-explorer [aria-live]"), "Width 0.500: a query listens to"
    assert says.text_content().startswith(before)
    page.locator(".attn-explorer input[type=range]").press("ArrowRight")
    assert not says.text_content().startswith(before)


def test_search(watched, site):
    page = watched(f"{site}/search.html?q=kernel", wait=False)
    results = page.locator("#search-results li a")
    results.first.wait_for()
    addresses = results.evaluate_all("(all) => all.map((a) => a.href)")
    assert any(NOTEBOOKS[0] in address for address in addresses)
    results.first.click()
    page.wait_for_url("**/chapters/*")
    page.wait_for_load_state("load")
    settle(page)


def test_search_that_finds_nothing_says_so(watched, site):
    page = watched(f"{site}/search.html?q=zzyzx", wait=False)
    page.get_by_text("did not match any documents").wait_for()


@pytest.mark.parametrize("phone", [False, True], ids=["desk", "phone"])
def test_the_first_key_skips_to_the_text(watched, plain_site, phone):
    page = watched(f"{plain_site}/{NOTEBOOKS[0]}.html", phone=phone)
    page.keyboard.press("Tab")
    link = page.locator("a:focus")
    assert link.inner_text() == "Skip to main content"
    # It slides in, and nothing hides it.
    page.wait_for_function("""() => {
      const link = document.activeElement, { x, y, width, height } = link.getBoundingClientRect();
      return link.checkVisibility({ opacityProperty: true }) &&
        document.elementFromPoint(x + width / 2, y + height / 2) === link;
    }""")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.locator("main :focus").count() == 1


def test_copy_button_copies_the_code(watched, site):
    allowed = ["clipboard-read", "clipboard-write"]
    page = watched(f"{site}/{NOTEBOOKS[0]}.html", permissions=allowed)
    cell = page.locator(".cell_input", has=page.locator("button.copybtn")).first
    cell.hover()
    cell.locator("button.copybtn").click()
    page.wait_for_function("navigator.clipboard.readText()")
    code = cell.locator("pre").inner_text()
    assert page.evaluate("navigator.clipboard.readText()").split() == code.split()


def test_the_theme_button_changes_the_theme(watched, site):
    page = watched(f"{site}/{EXPLORERS[-1]}.html", before=lambda page: None)
    seen = set()
    for _ in range(3):
        page.locator("button.theme-switch-button").first.click()
        style = "(root) => getComputedStyle(root).backgroundColor"
        seen.add(page.locator("section.attn-explorer").first.evaluate(style))
    assert len(seen) == 2, "light and dark, and the explorers follow"


@each_page
def test_opened_from_disk(watched, site, name):
    page = watched((SITE / f"{name}.html").as_uri(), wait=False)
    settle(page)
    facts = page.evaluate(FACTS)
    assert facts["typeset"] >= facts["math"]
    assert facts["live"] + len(facts["notes"]) == facts["views"]
    for explorer in page.locator("section.attn-explorer").all():
        says = explorer.locator("[aria-live]")
        before = says.inner_text()
        drive(explorer)
        assert says.inner_text() != before
