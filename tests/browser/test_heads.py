"""What the built pages say about themselves: titles, descriptions, cards, addresses. Needs the site, no browser."""

from __future__ import annotations

import collections
import functools
import re
import struct
from xml.etree import ElementTree

import pytest
import yaml
from bs4 import BeautifulSoup

from .harness import ROOT, SITE, pages

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
BASE, BOOK = CONFIG["html"]["baseurl"], CONFIG["title"]
PAGES = pages()
CARD = (1146, 600)  # pixels
MOST = 160  # characters that search engines show


@functools.cache
def head(page: str) -> dict[str, list[str]]:
    """The contents of a page's title, canonical link and meta tags, by name."""
    if not (SITE / "index.html").is_file():
        pytest.fail(f"There is no built site in {SITE}: run `make book` first.", pytrace=False)
    text = (SITE / f"{page}.html").read_text(encoding="utf-8")
    soup = BeautifulSoup(re.split(r"</head>|<script", text, maxsplit=1)[0], "lxml")
    links = re.findall(r'<link rel="canonical" href="([^"]+)"', text)
    found = collections.defaultdict(list)
    found["title"] = [tag.text for tag in soup("title")]
    found["canonical"] = links
    for tag in soup("meta"):
        found[tag.get("name") or tag.get("property")].append(tag.get("content"))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_a_page_introduces_itself(page):
    tags = head(page)
    address = f"{BASE}{page}.html"
    (title,) = tags["title"]
    (name,) = tags["og:title"]
    assert title == (BOOK if page == PAGES[0] else f"{name} — {BOOK}")
    assert tags["canonical"] == tags["og:url"] == [address]
    assert tags["og:site_name"] == [BOOK]
    (words,) = tags["description"]
    assert tags["og:description"] == [words]
    assert 40 <= len(words) <= MOST, words
    assert not any(mark in words for mark in "<>\\$*`\n"), words
    assert words[-1] in ".?!…", words


@pytest.mark.parametrize("page", ["search", "genindex", "py-modindex", "_modules/index"])
def test_a_page_that_sphinx_adds_has_a_description(page):
    (words,) = head(page)["description"]
    assert BOOK in words


def test_no_two_pages_say_the_same():
    for name in ("title", "description", "og:image"):
        counts = collections.Counter(value for page in PAGES for value in head(page)[name])
        assert [value for value, n in counts.items() if n > 1] == [], name


@pytest.mark.parametrize("page", PAGES)
def test_its_card_exists(page):
    tags = head(page)
    assert tags["twitter:card"] == ["summary_large_image"]
    (address,) = tags["og:image"]
    (words,) = tags["og:image:alt"]
    assert address.startswith(BASE)
    assert words.startswith(tags["og:title"][0])
    picture = (SITE / address.removeprefix(BASE)).read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", picture[16:24]) == CARD


def test_the_root_says_what_the_first_page_says():
    root, first = head("index"), head(PAGES[0])
    for name in (
        "title",
        "canonical",
        "description",
        "og:description",
        "og:url",
        "og:image",
        "twitter:card",
    ):
        assert root[name] == first[name] != [], name


def test_the_sitemap_lists_the_pages_and_nothing_else():
    tree = ElementTree.parse(SITE / "sitemap.xml")
    listed = [place.text for place in tree.findall(".//{*}loc")]
    assert sorted(listed) == sorted(f"{BASE}{page}.html" for page in PAGES)
    robots = (SITE / "robots.txt").read_text(encoding="utf-8").splitlines()
    assert f"Sitemap: {BASE}sitemap.xml" in robots
    assert not any(line.startswith("Disallow") for line in robots)
