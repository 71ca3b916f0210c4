"""What the tests of the repository share: where the notebooks are, how to look into a cell."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))  # the template included
CHAPTERS = [path for path in NOTEBOOKS if path.name[0].isdigit()]
LESSONS = [path for path in NOTEBOOKS if not path.name[0].isalpha()]  # chapters and their template


def read(path: Path) -> nbformat.NotebookNode:
    """A notebook from its file."""
    return nbformat.read(path, as_version=4)


def tags(cell: nbformat.NotebookNode) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The code cells of a notebook, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def plain_python(source: str) -> str:
    """A cell's source with IPython's magics turned into Python."""
    return TransformerManager().transform_cell(source)


def parse(source: str) -> ast.Module:
    """The syntax tree of a cell, magics included."""
    return ast.parse(plain_python(source))


def name_of(node: ast.expr) -> str:
    """`plt.show` of the expression `plt.show`; an empty string for anything but dotted names."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (front := name_of(node.value)):
        return f"{front}.{node.attr}"
    return ""
