"""Attention over images: the grid without its map beside the grid with it, and non-local means beside scikit-image.

python benchmarks/bench_vision.py [--json FILE] [--rounds 5] [--threads 1]

The sides of a comparison take turns in one process, in changing order; a ratio is that of the best times. Each peak of
memory is taken in a process of its own. One thread unless told otherwise. The whole takes about three minutes.

- grid: `SelfAttention2d(64)`, forward and backward, on (8, 64, 64, 64) and on smaller grids: without the map, with it
  (`need_weights=True`), and without it where the features of a place
  lie apart in memory, as they come out of a convolution (`not in order`)
- means: `non_local_means` of the colour cat (300 x 451, patches of 5 x 5, window of 13 x 13) beside scikit-image's two
  modes at the same parameters; ``difference`` is the largest to the exact one
"""

import argparse
import contextlib
import json
import math
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from unittest import mock

import torch
from memory import peak_mb

GRIDS = [(8, 64, 64, 64), (32, 64, 28, 28), (64, 64, 16, 16)]  # images, channels, rows, columns
PATCH, WINDOW, WIDTH = 5, 13, 0.08
# (what, beside what): (ratio of best times, ratio of extra memory) that should not be exceeded, on the first grid.
TARGETS = {("no map", "map"): (1.0, 0.1), ("attn_utils", "scikit-image slow"): (3.0, None)}


def grid_job(name: str, shape: tuple[int, ...]) -> Callable:
    """One forward and backward pass; returns the grid and the gradients."""
    from attn_utils import vision

    torch.manual_seed(0)
    block = vision.SelfAttention2d(shape[1])
    torch.nn.init.constant_(block.gate, 1.0)
    x, towards = torch.randn(shape, requires_grad=True), torch.randn(shape)
    careless = mock.patch.object(torch.Tensor, "contiguous", lambda x: x)

    def once() -> list[torch.Tensor]:
        with careless if name == "not in order" else contextlib.nullcontext():
            y, _ = block(x, need_weights=name == "map")
        return [y.detach(), *torch.autograd.grad(y, [x, *block.parameters()], towards)]

    return once


def means_job(name: str, scale: float) -> Callable:
    """Denoise the cat; ``scale`` takes a part of it."""
    import skimage.data
    from skimage.restoration import denoise_nl_means

    from attn_utils.vision import non_local_means

    cat = torch.tensor(skimage.data.chelsea()).float() / 255
    cat = cat[: round(scale * cat.shape[0]), : round(scale * cat.shape[1])]
    noisy = cat + 0.05 * torch.randn(cat.shape, generator=torch.Generator().manual_seed(0))
    if name == "attn_utils":
        image = noisy.permute(2, 0, 1).contiguous()
        return lambda: [non_local_means(image, PATCH, WIDTH, WINDOW)[0].permute(1, 2, 0)]
    array, fast = noisy.numpy(), name.endswith("fast")
    options = {"fast_mode": fast, "channel_axis": 2, "h": math.sqrt(2) * WIDTH}
    return lambda: [torch.tensor(denoise_nl_means(array, PATCH, WINDOW // 2, **options))]


CONTESTS = {
    "grid": (grid_job, ["no map", "map", "not in order"], GRIDS),
    "means": (means_job, ["attn_utils", "scikit-image slow", "scikit-image fast"], [1.0]),
}


def extra_mb(contest: str, name: str, case: object, threads: int) -> float:
    """What one pass adds to the memory of a fresh process."""
    torch.set_num_threads(threads)
    make = CONTESTS[contest][0]
    make(name, (1, *case[1:2], 8, 8) if contest == "grid" else 0.1)()  # imports, first-call costs
    once = make(name, case)
    before = peak_mb()
    once()
    return peak_mb() - before


def compare(contest: str, case: object, rounds: int, pool: object) -> list[dict]:
    """A row for each side: best and median time, extra memory, largest difference to the second side."""
    make, names, _ = CONTESTS[contest]
    jobs = {name: make(name, case) for name in names}
    results, times = {name: once() for name, once in jobs.items()}, {name: [] for name in names}
    exact = results[names[1]]
    apart = {
        name: max((a - b).abs().max().item() for a, b in zip(made, exact, strict=True))
        for name, made in results.items()
    }
    del results, exact
    for _ in range(rounds):
        names = names[1:] + names[:1]
        for name in names:
            start = time.perf_counter()
            jobs[name]()
            times[name].append(1000 * (time.perf_counter() - start))
    threads = torch.get_num_threads()
    return [
        {
            "contest": contest,
            "case": str(case),
            "name": name,
            "best_ms": min(times[name]),
            "median_ms": statistics.median(times[name]),
            "extra_mb": pool.apply(extra_mb, (contest, name, case, threads)),
            "difference": apart[name],
        }
        for name in jobs
    ]


def verdict(rows: list[dict]) -> dict:
    """Print and return how far the targets hold, on the first case of each comparison."""
    first, found = {}, {}
    for row in rows:
        first.setdefault(row["name"], row)
    for (name, other), targets in TARGETS.items():
        for what, target in zip(("best_ms", "extra_mb"), targets, strict=True):
            if target is not None:
                ratio = first[name][what] / first[other][what]
                met = "met" if ratio <= target else "MISSED"
                print(f"{name} / {other}, {what}: {ratio:.2f}, target {target}: {met}")
                found[f"{name} / {other}, {what}"] = {"ratio": ratio, "target": target}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["torch", "attn_utils.vision"])
    rows = []
    print(f"float32, threads {chosen.threads}")
    print(f"{'':>6} {'':>17} {'':>18} {'best ms':>9} {'median ms':>9} {'extra MB':>8} difference")
    with processes.Pool(1, maxtasksperchild=1) as pool:
        for contest, (_, _, cases) in CONTESTS.items():
            for case in cases:
                for row in compare(contest, case, chosen.rounds, pool):
                    rows.append(row)
                    print(
                        f"{contest:>6} {row['case']:>17} {row['name']:>18} {row['best_ms']:9.1f}"
                        f" {row['median_ms']:9.1f} {row['extra_mb']:8.1f} {row['difference']:10.0e}"
                    )
    print()
    targets = verdict(rows)
    if chosen.json:
        machine = {"machine": platform.platform(), "threads": torch.get_num_threads()}
        versions = {name: version(name) for name in ("torch", "scikit-image")}
        with open(chosen.json, "w", encoding="utf-8") as file:
            json.dump({**machine, **versions, "targets": targets, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
