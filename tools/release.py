"""The built book as single files, in _build/release, named like the repository.

python tools/release.py zip     # what `make zip` runs: the site, which works from disk
python tools/release.py epub    # what `make epub` runs: for e-readers, built by Sphinx
python tools/release.py pdf     # what `make pdf` runs: all pages in one, printed by Chromium
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from html import escape
from pathlib import Path
from urllib.parse import urldefrag, urljoin

import pikepdf
import yaml
from lxml import html
from lxml.html import builder as E
from playwright.sync_api import sync_playwright

from tests.browser.harness import ROOT, SITE, launch, pages, serve, slug

NAME = slug().split("/")[1]
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
HEAD = "//head/link[@rel='stylesheet'] | //head/script[contains(@src, 'mathjax/') or starts-with(., 'window.MathJax')]"
# What one document needs beyond the print style of a page.
STYLE = """
.bd-main .bd-content { display: block; margin: 0; }
.title-page { padding-top: 30vh; text-align: center; }
.title-page ~ article { break-before: page; }
.viewcode-link { display: none; }
.bd-content h1 { display: block !important; } /* the theme prints a title of its own */
"""
FOOTER = '<div style="width: 100%; font-size: 8px; text-align: center"><span class="pageNumber"></span></div>'


def target(suffix: str) -> Path:
    """Where a file of the release belongs."""
    path = ROOT / "_build" / "release" / f"{NAME}.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def pack(site: Path = SITE) -> Path:
    """The built site as one zip, in a folder of the repository's name: unpack it and open index.html."""
    with zipfile.ZipFile(target("zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(site.rglob("*")):
            archive.write(path, Path(NAME) / path.relative_to(site))
    return target("zip")


def build_epub() -> Path:
    """The book by Sphinx's EPUB builder; what the notebooks gave comes from the cache of the site's build."""
    program = Path(sys.executable).with_name("jupyter-book")
    options = "build . -W --keep-going --builder custom --custom-builder epub"
    subprocess.run([program, *options.split()], cwd=ROOT, check=True)
    (built,) = (ROOT / "_build" / "epub").glob("*.epub")
    return Path(shutil.copy(built, target("epub")))


def collect_solutions(articles: dict[str, html.HtmlElement]) -> list[html.HtmlElement]:
    """Move the hidden solutions of all pages to an article of their own, and leave a link to each."""
    solutions = html.fragment_fromstring('<article id="solutions"><h1>Solutions</h1></article>')
    for page, article in articles.items():
        for number, cell in enumerate(article.find_class("tag_exercise-solution"), 1):
            place = f"{page}--solution-{number}"
            exercise, chapter = cell.getparent().find("h3"), article.find(".//h1")
            texts = [heading.text_content().removesuffix("#") for heading in (chapter, exercise)]
            solutions.extend([E.H2(texts[0])] if number == 1 else [])
            solutions.append(E.H3(texts[1], id=place))
            solutions.extend(cell.findall("details/div"))
            link = E.P(E.A("A solution", href=f"#{place}"), " stands at the end of the book.")
            cell.getparent().replace(cell, link)
    return [solutions] if len(solutions) > 1 else []


def bind(site: Path, order: list[str], title_page: str = "", web: str = "") -> str:
    """The pages of a site as one: an id carries its page's name, a link to another page leads within.

    On paper nothing unfolds: answers stand open, and the solutions of exercises stand at the end.

    Args:
        site: folder of the built site.
        order: its pages, without a suffix: chapters/intro.
        title_page: HTML that goes before them.
        web: where the site is published; links to what is not in `order` lead there.
    """
    trees = {page: html.parse(str(site / f"{page}.html")).getroot() for page in order}
    articles = {page: tree.find_class("bd-article")[0] for page, tree in trees.items()}
    for page, article in articles.items():
        for element in article.xpath(
            ".//*[@id][not(ancestor::svg)]"
        ):  # a drawing refers to its own
            element.set("id", f"{page}--{element.get('id')}")
        article.set("id", page)
        for element in article.xpath(".//script | .//*[contains(@class, 'explorer-live')]"):
            element.drop_tree()
        for image in article.iter("img"):
            image.attrib.pop("loading", None)
        for fold in article.xpath(".//details[not(@class)]"):  # an answer, not code
            fold.set("open", "")
    places = {
        name for article in articles.values() for name in article.xpath("descendant-or-self::*/@id")
    }
    head = {}
    for page, tree in trees.items():
        for element in [*tree.xpath(HEAD), articles[page]]:
            for holder, attribute, link, _ in element.iterlinks():
                path, fragment = urldefrag(urljoin(f"{page}.html", link))
                name = path.removesuffix(".html")
                if name in articles:
                    place = f"{name}--{fragment}"
                    holder.set(attribute, f"#{place if place in places else name}")
                elif attribute == "href" and holder.tag == "a":
                    holder.set(attribute, urljoin(web, urljoin(f"{page}.html", link)))
                else:
                    holder.set(attribute, path.split("?")[0])  # a version would load a script twice
        head |= dict.fromkeys(
            html.tostring(element, encoding="unicode") for element in tree.xpath(HEAD)
        )
    bound = [*articles.values(), *collect_solutions(articles)]
    body = "".join(html.tostring(article, encoding="unicode") for article in bound)
    return (
        f'<!DOCTYPE html><html lang="en" data-theme="light"><head><meta charset="utf-8">{"".join(head)}'
        f'<style>{STYLE}</style></head><body><main class="bd-main"><div class="bd-content">'
        f'<div class="bd-article-container">{title_page}{body}</div></div></main></body></html>'
    )


def print_pdf() -> Path:
    """All pages of the built site as one PDF, with an outline, tags and links."""
    title, author, web = CONFIG["title"], CONFIG["author"], CONFIG["html"]["baseurl"]
    lines = [
        author,
        f"{CONFIG['copyright']}. {CONFIG['html']['extra_footer']}",
        f'<a href="{web}">{web}</a>',
    ]
    paragraphs = "".join(f"<p>{line}</p>" for line in lines)
    book = bind(
        SITE, pages(), f'<div class="title-page"><h1>{escape(title)}</h1>{paragraphs}</div>', web
    )
    printed = target("pdf").with_name("printed.pdf")
    with sync_playwright() as playwright, serve(SITE) as address:
        browser = launch(playwright)
        page = browser.new_page()
        page.set_default_timeout(200_000)
        page.route(
            f"{address}/book.html", lambda route: route.fulfill(body=book, content_type="text/html")
        )
        page.goto(f"{address}/book.html")
        page.wait_for_function("MathJax.startup.promise.then(() => true)")
        missing = page.evaluate(
            "[...document.images].filter((one) => !one.naturalWidth).map((one) => one.src)"
        )
        if missing:
            raise FileNotFoundError(f"pictures that the book lacks: {missing}")
        page.pdf(
            path=printed,
            format="A4",
            scale=0.8,
            margin={"top": "18mm", "bottom": "18mm", "left": "20mm", "right": "20mm"},
            print_background=True,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOTER,
            outline=True,
            tagged=True,
        )
        browser.close()
    finish(printed, target("pdf"), title, author)
    return target("pdf")


def finish(printed: Path, path: Path, title: str, author: str) -> None:
    """Say what a printed PDF is and by whom, and pack it tight: tags take most of its room."""
    with pikepdf.open(printed) as pdf:
        with pdf.open_metadata() as metadata:
            metadata["dc:title"], metadata["dc:creator"] = title, [author]
        pdf.Root.ViewerPreferences = pikepdf.Dictionary(DisplayDocTitle=True)
        pdf.save(path, object_stream_mode=pikepdf.ObjectStreamMode.generate)
    printed.unlink()


def main(kind: str) -> int:
    """Make one file and say how large it is."""
    made = {"zip": pack, "epub": build_epub, "pdf": print_pdf}[kind]()
    print(f"{made.relative_to(ROOT)}: {made.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
