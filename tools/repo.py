"""Chores for the repository: its slug, its notebooks' hygiene, its pinned versions.

python tools/repo.py slug owner/name     # what `make repo SLUG=owner/name` runs
python tools/repo.py notebooks [--check] # strip outputs and machine traces (or only report)
python tools/repo.py constraints         # what `make constraints` runs (needs uv)
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import nbstripout

ROOT = Path(__file__).resolve().parent.parent
KEEP_TAG = "nbval-check-output"  # a cell with this tag keeps its output, and nbval compares it
SLUG = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})/[A-Za-z0-9._-]{1,100}")
REPOSITORY_URL = re.compile(r"(?m)^(\s+url\s*:\s*[\"']?https://github\.com/)([\w.-]+/[\w.-]+)")
# Besides _config.yml and the notebooks, these may name the repository.
NAMING_FILES = ("README.md", "CONTRIBUTING.md", "CITATION.cff", "chapters/*.md", "_config.yml")

SETUP = """\
# Setup: the same in every chapter. On Colab this installs the course's small package.
import importlib.util

if importlib.util.find_spec("attn_utils") is None:
    %pip install --quiet accelerate babel sacrebleu
    %pip install --quiet --no-deps git+https://github.com/{slug}"""

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def notebooks(root: Path = ROOT) -> list[Path]:
    """Every notebook of the book, the template included."""
    return sorted((root / "chapters").glob("*.ipynb"))


def slug(root: Path = ROOT) -> str:
    """The repository's owner/name, from the one place that holds it."""
    found = REPOSITORY_URL.search((root / "_config.yml").read_text(encoding="utf-8"))
    if found is None:
        raise ValueError("_config.yml has no repository url of the form https://github.com/o/n")
    return found.group(2)


def pages(slug: str) -> str:
    """Where GitHub publishes the site of a repository; one named OWNER.github.io is its owner's root."""
    owner, name = slug.lower().split("/")[0], slug.split("/")[1]
    host = f"{owner}.github.io"
    return host if name.lower() == host else f"{host}/{name}"


def setup_cell(root: Path = ROOT) -> str:
    """The source of the setup cell, which is the same in all notebooks."""
    return SETUP.format(slug=slug(root))


def is_kept(cell: nbformat.NotebookNode) -> bool:
    """Whether the cell's output is compared by nbval, and therefore stays in the file."""
    return KEEP_TAG in cell.metadata.get("tags", [])


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Strip outputs, counts and machine traces; cells that nbval compares keep theirs."""
    kept = {
        i: (cell.outputs, cell.execution_count)
        for i, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and is_kept(cell)
    }
    extra = ["cell.metadata.execution", "cell.metadata.ExecuteTime", "cell.metadata.trusted"]
    extra += ["cell.metadata.collapsed", "cell.metadata.scrolled", "cell.metadata.id"]
    extra += ["cell.metadata.outputId", "cell.metadata.colab"]
    nbstripout.strip_output(
        notebook, keep_output=False, keep_count=False, keep_id=True, extra_keys=extra
    )
    for i, (outputs, count) in kept.items():
        notebook.cells[i].outputs = outputs
        notebook.cells[i].execution_count = count
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def clean_files(paths: list[Path], check: bool) -> int:
    """Clean notebooks in place, or with `check` only say which are not clean."""
    dirty = []
    for path in paths:
        before = path.read_text(encoding="utf-8")
        after = nbformat.writes(clean(nbformat.reads(before, as_version=4))) + "\n"
        if before != after:
            dirty.append(path)
            if not check:
                path.write_text(after, encoding="utf-8")
    for path in dirty:
        print(f"{'not clean' if check else 'cleaned'}: {path}")
    if dirty and check:
        print("`make format` strips outputs and machine traces from notebooks.")
    return 1 if dirty and check else 0


def set_slug(new: str, root: Path = ROOT) -> int:
    """Rewrite the repository's owner/name in _config.yml and everywhere that follows from it."""
    if not SLUG.fullmatch(new) or new.endswith((".git", ".")):
        print(f"not an owner/name on GitHub: {new!r} (for example: make repo SLUG=ada/attention)")
        return 2
    old = slug(root)
    files = [p for pattern in NAMING_FILES for p in sorted(root.glob(pattern))]
    end = r"(?![\w-])"
    for path in [*files, *notebooks(root)]:
        text = path.read_text(encoding="utf-8")
        changed = re.sub(rf"github\.com/{re.escape(old)}{end}", f"github.com/{new}", text)
        changed = re.sub(re.escape(pages(old)) + end, pages(new), changed)
        if changed != text:
            path.write_text(changed, encoding="utf-8")
            print(f"{path.relative_to(root)}: {old} -> {new}")
    return 0


CONSTRAINTS_HEADER = """\
# The exact versions the book is built and tested with, for Python 3.10 to 3.13.
# Made from requirements.txt by `make constraints`; do not edit. torch brings its own
# CUDA libraries at versions that it fixes itself, so they are not listed.
"""


def write_constraints(root: Path = ROOT) -> int:
    """Resolve requirements.txt for all supported Pythons at once and write constraints.txt."""
    lines = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = "\n".join(line for line in lines if not line.startswith("-e"))
    command = "uv pip compile --quiet --universal --python-version 3.10"
    command += " --no-annotate --no-header --no-emit-index-url --no-emit-find-links -"
    done = subprocess.run(
        [sys.executable, "-m", *command.split()], input=wanted, text=True, stdout=subprocess.PIPE
    )
    if done.returncode:
        return done.returncode
    cuda = ("nvidia-", "cuda-", "triton")
    pins = [line for line in done.stdout.splitlines() if not line.startswith(cuda)]
    text = CONSTRAINTS_HEADER + "\n".join(pins) + "\n"
    (root / "constraints.txt").write_text(text, encoding="utf-8")
    print(f"constraints.txt: {len(pins)} pins. Now run `make test`.")
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("slug").add_argument("slug")
    strip = commands.add_parser("notebooks")
    strip.add_argument("--check", action="store_true")
    strip.add_argument("paths", nargs="*", type=Path)
    commands.add_parser("constraints")
    chosen = parser.parse_args(arguments)
    if chosen.command == "slug":
        return set_slug(chosen.slug)
    if chosen.command == "constraints":
        return write_constraints()
    return clean_files(chosen.paths or notebooks(), chosen.check)


if __name__ == "__main__":
    sys.exit(main())
