"""Every notebook of the book keeps the rules of STYLE.md. Notebooks are found by glob."""

from __future__ import annotations

import ast
import re

import pytest
import yaml
from support import CHAPTERS, LESSONS, NOTEBOOKS, ROOT, code_cells, name_of, parse, read, tags

from attn_utils import explorers
from tools import repo

MAX_CELL_LINES = 25
SECTIONS = ("You will learn", "Prerequisites", "Time", "Summary", "Sources")
EXERCISE = re.compile(r"^### Exercise (\d+) · (recall|modify|extend): \S", re.MULTILINE)
# What asks the network, the clock or the machine's own randomness.
FORBIDDEN_MODULES = {"requests", "urllib", "http", "socket", "httpx", "aiohttp", "wget", "secrets"}
FORBIDDEN_CALLS = {"time.time", "datetime.now", "datetime.datetime.now", "date.today", "os.urandom"}
GLOBAL_NUMPY = re.compile(r"(np|numpy)\.random\.(?!default_rng|Generator|SeedSequence)\w+")
TORCH_RANDOM = re.compile(r"torch\.(rand|randn|randint|randperm|normal|bernoulli|multinomial)\w*")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def markdown(notebook) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def without_fences(text: str) -> str:
    return re.sub(r"(?ms)^(```+|~~~+).*?^\1\s*$", "", text)


def test_there_are_notebooks():
    assert NOTEBOOKS, "chapters/ holds no notebook"


@each_notebook
def test_name(path):
    assert re.fullmatch(r"_template|(\d\d-)?[a-z0-9]+(-[a-z0-9]+)*", path.stem), (
        "a chapter's file is named NN-topic.ipynb, one of the back matter topic.ipynb, with hyphens"
    )


@each_notebook
def test_small(path):
    assert path.stat().st_size < 1_000_000, "Colab is slow to open a notebook of 1 MB or more"


@each_notebook
def test_clean(path):
    """No stray outputs, counts, ids of a machine or editor: what `make format` makes of it."""
    text = path.read_text(encoding="utf-8")
    assert repo.nbformat.writes(repo.clean(read(path))) + "\n" == text, "run `make format`"


@each_notebook
def test_kept_outputs_are_there(path):
    """nbval compares a marked cell only if the file holds its output and its count."""
    for cell in code_cells(read(path)):
        if "NBVAL_CHECK_OUTPUT" in cell.source:
            raise AssertionError(f"mark a compared cell by the tag {repo.KEEP_TAG}, not a comment")
        if repo.KEEP_TAG in tags(cell):
            assert cell.outputs, f"marked as compared, but has no output:\n{cell.source}"
            assert cell.execution_count, f"compared, but has no execution count:\n{cell.source}"
            kinds = {output.output_type for output in cell.outputs}
            assert "error" not in kinds, f"an error is kept as output:\n{cell.source}"


@each_notebook
def test_one_title_and_it_comes_first(path):
    notebook = read(path)
    assert notebook.cells[0].cell_type == "markdown", "the first cell is the title"
    assert notebook.cells[0].source.startswith("# "), "the first cell starts with the title"
    titles = re.findall(r"(?m)^# .*", without_fences(markdown(notebook)))
    titles += re.findall(r"(?m)^=+ *$", without_fences(markdown(notebook)))
    assert len(titles) == 1, f"exactly one H1, found {titles}"
    assert "?" in notebook.cells[0].source, "under the title stands the chapter's question"


@each_notebook
def test_setup_cell_is_the_same_everywhere(path):
    notebook = read(path)
    setup = notebook.cells[1]
    assert setup.cell_type == "code", "the second cell is the setup cell"
    assert setup.source == repo.setup_cell(), "copy the setup cell from chapters/_template.ipynb"
    assert dict(setup.metadata) == {}, "the setup cell has no tags: readers should see it"
    later = [cell.source for cell in code_cells(notebook) if cell is not setup]
    assert not [s for s in later if re.search(r"(?m)^\s*[%!]\s*pip", s)], "install nothing else"


def test_one_slug():
    """What names the repository on GitHub names the one in _config.yml."""
    files = [p for pattern in repo.NAMING_FILES for p in ROOT.glob(pattern)]
    owner, name = repo.slug().split("/")
    same_name = rf"github\.com/([\w.-]+/{re.escape(name)})(?![\w-])"
    installed = r"git\+https://github\.com/([\w.-]+/[\w.-]+)"
    for path in [*files, *NOTEBOOKS]:
        text = path.read_text(encoding="utf-8")
        found = {*re.findall(same_name, text), *re.findall(installed, text)}
        assert found <= {repo.slug()}, f"{path.name} names {found}: make repo SLUG={repo.slug()}"
        pages = set(re.findall(rf"([\w-]+)\.github\.io/{re.escape(name)}", text))
        assert pages <= {owner}, f"{path.name} names pages of {pages}"


def base_url(root):
    """Where _config.yml says that the site is published."""
    return yaml.safe_load((root / "_config.yml").read_text("utf-8"))["html"]["baseurl"]


def test_the_base_url_follows_from_the_slug(tmp_path):
    assert base_url(ROOT) == f"https://{repo.pages(repo.slug())}/"
    (tmp_path / "_config.yml").write_text((ROOT / "_config.yml").read_text("utf-8"), "utf-8")
    for slug, base in (("Ada/ada.github.io", "ada.github.io"), ("Bo/Book", "bo.github.io/Book")):
        assert repo.set_slug(slug, tmp_path) == 0
        assert base_url(tmp_path) == f"https://{base}/"


def test_slug_command(tmp_path):
    """`make repo` rewrites every place, and refuses what is no owner/name."""
    (tmp_path / "chapters").mkdir()
    (tmp_path / "_config.yml").write_text((ROOT / "_config.yml").read_text("utf-8"), "utf-8")
    for path in [*NOTEBOOKS, ROOT / "README.md"]:
        copy = tmp_path / path.relative_to(ROOT)
        copy.write_text(path.read_text("utf-8"), "utf-8")
    old = repo.slug()
    for bad in ("nonsense", "a/b/c", "-a/b", "a/b c", "https://github.com/a/b", "a/b.git", ""):
        assert repo.set_slug(bad, tmp_path) == 2
        assert repo.slug(tmp_path) == old
    assert repo.set_slug("ada/attention.book", tmp_path) == 0
    assert repo.slug(tmp_path) == "ada/attention.book"
    assert base_url(tmp_path) == "https://ada.github.io/attention.book/"
    for path in tmp_path.rglob("*.*"):
        assert old not in path.read_text("utf-8"), f"{path.name} still names {old}"
        if path.suffix == ".ipynb":
            assert read(path).cells[1].source == repo.setup_cell(tmp_path)


@each_notebook
def test_in_the_table_of_contents(path):
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    entries = re.findall(r"'(?:file|root)': '([^']+)'", str(toc))
    listed = f"chapters/{path.stem}" in [entry.removesuffix(".ipynb") for entry in entries]
    assert listed == (path.stem != "_template")


@each_chapter
def test_listed(path):
    """The introduction and the page for teachers name every chapter."""
    for page in ("intro.md", "teaching.md"):
        assert f"({path.name})" in (ROOT / "chapters" / page).read_text("utf-8"), page


def test_every_explorer_is_listed():
    page = (ROOT / "chapters/explorers.md").read_text("utf-8")
    for name in explorers.__all__:
        slug = getattr(explorers, name).slug.default_value
        (chapter,) = re.findall(rf'href="([\w-]+)\.html#{slug}"', page)
        assert f"{name}(" in (ROOT / f"chapters/{chapter}.ipynb").read_text("utf-8"), name


@each_lesson
def test_sections(path):
    text = without_fences(markdown(read(path)))
    places = [re.search(rf"(?m)^(#+ |\*\*){re.escape(title)}\b", text) for title in SECTIONS]
    missing = [title for title, place in zip(SECTIONS, places, strict=True) if place is None]
    assert not missing, f"no heading or bold lead for: {missing}"
    starts = [place.start() for place in places]
    assert starts == sorted(starts), f"these come in this order: {SECTIONS}"


@each_lesson
def test_exercises_are_numbered(path):
    found = EXERCISE.findall(markdown(read(path)))
    every = re.findall(r"(?m)^#+ Exercise .*", markdown(read(path)))
    assert len(found) == len(every), f"form: ### Exercise 1 · recall: title. Found {every}"
    assert [int(number) for number, _ in found] == list(range(1, len(found) + 1))
    assert found, "there is no exercise"
    if path in CHAPTERS:
        assert len(found) >= 3, "a chapter has three exercises or more"
        assert {kind for _, kind in found} == {"recall", "modify", "extend"}


@each_notebook
def test_cells_are_short(path):
    for cell in code_cells(read(path)):
        lines = cell.source.count("\n") + 1
        assert lines <= MAX_CELL_LINES, f"{lines} lines:\n{cell.source[:200]}"
        assert cell.source.strip(), "an empty code cell"


@each_notebook
def test_no_trailing_semicolon(path):
    for cell in code_cells(read(path)):
        assert not re.search(r";\s*(#.*)?$", cell.source), f"write plt.show():\n{cell.source}"


@each_notebook
def test_figures_have_alt_text(path):
    for cell in code_cells(read(path)):
        calls = {name_of(n.func) for n in ast.walk(parse(cell.source)) if isinstance(n, ast.Call)}
        ends = last_call(cell.source).removeprefix("plotting.")
        if "plt.show" in calls or ends.startswith("show_"):
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            wanted = '"mystnb": {"image": {"alt": "what the figure shows"}}'
            assert len(alt) >= 20, f"the metadata lack {wanted}:\n{cell.source}"


def last_call(source: str) -> str:
    """The name called by the last statement of a cell, whether or not its result is kept."""
    body = parse(source).body
    value = getattr(body[-1], "value", None) if body else None
    return name_of(value.func) if isinstance(value, ast.Call) else ""


@each_notebook
def test_pictures_have_alt_text(path):
    for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)]*)\)", markdown(read(path))):
        assert len(alt) >= 20, f"describe the picture {target}"


@each_notebook
def test_reproducible(path):
    """No network, no clock, no unseeded randomness."""
    seeded = False
    for cell in code_cells(read(path))[1:]:
        for node in ast.walk(parse(cell.source)):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name.split(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [(node.module or "").split(".")[0]]
            assert not FORBIDDEN_MODULES & set(names), f"needs the network:\n{cell.source}"
        calls = [n for n in ast.walk(parse(cell.source)) if isinstance(n, ast.Call)]
        calls.sort(key=lambda call: (call.lineno, call.col_offset))
        for call in calls:
            name = name_of(call.func)
            seeded = seeded or name == "torch.manual_seed"
            assert name not in FORBIDDEN_CALLS, f"{name} differs at every run:\n{cell.source}"
            assert not GLOBAL_NUMPY.fullmatch(name), f"use np.random.default_rng(seed): {name}"
            if TORCH_RANDOM.fullmatch(name):
                own = any(keyword.arg == "generator" for keyword in call.keywords)
                assert seeded or own, f"{name} before torch.manual_seed:\n{cell.source}"
