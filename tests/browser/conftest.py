"""One Chromium for all browser tests, the built site on a local server, and pages that are watched."""

from __future__ import annotations

import collections
import os
import re

import pytest
from playwright.sync_api import sync_playwright

from .harness import NOTE_TIMES, READY, SITE, NoChromiumError, Watch, launch, serve

PHONE = {
    "viewport": {"width": 390, "height": 844},
    "is_mobile": True,
    "has_touch": True,
    "device_scale_factor": 2,
}
FIGURES = pytest.StashKey[list]()


def pytest_configure(config):
    config.addinivalue_line("markers", "live: starts a real Jupyter server")
    config.stash[FIGURES] = []


def pytest_terminal_summary(terminalreporter, config):
    """What was measured, below the results."""
    if figures := config.stash.get(FIGURES, []):
        terminalreporter.section("measured in the browser")
        for line in figures:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def report(request):
    """Call it with a line that should stand below the results."""
    return request.config.stash[FIGURES].append


@pytest.fixture(scope="session")
def browser():
    """Chromium. Without one the tests are skipped, or fail where REQUIRE_BROWSER=1 says that they must run."""
    with sync_playwright() as playwright:
        try:
            chromium = launch(playwright)
        except NoChromiumError as error:
            if os.environ.get("REQUIRE_BROWSER") == "1":
                pytest.fail(f"REQUIRE_BROWSER=1, but {error}", pytrace=False)
            pytest.skip(f"browser tests need Chromium: {error}")
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def site():
    """The address of the built site."""
    if not (SITE / "index.html").is_file():
        pytest.fail(f"There is no built site in {SITE}: run `make book` first.", pytrace=False)
    with serve(SITE) as address:
        yield address


@pytest.fixture(scope="session")
def plain_site(site):
    """The built site without formulas, which take half of the time that a page needs to load."""
    with serve(SITE, without="/mathjax/") as address:
        yield address


@pytest.fixture(scope="session")
def contexts(browser):
    """Browser contexts, one for each set of options; pages of one context share what they have loaded."""
    known = {}

    def context(**options):
        key = repr(sorted(options.items()))
        if key not in known:
            known[key] = browser.new_context(**options)
        return known[key]

    yield context
    for one in known.values():
        one.close()


@pytest.fixture(scope="session")
def spare_pages():
    """Pages that no test uses, by their options. A new page costs a fifth of a second, loading one most of one."""
    return collections.defaultdict(list)


@pytest.fixture
def watched(browser, contexts, spare_pages):
    """Open pages that may complain of nothing: `watched(url, dark=True, allow=["…"], …)`.

    Keyword arguments: `phone`; `dark`; `wait` (for the explorers; False where none are expected); `again`
    (True is content with a page at this address on which another test has been); `before` (called with a
    new page before it loads, one that shares nothing with other tests); `allow` (regular expressions of
    complaints that the test provokes, each of which must come); and whatever a browser context takes.
    The page has a `watch`.
    """
    opened = []

    def open_page(
        url, *, phone=False, dark=False, wait=True, again=False, before=None, allow=(), **options
    ):
        options = {**(PHONE if phone else {}), **options}
        options.setdefault("color_scheme", "dark" if dark else "light")
        if before:
            spare, page = None, new_page(browser.new_context(**options))
        else:
            spare = spare_pages[repr(sorted(options.items()))]
            at = [one for one in spare if one.url == (url if again else "about:blank")]
            page = at[0] if at else new_page(contexts(**options))
            if at:
                spare.remove(page)
        opened.append((page, spare, again, list(allow)))
        page.watch.start(url)
        page.bring_to_front()  # a page in the background draws seldom
        if before:
            before(page)
        if page.url != url:
            page.goto(url)
        if wait:
            page.wait_for_selector(READY, state="attached")
        return page

    yield open_page
    problems = []
    for page, spare, again, allow in opened:
        complaints = page.watch.complaints
        problems += [c for c in complaints if not any(re.search(known, c) for known in allow)]
        for known in allow:
            if not any(re.search(known, complaint) for complaint in complaints):
                problems.append(f"expected a complaint like {known!r}, it did not come")
        if spare is None:
            page.context.close()
            continue
        if not again:
            page.goto("about:blank")
        spare.append(page)
    assert not problems, "\n".join(problems)


def new_page(context):
    """A page that is watched."""
    page = context.new_page()
    page.set_default_timeout(8000)
    page.watch = Watch(page)
    page.add_init_script(NOTE_TIMES)
    return page
