"""An explorer in a real JupyterLab: what the reader drags reaches Python, what Python sets reaches the figure."""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
from playwright.sync_api import expect

from .harness import ROOT

pytestmark = pytest.mark.live
pytest.importorskip("jupyterlab")

CELLS = [
    "import torch\n"
    "from attn_utils.explorers import KernelWidth\n"
    "explorer = KernelWidth(torch.arange(8.0), torch.arange(8.0) ** 2, width=0.5)\n"
    "explorer",
    "print('width', round(explorer.width, 4))",
    "explorer.width = 2.0",
    "from attn_utils.explorers import Alignment\n"
    "def letters(text):\n"
    "    if 'z' in text:\n"
    "        raise ValueError('z is unknown')\n"
    "    return {'source': text, 'target': text, 'weights': torch.eye(len(text))}\n"
    "alignment = Alignment([letters('ab')], translate=letters)\n"
    "alignment",
    "print('examples', len(alignment.examples))",
]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """The address of a notebook in a Jupyter server of its own, which knows no settings but these."""
    folder = tmp_path_factory.mktemp("lab")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata.kernelspec = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(notebook, folder / "live.ipynb")
    port, token = free_port(), secrets.token_hex(16)
    options = {
        "--ServerApp.ip": "127.0.0.1",
        "--ServerApp.port": port,
        "--ServerApp.port_retries": 0,
        "--ServerApp.root_dir": folder,
        "--ServerApp.allow_root": True,
        "--IdentityProvider.token": token,
        "--LabApp.news_url": "None",
        "--LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    places = {
        name: str(tmp_path_factory.mktemp(name.lower()))
        for name in (*places, "JUPYTERLAB_SETTINGS_DIR")
    }
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    log = folder.parent / "lab.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jupyterlab",
                "--no-browser",
                *(f"{k}={v}" for k, v in options.items()),
            ],
            cwd=folder,
            env={**os.environ, **places, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until_up(server, f"{address}/api?token={token}", log)
        yield f"{address}/doc/tree/live.ipynb?token={token}"
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


def wait_until_up(server, url, log, seconds=40) -> None:
    """Return as soon as the server answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"Jupyter did not start:\n{log.read_text()[-3000:]}")


class Notebook:
    """A notebook on an open page."""

    def __init__(self, page) -> None:
        self.page = page
        self.cells = page.locator(".jp-CodeCell")

    def run(self, number: int) -> None:
        """Run a cell and wait until the kernel is done with it."""
        prompt = self.cells.nth(number).locator(".jp-InputArea-prompt")
        before = prompt.inner_text().strip()
        # A key pressed while the kernel is still being connected is lost: press it until the cell starts.
        for _ in range(8):
            self.cells.nth(number).locator(".cm-content").click()
            self.page.keyboard.press("Control+Enter")
            try:
                expect(prompt).not_to_have_text(before, timeout=3000)
                break
            except AssertionError:
                continue
        expect(prompt).to_have_text(re.compile(r"^\[\d+\]:$"), timeout=30_000)

    def number(self, cell: int = 1) -> float:
        """What a cell prints, asked of Python: explorer.width."""
        self.run(cell)
        output = self.cells.nth(cell).locator(".jp-OutputArea-output").last
        return float(output.inner_text().split()[1])


@pytest.fixture
def notebook(browser, lab):
    """The notebook, open in a page of its own that must throw no error."""
    context = browser.new_context(viewport={"width": 1280, "height": 1600})
    page = context.new_page()
    page.set_default_timeout(30_000)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.bring_to_front()
    page.goto(lab)
    page.locator(".jp-CodeCell").nth(len(CELLS) - 1).wait_for()
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
    yield Notebook(page)
    assert errors == []
    context.close()


def test_both_directions_and_the_arrow_keys(notebook):
    page = notebook.page
    notebook.run(0)
    explorer = page.locator("section.attn-explorer")
    explorer.wait_for()
    says, slider = explorer.locator("[aria-live]"), explorer.get_by_role("slider")
    assert "Width 0.500" in says.inner_text()
    assert explorer.get_by_role("button", name="Copy link").count() == 0, (
        "a notebook has no such address"
    )
    assert notebook.number() == 0.5

    # The reader drags: Python hears of it.
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.45, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    dragged = notebook.number()
    assert dragged > 1
    assert f"Width {dragged:.3g}" in says.inner_text()

    # Arrow keys belong to the slider, not to the notebook.
    slider.focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    assert slider.evaluate("(input) => input === document.activeElement")
    pressed = notebook.number()
    assert pressed == pytest.approx(dragged / 10**0.1, rel=0.02)

    # Python sets: the figure follows.
    curve = explorer.locator("path.attn-curve")
    before = curve.get_attribute("d")
    notebook.run(2)
    says.filter(has_text="Width 2.00").wait_for()
    assert curve.get_attribute("d") != before
    assert float(slider.input_value()) == pytest.approx(0.30, abs=0.011)
    assert slider.get_attribute("aria-valuetext") == "2.00"
    assert notebook.number() == 2.0

    # A choice, both ways.
    explorer.get_by_role("radio", name="boxcar").check()
    assert "Width 2.00" in says.inner_text()


def test_a_sentence_can_be_typed(notebook):
    notebook.run(0)  # imports torch
    notebook.run(3)
    explorer = notebook.page.locator("section#alignment")
    field, says = explorer.get_by_role("textbox"), explorer.locator("[aria-live]")
    words = explorer.locator(".attn-words label")
    for _ in range(2):  # the same mistake is told again
        field.fill("zoo")
        field.press("Enter")
        says.filter(has_text="“zoo”: z is unknown").wait_for()
        words.nth(1).hover()
        says.filter(has_text="“b” looks at “b” (1.00).").wait_for()
        words.nth(0).hover()
    assert notebook.number(4) == 1
    field.fill("cde")
    field.press("Enter")
    says.filter(has_text="“c” looks at “c” (1.00).").wait_for()
    assert explorer.get_by_role("combobox").locator("option").all_inner_texts()[1] == "2: c d e"
    assert field.input_value() == ""
    assert notebook.number(4) == 2
    explorer.get_by_role("combobox").select_option(index=0)
    says.filter(has_text="“a” looks at “a” (1.00).").wait_for()
