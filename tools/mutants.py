"""Change one thing in a module and see whether the module's own tests notice: mutation testing.

mutmut makes the mutants. Each is tested in a fork of a process that has torch and the rest loaded already, on a copy
of the repository: seconds each, where a fresh interpreter takes many.
"""

import argparse
import difflib
import gc
import importlib
import os
import random
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from mutmut.mutation.file_mutation import create_mutations

ROOT = Path(__file__).resolve().parent.parent
MODULES = ("kernels", "masking", "scoring", "attention", "transformer", "vision")
PARTS = ("attn_utils", "benchmarks", "tests")
CPU_SECONDS = 300  # a mutant that takes longer runs in circles
# What takes long to load: loaded once, here, and never the package itself.
LOADED = ("torch._dynamo", "accelerate", "babel.dates", "sacrebleu", "skimage.restoration")
LOADED += ("sklearn.datasets", "statsmodels.nonparametric.kernel_regression")


class Last:
    """For pytest: tests that start a process of their own come last."""

    def pytest_collection_modifyitems(self, items):
        items.sort(key=lambda item: "extra_mb" in item.function.__code__.co_names)


def mutants_of(source: str) -> list[str]:
    """The module's source with one change, in every way that mutmut knows, but not in messages of errors."""
    tree, changes, *_ = create_mutations("", source)
    codes = (tree.deep_replace(c.original_node, c.mutated_node).code for c in changes)
    return list(dict.fromkeys(codes))


def change(source: str, mutant: str) -> str:
    """The lines that differ, with their number."""
    old, new = source.splitlines(), mutant.splitlines()
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            here, there = (" ".join(map(str.strip, lines)) for lines in (old[a:b], new[c:d]))
            return f"line {a + 1}\n    - {here}\n    + {there}"
    return "no change"


def start(folder: Path, module: str, source: str) -> int:
    """The id of a process that tests the module with this source, in its own copy of the repository."""
    if pid := os.fork():
        return pid
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    os.chdir(folder)
    os.dup2(os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.dup2(1, 2)
    Path("attn_utils", f"{module}.py").write_text(source, encoding="utf-8")
    args = ["-x", "-q", "--assert=plain", "--tb=short", f"tests/test_{module}.py"]
    os._exit(pytest.main(args, plugins=[Last()]))


def survivors(module: str, mutants: list[str], folders: list[Path]) -> Iterator[str]:
    """Those that the module's tests let pass."""
    free, running, left = list(folders), {}, list(mutants)
    while left or running:
        if left and free:
            mutant, folder = left.pop(), free.pop()
            running[start(folder, module, mutant)] = mutant, folder
            continue
        pid, status = os.wait()
        mutant, folder = running.pop(pid)
        free.append(folder)
        if status == 0:
            yield mutant


def examine(module: str, sample: int, seed: int, folders: list[Path]) -> float:
    """Print what survives; return the share that is killed."""
    source = (ROOT / "attn_utils" / f"{module}.py").read_text(encoding="utf-8")
    if not list(survivors(module, [source], folders)):
        raise SystemExit(f"tests/test_{module}.py fails before any change")
    every = mutants_of(source)
    chosen = random.Random(seed).sample(every, min(sample, len(every)))
    print(f"\n{module}: {len(chosen)} of {len(every)} mutants", flush=True)
    alive = 0
    for mutant in survivors(module, chosen, folders):
        alive += 1
        print(change(source, mutant), flush=True)
    for folder in folders:
        shutil.copy(ROOT / "attn_utils" / f"{module}.py", folder / "attn_utils")
    killed = 1 - alive / len(chosen)
    print(f"{module}: {len(chosen) - alive} of {len(chosen)} killed, {killed:.0%}", flush=True)
    return killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", default=MODULES, metavar="module")
    parser.add_argument("--sample", type=int, default=120, help="at most so many of a module")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=2, help="so many at once")
    parser.add_argument("--least", type=float, default=0.85, help="the share that must be killed")
    args = parser.parse_args()
    # Two changes of one length within a second would share their compiled file.
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # they take as long as the tests
    # A test that has failed need not look for the smallest failure; and each run tries the same examples.
    hypothesis.settings.register_profile(
        "mutants", phases=[hypothesis.Phase.generate], database=None, derandomize=True
    )
    hypothesis.settings.load_profile("mutants")
    for name in LOADED:
        importlib.import_module(name)
    gc.freeze()  # else each fork's first garbage collection copies all of it
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary, str(i)) for i in range(args.jobs)]
        for folder in folders:
            for part in PARTS:
                shutil.copytree(
                    ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__")
                )
            shutil.copy(ROOT / "pyproject.toml", folder)
        shares = {m: examine(m, args.sample, args.seed, folders) for m in args.modules}
    if low := [module for module, share in shares.items() if share < args.least]:
        raise SystemExit(f"less than {args.least:.0%} killed: {', '.join(low)}")


if __name__ == "__main__":
    main()
