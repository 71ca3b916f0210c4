"""The book on paper: the text alone, light, with the explorers' still pictures."""

from __future__ import annotations

from .harness import READY, pages

PAGE = next(page for page in pages() if "05-" in page)  # formulas, code, explorers, solutions
FACTS = """() => {
  const shown = (selector) => [...document.querySelectorAll(selector)].filter((e) => e.checkVisibility()).length;
  return {
    stills: shown(".explorer-still img"), live: shown(".explorer-live"), explorers: shown(".explorer"),
    aside: shown(".bd-sidebar-primary, .bd-sidebar-secondary, .prev-next-footer, .bd-header-article, button"),
    ground: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.querySelector(".bd-content p")).color.match(/\\d+/g).map(Number),
    open: shown("details.hide[open]"),
  };
}"""


def test_a_printed_page(watched, site):
    page = watched(f"{site}/{PAGE}.html", dark=True)
    page.wait_for_selector(READY, state="attached")
    assert page.evaluate(FACTS)["live"] > 0
    page.emulate_media(media="print", color_scheme="dark")
    facts = page.evaluate(FACTS)
    page.emulate_media(media="screen", color_scheme="dark")
    assert facts["stills"] == facts["explorers"] > 0
    assert facts["live"] == facts["aside"] == facts["open"] == 0
    assert facts["ground"] == "rgb(255, 255, 255)"
    assert max(facts["ink"]) < 100
