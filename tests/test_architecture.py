"""The shape of attn_utils: who imports whom, how big it is, what importing it does.

The rules are those of STYLE.md. Everything is found by glob, so a new module is covered at once.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import sys

import pytest
from support import ROOT

PACKAGE = ROOT / "attn_utils"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 2_992  # of code, docstrings, comments and blanks aside; lower it: the aim is 1,700
MAX_FUNCTION_LINES = 43  # a ceiling, not an aim: aim at 25

# Which modules of the package a module may import. The models stand on each other's shoulders.
BASE = {"masking", "kernels", "positional"}
MODELS = {"seq2seq", "transformer", "vision"}
ALLOWED = {
    "__init__": set(),
    "masking": set(),
    "positional": {"masking"},
    "kernels": {"masking"},
    "scoring": BASE,
    "attention": BASE | {"scoring"},
    **dict.fromkeys(MODELS, BASE | {"scoring", "attention"}),
    "vision": BASE | {"attention", "transformer"},
    "data": set(),
    "training": {"data"},
    "decoding": {"data"},
    "plotting": set(),
    "exercises": set(),
    "explorers": BASE | {"scoring", "attention", "vision", "plotting"},
}
# Modules that a reader may import on a machine without a screen, quickly.
DRAW = {"plotting", "explorers"}
DRAWING = {"matplotlib", "seaborn", "ipywidgets", "anywidget", "IPython"}

each_module = pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE))
)


def dotted(path) -> str:
    """attn_utils.kernels of .../attn_utils/kernels.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer(path) -> str:
    """The name a file has in ALLOWED: its module, or the folder it is in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def tree(path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path) -> set[str]:
    """The parts of attn_utils that a file imports, at any depth of its code."""
    package = dotted(path) if path.name == "__init__.py" else dotted(path).rpartition(".")[0]
    names = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")[: len(package.split(".")) - node.level + 1]
            start = ".".join([*up, node.module or ""]).strip(".") if node.level else node.module
            names += [f"{start}.{alias.name}" for alias in node.names]
    parts = [name.split(".") for name in names]
    return {part[1] for part in parts if part[0] == "attn_utils" and len(part) > 1}


@each_module
def test_imports_run_one_way(path):
    here = layer(path)
    assert here in ALLOWED, f"{here} is new: say in tests/test_architecture.py what it may import"
    beyond = imported(path) - ALLOWED[here] - {here}
    assert not beyond, f"{dotted(path)} must not import {sorted(beyond)}"


def test_init_is_a_docstring_and_a_version():
    body = tree(PACKAGE / "__init__.py").body
    assert ast.get_docstring(tree(PACKAGE / "__init__.py"))
    rest = [ast.unparse(node).split(" = ")[0] for node in body[1:]]
    assert rest == ["__version__"]


def docstring_lines(module: ast.Module) -> set[int]:
    """The lines taken by docstrings and other bare strings."""
    return {
        line
        for node in ast.walk(module)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, node.end_lineno + 1)
    }


def code_lines(path, first: int = 1, last: int | None = None) -> int:
    """How many lines of a file are code: neither blank, nor comment, nor docstring."""
    lines = path.read_text(encoding="utf-8").splitlines()
    skip = docstring_lines(tree(path))
    return sum(
        1
        for number, line in enumerate(lines, 1)
        if first <= number <= (last or len(lines))
        and number not in skip
        and line.strip()
        and not line.strip().startswith("#")
    )


def test_small():
    sizes = {dotted(path): code_lines(path) for path in MODULES}
    assert sum(sizes.values()) < MAX_LINES, sizes


@each_module
def test_functions_are_short(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = code_lines(path, node.lineno, node.end_lineno)
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines of code"


def public(body: list[ast.stmt]) -> list[ast.stmt]:
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node for node in body if isinstance(node, kinds) and not node.name.startswith("_")]


def untyped(function: ast.FunctionDef) -> list[str]:
    """The parameters of a function (and `return`) that have no type hint."""
    spec = function.args
    every = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs]
    every += [extra for extra in (spec.vararg, spec.kwarg) if extra]
    bare = [a.arg for a in every if a.annotation is None and a.arg not in ("self", "cls")]
    return bare + (["return"] if function.returns is None else [])


def parameters(function: ast.FunctionDef) -> bool:
    spec = function.args
    names = [a.arg for a in [*spec.posonlyargs, *spec.args, *spec.kwonlyargs]]
    return bool(set(names) - {"self", "cls"})


@each_module
def test_documented(path):
    """Public functions and classes: docstring with Args and Returns, full type hints."""
    assert ast.get_docstring(tree(path)), f"{dotted(path)} has no docstring"
    if path.name.startswith("_") and path.name != "__init__.py":
        return  # a private module: nothing in it is public
    for node in public(tree(path).body):
        text = ast.get_docstring(node) or ""
        assert text, f"{node.name} has no docstring"
        if isinstance(node, ast.FunctionDef):
            assert not untyped(node), f"{node.name}: no type hint for {untyped(node)}"
            assert "Args:" in text or not parameters(node), f"{node.name}: no Args"
            nothing = isinstance(node.returns, ast.Constant) and node.returns.value is None
            assert "Returns:" in text or nothing, f"{node.name}: no Returns"
            continue
        for method in node.body:
            if not isinstance(method, ast.FunctionDef):
                continue
            if method.name == "__init__" or not method.name.startswith("_"):
                where = f"{node.name}.{method.name}"
                assert not untyped(method), f"{where}: no type hint for {untyped(method)}"
            if method.name == "__init__" and parameters(method):
                own = ast.get_docstring(method) or ""
                assert "Args:" in text + own, f"{node.name}: no Args in its docstring"


def exported(path) -> set[str]:
    """The names a module offers: its __all__, or what is public and defined in it."""
    for node in tree(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    constants = {
        target.id
        for node in tree(path).body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and re.fullmatch(r"[A-Z][A-Z0-9_]*", target.id)
    }
    return {node.name for node in public(tree(path).body)} | constants


def listed() -> dict[str, set[str]]:
    """The public names in STYLE.md: `- \\`attn_utils.kernels\\`: \\`gaussian\\`, …`."""
    text = (ROOT / "STYLE.md").read_text(encoding="utf-8")
    entries = re.findall(r"(?ms)^- `(attn_utils\.\w+)`: (.*?)(?=^- |^$|\Z)", text)
    return {module: set(re.findall(r"`(\w+)`", names)) for module, names in entries}


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if p != PACKAGE / "__init__.py" and p.parent == PACKAGE]
    + [PACKAGE / folder / "__init__.py" for folder in ("data", "explorers")],
    ids=dotted,
)
def test_public_names_are_those_in_the_style_guide(path):
    names = listed().get(dotted(path))
    assert names is not None, f"STYLE.md does not list {dotted(path)}"
    assert exported(path) == names


def run(program: str) -> dict:
    """Run a program in a fresh interpreter; it prints one line of JSON."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_the_package_costs_nothing():
    program = """
import json, sys, time
import torch
before = set(sys.modules)
start = time.perf_counter()
import attn_utils
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "new": sorted(set(sys.modules) - before)}))
"""
    seen = run(program)
    assert seen["seconds"] < 0.1
    assert seen["new"] == ["attn_utils"]


def test_only_what_draws_loads_drawing():
    names = [dotted(p) for p in MODULES if layer(p) not in DRAW]
    program = f"""
import importlib, json, sys
loaded = {{}}
for name in {names}:
    importlib.import_module(name)
    loaded[name] = sorted({DRAWING} & set(sys.modules))
print(json.dumps(loaded))
"""
    assert {name: found for name, found in run(program).items() if found} == {}


def test_importing_has_no_side_effects():
    """No seed, no silenced warning, no setting of matplotlib or torch, no network, no file."""
    program = f"""
import builtins, importlib, json, os, random, socket, sys, warnings
import accelerate, anywidget, ipywidgets, matplotlib, matplotlib.pyplot, numpy, seaborn, torch, torch.nn

def refuse(*args, **kwargs):
    raise AssertionError("the network was asked")

socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse

def state():
    return {{
        "random": hash(random.getstate()),
        "numpy": str(numpy.random.get_state()),
        "torch": torch.get_rng_state().sum().item(),
        "warnings": str(warnings.filters),
        "matplotlib": str(sorted(matplotlib.rcParams.items(), key=lambda item: item[0])),
        "dtype": str(torch.get_default_dtype()),
        "gradients": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "environment": str(sorted(os.environ.items())),
        "folder": sorted(os.listdir()),
        "path": str(sys.path),
    }}

torch.set_num_threads(2)
changed = {{}}
for name in {[dotted(path) for path in MODULES]}:
    before = state()
    importlib.import_module(name)
    after = state()
    changed[name] = [key for key in before if before[key] != after[key]]
print(json.dumps(changed))
"""
    assert {name: what for name, what in run(program).items() if what} == {}
