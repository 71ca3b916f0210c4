"""A reader runs cells again: in the same kernel, a second pass gives the same kept outputs, and no cell fails.

The quick chapters are tried; all of them, which takes twenty minutes, with the environment variable EVERY_CHAPTER=1.
"""

from __future__ import annotations

import copy
import os

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from support import CHAPTERS, code_cells, read, tags

QUICK = ("01-", "03-", "05-")
CHOSEN = (
    CHAPTERS if os.environ.get("EVERY_CHAPTER") else [p for p in CHAPTERS if p.name[:3] in QUICK]
)


def shown(cell) -> str:
    """What a cell shows in words; into how many pieces a print is cut depends on the machine's other work."""
    return "".join(
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for output in cell.outputs
        if output.output_type != "stream" or output.name == "stdout"
    )


def twice(notebook) -> tuple[list, list]:
    """The code cells of a first and a second pass in one kernel."""
    first = code_cells(notebook)
    second = copy.deepcopy(first)
    for number, cell in enumerate(second):
        cell.id = f"again-{number}"
    notebook.cells = first + second
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": "chapters"}}).execute()
    return first, second


@pytest.mark.parametrize("path", CHOSEN, ids=lambda path: path.stem)
def test_a_second_pass_shows_the_same(path, monkeypatch):
    monkeypatch.chdir(path.parent.parent)
    notebook = read(path)
    kept = [shown(cell) for cell in code_cells(notebook) if "nbval-check-output" in tags(cell)]
    assert kept or os.environ.get("EVERY_CHAPTER")
    for cells in twice(notebook):
        assert [shown(cell) for cell in cells if "nbval-check-output" in tags(cell)] == kept


def test_a_cell_that_remembers_is_noticed(tmp_path, monkeypatch):
    (tmp_path / "chapters").mkdir()
    monkeypatch.chdir(tmp_path)

    cells = ["try:\n    n += 1\nexcept NameError:\n    n = 0", "print(n)"]
    first, second = twice(new_notebook(cells=[new_code_cell(cell) for cell in cells]))
    assert (shown(first[1]), shown(second[1])) == ("0\n", "1\n")
