"""Sphinx extension: the book as an EPUB, made by Sphinx's own builder; ``make epub`` runs it.

- Formulas are MathML, since readers of EPUB have no MathJax. One that cannot be converted stops the build.
- Explorers are their still pictures, with a link to the page where they move.
- Of the site's looks, scripts and buttons nothing comes along: ``ebook.css`` is all the style there is.
- Its cover is drawn; its contents name the parts.
- Title and author come from ``_config.yml``, what it is about, version and licences from ``CITATION.cff``.
"""

import re
import shutil
from pathlib import Path

import torch
import yaml
from docutils import nodes
from latex2mathml.commands import MATRICES
from latex2mathml.converter import convert
from lxml import etree
from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx.builders.epub3 import Epub3Builder
from sphinx.config import Config
from sphinx.errors import ExtensionError

XHTML = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"
OPF = "{http://www.idpf.org/2007/opf}"
MATHML = "{http://www.w3.org/1998/Math/MathML}"
SCRIPTED = {
    f"{MATHML}{tag}" for tag in ("msub", "msup", "msubsup", "munder", "mover", "munderover")
}
OPENING = set("([=,·×/←∝≤≥")  # after these a minus is a sign
ACCESSIBILITY = [
    ("accessMode", "textual"),
    ("accessMode", "visual"),
    ("accessModeSufficient", "textual"),
    ("accessibilityFeature", "alternativeText"),
    ("accessibilityFeature", "MathML"),
    ("accessibilityFeature", "structuralNavigation"),
    ("accessibilityFeature", "tableOfContents"),
    ("accessibilityHazard", "none"),
    ("accessibilitySummary", "Figures have alternative text; formulas are MathML."),
]
STYLE = Path(__file__).with_name("ebook.css")
COVER = "_static/cover.png"


def mathml(formula: str, display: str = "inline") -> str:
    """A formula of LaTeX as MathML, which keeps the LaTeX as alternative text.

    Raises:
        ExtensionError: it cannot be converted, or a command in it is unknown.
    """
    known = re.sub(r"(\\(?:begin|end)){aligned}", r"\1{align*}", formula)
    try:
        made = etree.fromstring(convert(known, display=display))
    except Exception as error:
        raise ExtensionError(f"no MathML for {formula!r}", error) from error
    if formula.count("{") != formula.count("}"):
        raise ExtensionError(f"no MathML for {formula!r}: its braces do not match")
    unknown = [
        text for text in made.itertext() if "\\" in text
    ]  # what it does not know, it passes on
    unknown += {"\\" + name for name in re.findall(r"\\begin{(.+?)}", known)} - set(MATRICES)
    if unknown:
        raise ExtensionError(f"no MathML for {', '.join(unknown)} in {formula!r}")
    for leaf in made.xpath("//*[text()][self::m:mi or self::m:mo]", namespaces={"m": MATHML[1:-1]}):
        before = leaf.getprevious()
        if leaf.text == "∞":
            leaf.tag = f"{MATHML}mi"
        elif leaf.text == "−" and before is not None and (before.text or "") in OPENING:
            leaf.set("form", "prefix")
        elif len(leaf.text) > 1 and leaf.text.isalpha():
            set_apart(leaf)
    made.set("alttext", " ".join(formula.split()))
    return etree.tostring(made, encoding="unicode")


def set_apart(name: etree._Element) -> None:
    """Set the name of a function as TeX does: upright, a thin space beside it where no bracket stands."""
    name.tag = f"{MATHML}mi"
    while name.getparent().tag in SCRIPTED and name.getparent().index(name) == 0:
        name = name.getparent()
    for beside, place in ((name.getprevious(), name.addprevious), (name.getnext(), name.addnext)):
        if beside is not None and beside.tag not in (f"{MATHML}mo", f"{MATHML}mspace"):
            place(etree.Element(f"{MATHML}mspace", width="0.167em"))


def visit_math(writer, node: nodes.math) -> None:
    """Write a formula within a line."""
    writer.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def visit_math_block(writer, node: nodes.math_block) -> None:
    """Write a formula that stands alone."""
    writer.body.append(f'<div class="math">{mathml(node.astext(), "block")}</div>\n')
    raise nodes.SkipNode


def tidy(page: Path, language: str) -> set[str]:
    """Make XHTML for books of a page that was written for the web; returns what the package must declare of it."""
    tree = etree.parse(page)
    tree.getroot().set("lang", language)
    web_only = "//x:script | //x:summary//x:span[starts-with(@class, 'expanded')]"
    for element in tree.xpath(web_only, namespaces={"x": XHTML[1:-1]}):
        element.getparent().remove(element)
    for paragraph in tree.iterfind(f".//{XHTML}summary//{XHTML}p"):
        paragraph.tag = f"{XHTML}span"
    for entry in tree.iterfind(".//*[@role='doc-biblioentry']"):
        del entry.attrib["role"]
    for link in tree.iterfind(f".//{XHTML}a[@href]"):
        if ":" not in link.get("href"):  # one of the site; its fragment is made by a script
            link.set("href", re.sub(r"\.html(#.*)?$", ".xhtml", link.get("href")))
    page.write_bytes(etree.tostring(tree, encoding="utf-8"))
    return {
        kind
        for kind, tag in (("mathml", f"{MATHML}math"), ("svg", f"{SVG}svg"))
        if tree.find(f".//{tag}") is not None
    }


def draw_cover(path: Path, title: str) -> None:
    """Draw the book's way: from row to row the kernel is narrower, and its query stands elsewhere."""
    place = torch.linspace(0, 1, 24)
    width = torch.logspace(-0.3, -1.7, 36)[:, None]
    query = 0.5 + 0.35 * torch.linspace(0, 9, 36)[:, None].sin()
    weights = (-(((place - query) / width) ** 2) / 2).exp()
    figure = Figure(figsize=(8, 12))  # inches
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(weights / weights.amax(dim=-1, keepdim=True), aspect="auto")
    axes.set_axis_off()
    band = {"facecolor": "#1b1e3a", "edgecolor": "none", "pad": 14}
    for y, size, text in zip((0.8, 0.735), (62, 27), title.split(": "), strict=True):
        figure.text(0.5, y, text, size=size, color="white", ha="center", bbox=band)
    figure.savefig(path, dpi=200)


class Ebook(Epub3Builder):
    """Sphinx's EPUB 3 builder without what themes and extensions add for the web."""

    math_renderer_name = "mathml"

    def init(self) -> None:
        """Start from nothing, so that no file of an earlier build is packed."""
        shutil.rmtree(self.outdir, ignore_errors=True)
        Path(self.outdir).mkdir(parents=True)
        super().init()
        self.config.html_domain_indices = False
        listeners = self.events.listeners["html-page-context"]
        listeners[:] = [one for one in listeners if one.handler.__module__.startswith("sphinx.")]

    def add_js_file(self, filename: str, **attributes) -> None:
        """No scripts."""

    def add_css_file(self, filename: str, **attributes) -> None:
        """One style sheet, and the colours of code."""
        if filename in ("pygments.css", STYLE.name):
            super().add_css_file(filename, **attributes)

    def init_css_files(self) -> None:
        """See `add_css_file`."""
        super().init_css_files()
        self.add_css_file(STYLE.name)

    def copy_static_files(self) -> None:
        """Only what the pages load."""
        static = Path(self.outdir) / "_static"
        static.mkdir()
        self.create_pygments_style_file()
        shutil.copy(STYLE, static)
        draw_cover(Path(self.outdir) / COVER, self.config.html_title)

    def build_content(self) -> None:
        """Write the package file, with the properties and the accessibility that Sphinx leaves out."""
        properties = {
            page: tidy(page, self.config.language)
            for page in Path(self.outdir).glob("chapters/*.xhtml")
        }
        super().build_content()
        package = Path(self.outdir) / "content.opf"
        tree = etree.parse(package)
        for item in tree.iterfind(f".//{OPF}item"):
            if found := properties.get(Path(self.outdir) / item.get("href")):
                item.set("properties", " ".join(sorted(found)))
            if item.get("href") == COVER:
                item.set("properties", "cover-image")
        metadata = tree.find(f"{OPF}metadata")
        for name, value in ACCESSIBILITY:
            etree.SubElement(metadata, f"{OPF}meta", property=f"schema:{name}").text = value
        package.write_bytes(etree.tostring(tree, encoding="utf-8", xml_declaration=True))

    def build_navigation_doc(self) -> None:
        """The contents, with the parts of the book that Sphinx leaves out."""
        super().build_navigation_doc()
        contents = Path(self.outdir) / "nav.xhtml"
        tree = etree.parse(contents)
        entries = {
            a.get("href").removesuffix(".xhtml"): a.getparent() for a in tree.iter(f"{XHTML}a")
        }
        for part in filter(lambda tree: tree.caption, self.config.external_site_map.root.subtrees):
            chapters = [entries[name] for name in part.items if name in entries]
            entry = etree.Element(f"{XHTML}li")
            chapters[0].addprevious(entry)
            etree.SubElement(entry, f"{XHTML}span").text = part.caption
            etree.SubElement(entry, f"{XHTML}ol").extend(chapters)
        contents.write_bytes(etree.tostring(tree, encoding="utf-8", xml_declaration=True))

    def toc_metadata(self, level: int, navpoints: list) -> dict:
        """The old table of contents names the book by its identifier."""
        return super().toc_metadata(level, navpoints) | {"uid": self.config.epub_identifier}


def describe(app: Sphinx, config: Config) -> None:
    """Set what the EPUB says about itself."""
    cited = yaml.safe_load((Path(app.srcdir) / "CITATION.cff").read_text(encoding="utf-8"))
    licences = re.sub("<[^>]+>", "", config.html_theme_options.get("extra_footer", ""))
    config.version = cited["version"]
    config.epub_basename = config.html_context.get("github_repo", "book")
    config.epub_title = config.html_title
    config.epub_description = cited["abstract"]
    config.epub_contributor = config.author
    config.epub_copyright = f"© {config.copyright} {config.author}. {licences}".strip()
    config.epub_identifier, config.epub_scheme, config.epub_uid = config.html_baseurl, "URL", "book"
    config.epub_cover = COVER, ""
    config.epub_tocscope, config.epub_tocdepth, config.epub_tocdup = "includehidden", 2, False
    config.epub_show_urls, config.epub_use_index = "no", False


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.add_builder(Ebook, override=True)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("config-inited", describe)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
