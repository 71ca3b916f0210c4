"""The package as it is installed: built as a wheel, put in an empty folder, imported from there."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from support import ROOT

SOURCES = {".py", ".mjs", ".css", ".mplstyle", ".tsv"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy so that nothing is left in the repository."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "attn_utils", copy / "attn_utils", ignore=ignore)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "out", "."]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (copy / "out").glob("*.whl")
    return built


def test_wheel_holds_every_source_and_nothing_else(wheel):
    expected = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "attn_utils").rglob("*")
        if path.suffix in SOURCES
    }
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == expected


def test_no_file_of_another_kind():
    """A new kind of file needs a line in pyproject.toml, or the wheel would lack it."""
    files = [path for path in (ROOT / "attn_utils").rglob("*") if path.is_file()]
    others = {p.name for p in files if p.suffix not in SOURCES and p.parent.name != "__pycache__"}
    assert not others


def test_it_works_from_an_empty_folder(wheel, tmp_path):
    target = tmp_path / "installed"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(wheel)], check=True)
    program = f"""
import importlib, pkgutil, sys
sys.path.insert(0, {str(target)!r})
import attn_utils
assert attn_utils.__file__.startswith({str(target)!r}), attn_utils.__file__
names = [module.name for module in pkgutil.walk_packages(attn_utils.__path__, "attn_utils.")]
for name in names:
    importlib.import_module(name)
for module in list(sys.modules.values()):
    for value in list(vars(module).values()) if module.__name__.startswith("attn_utils.") else ():
        if isinstance(value, type) and value.__module__.startswith("attn_utils.explorers"):
            made = getattr(value, "_esm", None)
            assert made is None or "export" in str(made), value
print(len(names), attn_utils.__version__)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    modules = list((ROOT / "attn_utils").rglob("*.py"))
    assert int(done.stdout.split()[0]) == len(modules) - 1  # attn_utils itself aside


def lowest(lines) -> dict[str, Version]:
    """The version that each requirement names first: the lowest, or the only one."""
    wanted = [Requirement(line) for line in lines if re.match(r"[\w-]+[=<>]", line)]
    return {w.name: min(Version(part.version) for part in w.specifier) for w in wanted}


def test_the_oldest_versions_tried_are_those_that_are_promised():
    text, lists = (ROOT / "pyproject.toml").read_text(encoding="utf-8"), {}
    needed = ast.literal_eval(re.search(r"^dependencies = (\[.*?^\])", text, re.M | re.S)[1])
    for name in ("requirements.txt", "tests/oldest-requirements.txt"):
        lists[name] = (ROOT / name).read_text(encoding="utf-8").splitlines()
    book, tried = map(lowest, lists.values())
    book.pop("jupyter-book")  # builds the book; chapters run without it
    promised = lowest(needed)
    assert len(promised) == len(needed)
    assert promised | book == tried == book | promised
