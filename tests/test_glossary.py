"""The glossary explains each word in both languages, and the chapters lead to it from a word's first use."""

from __future__ import annotations

import re

import pytest
from support import CHAPTERS, ROOT, read

GLOSSARY = (ROOT / "chapters" / "glossary.md").read_text(encoding="utf-8")
ENTRY = re.compile(
    r'(?m)^(\S.*)\n  <strong lang="ko">([가-힣][가-힣 –-]*)</strong> · (\S.*\.) '
    r"\[Chapter (\d+)\]\((.+?)\)$"
)
TERMS = [entry[0] for entry in ENTRY.findall(GLOSSARY)]
LINK = re.compile(r"\[([^\]]+)\]\(glossary\.md#([^)]+)\)")
MOST_LINKS = 5  # in a paragraph; more would make it hard to read
# What is no running prose: code, formulas, headings, HTML, and links, earlier ones to the glossary among them.
ASIDE = re.compile(
    r"(?ms)```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|^#[^\n]*|<[^>]+>|\[[^\]]*\]\([^)]*\)"
)

each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def anchor(term: str) -> str:
    """The name that Sphinx gives to the place of a term."""
    return "term-" + re.sub(r"[^a-zA-Z0-9-]", "", term.replace(" ", "-"))


def told(path) -> list[str]:
    """The paragraphs of a chapter from its title to its exercises, without the list of what you will learn."""
    cells = [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]
    assert "You will learn" in cells.pop(1)
    text = "\n\n".join(cells).split("\n## Exercises")[0]
    return re.split(r"\n\s*\n", text)


def test_entries_are_whole_and_in_order():
    body = GLOSSARY.split("```{glossary}\n")[1].removesuffix("```\n")
    assert len(TERMS) == len(body.strip().split("\n\n")), "term, Korean, sentence, chapter"
    assert [term.lower() for term in TERMS] == sorted(
        (term.lower() for term in TERMS), key=lambda term: re.sub("[-–]", " ", term)
    )
    for term, _, _, number, file in ENTRY.findall(GLOSSARY):
        assert (ROOT / "chapters" / file).is_file(), term
        assert file.startswith(f"{int(number):02d}-"), term
        text = (ROOT / "chapters" / file).read_text(encoding="utf-8")
        said = re.sub("[-–]", " ", term).lower() in re.sub("[-–]", " ", text).lower()
        assert said or anchor(term) in text, f"{term}: not in {file}"


def test_each_term_is_linked_once():
    links = [name for path in CHAPTERS for _, name in LINK.findall("\n\n".join(told(path)))]
    assert sorted(links) == sorted(map(anchor, TERMS))
    everywhere = "".join(path.read_text(encoding="utf-8") for path in CHAPTERS)
    assert len(links) == len(LINK.findall(everywhere)), "a link among exercises or sources"


@each_chapter
def test_links_stand_where_a_word_is_first_used(path):
    before = ""
    for paragraph in told(path):
        links = list(LINK.finditer(paragraph))
        assert len(links) <= MOST_LINKS, f"too many links:\n{paragraph}"
        for link in links:
            line = paragraph[: link.start()].rpartition("\n")[2]
            assert not line.startswith("#"), f"a link in a heading: {link[0]}"
            earlier = ASIDE.sub(" ", before + paragraph[: link.start()])
            word = rf"\b{re.escape(link[1].strip('*'))}s?\b"
            assert not re.search(word, earlier, re.IGNORECASE), f"{link[1]}: used before its link"
        before += paragraph + "\n\n"
