"""Sphinx extension: the site asks no third party for anything, and every explorer works without a kernel.

- MathJax comes out of the installed package ``sphinx-mathjax-offline`` into the site.
- The stock widget runtime (require.js and html-manager from a CDN) gives way to ``widget_runtime.js``.
- An explorer's still picture stays on the page until the live one is ready, and where no script runs.
- Thebe's scripts, which Jupyter Book adds even where Thebe is off, are dropped.
- Pages stay light: pictures are WebP without loss, load when they come near, in a place kept free for them; the theme's
  icons come from its fonts alone, cut down to those that a page shows, not from its script (540 kB) as well.
- What a screen reader is told is put right where the theme or docutils tells it wrong.
"""

import importlib.util
import re
import shutil
from pathlib import Path

from docutils import nodes
from fontTools import subset
from PIL import Image
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform

HERE = Path(__file__).parent
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
# What MathJax's combined file may still ask for while a page is read: fonts, the menu's parts, rare TeX macros.
MATHJAX_PARTS = ("tex-chtml.js", "output/chtml/fonts", "a11y", "sre", "ui", "input/tex/extensions")

# What axe-core finds wrong on every page, and what mends it.
MENDED = {
    # The sidebar's logo and search button lie in no landmark.
    '<div id="pst-primary-sidebar"': '<div id="pst-primary-sidebar" role="navigation" aria-label="Book"',
    # An entry of the bibliography stands in a list, and its own role is deprecated.
    'role="doc-biblioentry"': 'role="listitem"',
}


def vendor(app: Sphinx) -> None:
    """Put MathJax and the widget runtime among the site's static files."""
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    if package is None or not package.submodule_search_locations:
        raise ExtensionError("MathJax is missing: pip install -r requirements.txt")
    source = Path(package.submodule_search_locations[0]) / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "mathjax"
    for part in MATHJAX_PARTS:
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        elif (source / part).is_file():
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / part, target / part)


def lighten(html: str, page: Path) -> str:
    """A page without the icon script, its pictures lazy, with their sizes, and as WebP: the same, less than half."""

    def light(tag: re.Match) -> str:
        picture = page.parent / tag["src"]
        if not picture.is_file():
            return tag[0]
        with Image.open(picture) as image:
            image.save(picture.with_suffix(".webp"), lossless=True)
            dots = max(1, round(image.info.get("dpi", (100,))[0] / 100))  # a pixel, on fine screens
            size = f'loading="lazy" width="{image.width // dots}" height="{image.height // dots}"'
        return tag[0].replace("<img", f"<img {size}").replace('.png"', '.webp"')

    html = re.sub(r"\n *<script[^>]+/fontawesome\.js[^>]*></script>", "", html)
    return re.sub(r'<img\b[^>]*\bsrc="(?P<src>[^":]+\.png)"[^>]*>', light, html)


def trim_icons(static: Path, pages: list[str]) -> None:
    """Leave in the theme's icon fonts (300 kB), and in their style sheet, what the pages show."""
    used = {name for page in pages for name in re.findall(r"\bfa-[\w-]+", page)}

    def only_used(rule: re.Match) -> str:
        return rule[0] if used & set(re.findall(r"fa-[\w-]+", rule[0])) else ""

    theme = static / "styles" / "pydata-sphinx-theme.css"
    style = re.sub(r'[^{}]*:before\{content:"\\\w+"\}', only_used, theme.read_text("utf-8"))
    # WebFont 2 needs a compressor of its own; of what is left each font has 2 kB.
    style = re.sub(r'url\([^)]+\.woff2\) format\("woff2"\),', "", style)
    theme.write_text(style, encoding="utf-8")
    styles = "".join(path.read_text("utf-8") for path in theme.parent.glob("*.css"))
    shown = re.findall(r'"\\(f\w{3})"', styles)
    shown += [f"{ord(icon):x}" for icon in re.findall("[\ue000-\uf8ff]", styles)]
    for font in (static / "vendor" / "fontawesome").rglob("*.ttf"):
        subset.main([str(font), f"--unicodes={','.join(shown)}", f"--output-file={font}"])


def finish(app: Sphinx, error: Exception | None) -> None:
    """After a build of HTML: bring in what pages load, make the pages light."""
    if error or app.builder.format != "html":
        return
    vendor(app)
    pages = []
    for page in Path(app.outdir).rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        for wrong, right in MENDED.items():
            html = html.replace(wrong, right)
        pages.append(lighten(html, page))
        page.write_text(pages[-1], encoding="utf-8")
    if app.builder.name == "html":
        trim_icons(Path(app.outdir) / "_static", pages)
        welcome(app)


def welcome(app: Sphinx) -> None:
    """The page at the root leads to the first chapter; with an icon, a browser does not go and look for one."""
    first = app.config.root_doc + ".html"
    (Path(app.outdir) / "index.html").write_text(
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Refresh" content="0; url={first}">'
        f'<link rel="icon" href="_static/favicon.svg"><title>{app.config.html_title}</title></head>'
        f'<body><a href="{first}">{app.config.html_title}</a></body></html>\n',
        encoding="utf-8",
    )


def without_thebe(app: Sphinx, page: str, template: str, context: dict, doctree) -> None:
    """Drop Thebe's scripts and style from a page."""
    for kind in ("script_files", "css_files"):
        files = context.get(kind, [])
        context[kind] = [
            file
            for file in files
            if "thebe" not in str(getattr(file, "filename", file) or "")
            and "THEBE_JS_URL" not in str(getattr(file, "attributes", {}).get("body", ""))
        ]


def without_rocket(app: Sphinx, page: str, template: str, context: dict, doctree) -> None:
    """Let a page of plain text that runs code pass for text alone: Colab opens notebooks only."""
    if Path(app.env.doc2path(page)).suffix != ".ipynb":
        app.env.metadata[page].pop("kernelspec", None)


def link_terms(app: Sphinx, doctree: nodes.document) -> None:
    """Let plain Markdown, which reads well in Colab too, link to a term: `[key](glossary.md#term-key)`.

    MyST follows such a link to headings only, and warns of every other; so the terms join the headings.
    """
    slugs = app.env.metadata[app.env.docname].setdefault("myst_slugs", {})
    for term in doctree.findall(nodes.term):
        slugs |= {name: (term.line, name, term.astext()) for name in term["ids"]}


def without_height(app: Sphinx, doctree: nodes.document) -> None:
    """Let a figure's height follow its width, which a narrow page cuts short; else it would be bent."""
    for image in doctree.findall(nodes.image):
        image.attributes.pop("height", None)


class KeepStill(SphinxPostTransform):
    """Keep the still picture of an explorer beside its live view, with the explorer's words as alt text.

    MyST-NB chooses one form of each output; this runs just before and turns an explorer's output into a
    container that holds both. ``widget_runtime.js`` hides the still when the live view stands.
    """

    default_priority = 3
    formats = ("html",)

    def run(self, **kwargs) -> None:
        """Rewrite every mime bundle that holds a widget view and a picture."""
        bundles = [
            node
            for node in self.document.findall(nodes.container)
            if node.get("nb_element") == "mime_bundle"
        ]
        for bundle in bundles:
            forms = {child["mime_type"]: child for child in bundle.children}
            if WIDGET_VIEW not in forms or "image/png" not in forms:
                continue
            words = forms["text/plain"].astext().strip().strip("'") if "text/plain" in forms else ""
            for image in forms["image/png"].findall(nodes.image):
                image["alt"] = words
            pictures = forms["image/png"].children
            still = nodes.container(
                "", *pictures, self.way_to_web(bundle), classes=["explorer-still"]
            )
            if self.app.builder.name == "epub":
                bundle.replace_self(still)
                continue
            live = nodes.container("", *forms[WIDGET_VIEW].children, classes=["explorer-live"])
            bundle.replace_self(nodes.container("", still, live, classes=["explorer"]))

    def way_to_web(self, bundle: nodes.container) -> nodes.paragraph:
        """A line that leads from a picture on paper or in an EPUB to the figure that moves."""
        section = bundle.parent
        while not isinstance(section, nodes.section):
            section = section.parent
        address = f"{self.config.html_baseurl}{self.env.docname}.html#{section['ids'][0]}"
        link = nodes.reference("", "this figure answers in a browser", refuri=address)
        words = [nodes.Text("On the web "), link, nodes.Text(".")]
        return nodes.paragraph("", "", *words, classes=["explorer-web"])


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.connect(
        "builder-inited", lambda app: app.config.html_static_path.append(str(HERE / "static"))
    )
    app.connect("build-finished", finish)
    app.connect("doctree-read", link_terms)
    app.connect("doctree-read", without_height)
    app.connect("html-page-context", without_rocket, priority=400)  # before the theme's buttons
    app.connect("html-page-context", without_thebe, priority=900)
    app.add_post_transform(KeepStill)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
