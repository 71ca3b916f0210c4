"""Every page of the table of contents as a reader meets it: on a desk, on a phone in the dark, from disk."""

from __future__ import annotations

import dataclasses
import io
import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
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
MOST_WEIGHT = 1_000_000  # bytes, all files of a page after gzip
MOST_WAIT = 1000  # ms from the load event to explorers that answer
MOST_SHIFT = 0.1  # cumulative layout shift; "good" ends here (web.dev/cls)

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
    h1: shown("h1").map((e) => e.textContent),
    alts: [...document.images].map((image) => [image.getAttribute("alt") ?? "", image.getAttribute("src")]),
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


@dataclasses.dataclass
class Visit:
    """What was found on a first visit to a page."""

    facts: dict
    complaints: list[str]
    weight: dict[str, int]
    pixels: np.ndarray


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
            made[name, phone, dark] = Visit(
                facts=page.evaluate(FACTS),
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
def test_one_h1(visit, name):
    assert len(visit(name).facts["h1"]) == 1, visit(name).facts["h1"]


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
        assert not re.search(r"\.(png|svg|jpe?g)$|^_?images?\b", alt), (
            f"{source}: {alt} is a file name"
        )


@each_page
def test_formulas_are_typeset(visit, name):
    facts = visit(name).facts
    assert facts["typeset"] >= facts["math"]
    assert facts["badMath"] == []


@each_page
def test_links_within_the_site_lead_somewhere(visit, site, name):
    inside = {url.partition("#")[0] for url in visit(name).facts["links"] if url.startswith(site)}
    paths = {url.removeprefix(site).lstrip("/").partition("?")[0] or "index.html" for url in inside}
    assert [path for path in paths if not (SITE / path).is_file()] == []


@each_page
def test_weight(visit, report, name):
    weight = visit(name).weight
    largest = ", ".join(
        f"{path.rpartition('/')[2]} {n / 1000:.0f}" for path, n in list(weight.items())[:3]
    )
    report(f"{name}: {sum(weight.values()) / 1000:.0f} kB gzip in {len(weight)} files ({largest})")
    assert sum(weight.values()) <= MOST_WEIGHT, weight


@each_page
def test_page_wide_accessibility_is_reported(watched, plain_site, report, name):
    page = watched(f"{plain_site}/{name}.html", wait=name in EXPLORERS)
    # The explorers have a test of their own; coloured code is thousands of elements.
    context = {"exclude": [["pre"], [".attn-explorer"]]}
    options = {"resultTypes": ["violations"], "preload": False}
    for violation in Axe().run(page, context=context, options=options).response["violations"]:
        report(
            f"{name}: axe-core {violation['id']} ({violation['impact']}), "
            f"{len(violation['nodes'])} times, first {violation['nodes'][0]['target'][0]}"
        )


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
