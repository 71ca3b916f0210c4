"""Links to other sites are well formed, secure, and written in one way each; `make linkcheck` follows them."""

from __future__ import annotations

import re
from collections import defaultdict
from urllib.parse import urlsplit

import pytest
from support import NOTEBOOKS, ROOT, read

TEXTS = [*ROOT.glob("*.md"), *(ROOT / "chapters").glob("*.md"), ROOT / "chapters/references.bib"]
# A target in Markdown, in HTML, in a field of BibTeX or in \url{}, and an address that stands alone.
TARGET = re.compile(
    r"""\]\(\s*([^)]*?)\s*\)|href="([^"]*)"|\b(?:doi|url)\s*=\s*\{([^}]*)|\\url\{([^}]*)|(https?:[^\s"'<>{}()\[\]`\\|]*)"""
)


def text_of(path) -> str:
    if path.suffix == ".ipynb":
        return "\n".join(cell.source for cell in read(path).cells)
    return re.sub(r'\bxmlns="[^"]*"', "", path.read_text(encoding="utf-8"))  # a name, no address


def outward(text: str) -> set[str]:
    """The addresses on other sites; a DOI and a number on arXiv as the address that the page links to."""
    found = {next(filter(None, groups), "") for groups in TARGET.findall(text)}
    found |= {f"https://arxiv.org/abs/{n}" for n in re.findall(r"\beprint\s*=\s*\{([^}]*)", text)}
    found = {f"https://doi.org/{x}" if re.match(r"10\.\d", x) else x for x in found}
    return {x.rstrip(".,;:") for x in found if re.match(r"\w+:|//|www\.|127\.|localhost", x)}


def fault(link: str) -> str | None:
    """What is wrong with an address, if anything."""
    parts = urlsplit(link)
    host = (parts.hostname or "").removeprefix("www.")
    if re.search(r"\s", link) or not re.fullmatch(r"[\w-]+(\.[\w-]+)*\.[a-z]{2,}", host):
        return "not well formed, or on this machine"
    if parts.scheme != "https":
        return "not https"
    if host == "arxiv.org" and not re.fullmatch(r"/abs/\d{4}\.\d{4,5}", parts.path):
        return "arXiv is cited as arxiv.org/abs/number"
    if "10.48550" in link or (host != "doi.org" and re.search(r"doi\.org|/10\.\d{4}", link)):
        return "a DOI is cited as https://doi.org/…, a number on arXiv as one"
    return None


@pytest.mark.parametrize("path", [*NOTEBOOKS, *TEXTS], ids=lambda path: path.name)
def test_links_are_in_order(path):
    wrong = {link: fault(link) for link in outward(text_of(path)) if fault(link)}
    assert not wrong


@pytest.mark.parametrize(
    "text",
    [
        "[a](http://d2l.ai)", "[a](https://d2l.ai/a b)", '<a href="http://127.0.0.1:8000">', "[a](//d2l.ai)",
        "see https://localhost/a.", "url = {www.d2l.ai}", r"\url{ftp://d2l.ai}", "[a](https:/d2l.ai)",
        "https://arxiv.org/pdf/1706.03762", "eprint = {arXiv:1706.03762}", "doi = {10.1 2/3}",
        "doi = {https://dx.doi.org/10.1137/1109020}", "url = {https://epubs.siam.org/doi/10.1137/1109020}",
        "doi = {10.48550/arXiv.1706.03762}",
    ],
)  # fmt: skip
def test_what_is_not_in_order(text):
    assert [link for link in outward(text) if fault(link)]


def test_each_address_is_written_in_one_way():
    spellings = defaultdict(set)
    for path in [*NOTEBOOKS, *TEXTS]:
        for link in outward(text_of(path)):
            parts = urlsplit(link.lower())
            place = parts.netloc.removeprefix("www."), parts.path.rstrip("/")
            spellings[(*place, parts.query)].add(link)
    assert not [links for links in spellings.values() if len(links) > 1]


def test_a_source_is_linked_once():
    for entry in text_of(ROOT / "chapters/references.bib").split("\n@"):
        linked = re.findall(r"\b(doi|eprint|url)\s*=", entry)
        assert len(linked) < 2, f"{linked} in {entry.splitlines()[0]}"


def test_linkcheck_leaves_out_no_more_than_there_is():
    """Each publisher that it leaves out is cited, and most links are followed."""
    text = (ROOT / "_config.yml").read_text(encoding="utf-8")
    (ignored,) = re.findall(r"linkcheck_ignore:\n((?: +- .*\n)+)", text)
    links = set().union(*(outward(text_of(path)) for path in [*NOTEBOOKS, *TEXTS]))
    for prefix in re.findall(r"\d{4,}", ignored):
        assert any(link.startswith(f"https://doi.org/10.{prefix}/") for link in links), prefix
    patterns = [line.strip(" -") for line in ignored.splitlines()]
    assert len([x for x in links if any(re.match(p, x) for p in patterns)]) < len(links) / 4
