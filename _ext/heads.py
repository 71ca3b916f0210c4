"""Sphinx extension: what a page says about itself to search engines and where somebody shares its address.

- A description, made of the sentences that open the page; ``sphinxext.opengraph`` draws its card and writes its tags.
- The address follows from ``html_baseurl``; ``sitemap.xml`` lists the pages there, ``robots.txt`` names the list.
- The page at the root, whose address is shared most, says the same as the first chapter, to which it leads.
"""

import html
import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

MOST, FEW = 160, 80  # characters of a description: what search engines show; too few to stop at
HEAD = re.compile(
    r'<meta (?:property="og:|name="(?:twitter:|description"))[^>]*>|<link rel="canonical"[^>]*>'
)


def plain(leaf: nodes.Node) -> str:
    """The words of a leaf; of a formula what can be said in one line, or a mark that it cannot."""
    if not isinstance(leaf.parent, nodes.math):
        return leaf.astext()
    formula = leaf.astext().replace(r"\sqrt ", "√")
    return formula if re.fullmatch(r"[\w√ =+/,()]+", formula) else "\0"


def describe(document: nodes.document) -> str:
    """The sentences that open the page, as many as fit, without those whose formula only LaTeX can say."""
    text = ""
    for paragraph in document.findall(nodes.paragraph):
        if paragraph.parent.parent is not document or paragraph.astext().endswith(":"):
            continue
        words = "".join(map(plain, paragraph.findall(nodes.Text)))
        for sentence in re.split(r"(?<=[.?!])\s+", " ".join(words.split())):
            longer = f"{text} {sentence}".strip()
            if "\0" in sentence:
                continue
            if len(longer) > MOST:
                return text if len(text) > FEW else longer[: MOST - 1].rsplit(" ", 1)[0] + " …"
            text = longer
    return text


def introduce(app: Sphinx, page: str, template: str, context: dict, document) -> None:
    """Give a page its description; the title of the first page is the book's own."""
    if page == app.config.root_doc:
        context["docstitle"] = ""
    book = app.config.project
    words = (
        describe(document) if document else f"Search, index and source code of the book “{book}”."
    )
    tag = f'<meta name="description" content="{html.escape(words)}" />\n'
    context["metatags"] = context.get("metatags", "") + tag
    if document:
        title = re.sub(r"<[^>]+>", "", context["title"])
        card = {"og:description": html.escape(words), "og:image:alt": f"{title} · {book}"}
        context["meta"] = {**(context["meta"] or {}), **card}


def name_book(app: Sphinx, config: Config) -> None:
    """Tags, cards and the sidebar's head name the book; tags also the address that the canonical links name."""
    config.project = config.html_title
    config.html_theme_options.setdefault("logo", {})["text"] = config.html_title
    config.ogp_site_url = config.html_baseurl


def finish(app: Sphinx, error: Exception | None) -> None:
    """Write ``robots.txt`` and ``sitemap.xml``; introduce the page at the root as the first chapter does itself."""
    if error or app.builder.name != "html":
        return
    site, base = Path(app.outdir), app.config.html_baseurl
    (site / "robots.txt").write_text(f"User-agent: *\nAllow: /\nSitemap: {base}sitemap.xml\n")
    pages = map(app.builder.get_target_uri, sorted(app.env.found_docs))
    places = "".join(f"<url><loc>{base}{page}</loc></url>\n" for page in pages)
    space = "http://www.sitemaps.org/schemas/sitemap/0.9"
    (site / "sitemap.xml").write_text(f'<urlset xmlns="{space}">\n{places}</urlset>\n')
    first = (site / app.builder.get_target_uri(app.config.root_doc)).read_text(encoding="utf-8")
    root = site / "index.html"
    tags = "".join(HEAD.findall(first))
    root.write_text(root.read_text(encoding="utf-8").replace("<title>", f"{tags}<title>"), "utf-8")


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.connect("config-inited", name_book)
    app.connect("html-page-context", introduce, priority=400)  # before opengraph, which reads it
    app.connect("build-finished", finish, priority=600)  # after the page at the root is written
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
