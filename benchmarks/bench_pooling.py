"""Gaussian pooling over many keys: attn_utils beside numpy, dense torch, statsmodels and the usual course code.

python benchmarks/bench_pooling.py [--json FILE] [--queries 1000] [--keys 100000] [--repeats 5]

Each contender runs in a process of its own, so that its peak memory is its own.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version

import numpy as np
import torch
from memory import peak_mb

WIDTHS = (0.5, 0.05)


def data(queries: int, keys: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and noisy values on [0, 5]."""
    g = torch.Generator().manual_seed(0)
    key = 5 * torch.rand(keys, generator=g)
    value = 2 * key.sin() + key + torch.randn(keys, generator=g)
    return torch.linspace(0, 5, queries), key, value


def ours(query, key, value, width):
    from attn_utils.kernels import nadaraya_watson

    return nadaraya_watson(query, key, value, width=width, need_weights=False)[0]


def dense_torch(query, key, value, width):
    weights = torch.softmax(-(((query[:, None] - key) / width) ** 2) / 2, dim=1)
    return weights @ value


def dense_numpy(query, key, value, width):
    query, key, value = query.numpy(), key.numpy(), value.numpy()
    closeness = np.exp(-(((query[:, None] - key) / np.float32(width)) ** 2) / 2)
    return torch.from_numpy(closeness @ value / closeness.sum(axis=1))


def course_code(query, key, value, width):
    """As teaching code often has it: repeat the queries, reshape, normalise, batched product."""
    queries = query.repeat_interleave(len(key)).reshape(-1, len(key))
    closeness = torch.exp(-(((queries - key) / width) ** 2) / 2)
    weights = closeness / closeness.sum(dim=1, keepdim=True)
    values = value.expand(len(query), -1)
    return torch.bmm(weights.unsqueeze(1), values.unsqueeze(-1)).reshape(-1)


def statsmodels(query, key, value, width):
    from statsmodels.nonparametric.kernel_regression import KernelReg

    reference = KernelReg(value.numpy(), key.numpy(), "c", reg_type="lc", bw=[width])
    return torch.from_numpy(reference.fit(query.numpy())[0])


CONTENDERS = {
    "attn_utils": ours,
    "dense torch": dense_torch,
    "dense numpy": dense_numpy,
    "course code": course_code,
    "statsmodels": statsmodels,
}


def measure(name: str, width: float, queries: int, keys: int, repeats: int) -> dict:
    """Run one contender in this process."""
    query, key, value = data(queries, keys)
    pool = CONTENDERS[name]
    pool(query[:8], key[:64], value[:64], width)  # imports and first-call costs
    before = peak_mb()
    times = []
    for _ in range(1 if name == "statsmodels" else repeats):
        start = time.perf_counter()
        estimate = pool(query, key, value, width)
        times.append(1000 * (time.perf_counter() - start))
    peak = peak_mb() - before
    some = slice(None, None, max(1, queries // 50))
    exact = dense_torch(query[some].double(), key.double(), value.double(), width)
    return {
        "name": name,
        "best_ms": min(times),
        "median_ms": statistics.median(times),
        "extra_mb": peak,
        "largest_error": (estimate[some].double() - exact).abs().max().item(),
    }


def report(width: float, rows: list[dict]) -> None:
    """Print one table."""
    print(f"\nwidth {width}")
    print(f"{'':>12} {'best ms':>9} {'median ms':>10} {'extra MB':>9} {'largest error':>14}")
    for row in rows:
        print(
            f"{row['name']:>12} {row['best_ms']:9.0f} {row['median_ms']:10.0f} {row['extra_mb']:9.0f}"
            f" {row['largest_error']:14.1e}"
        )
    others = min(row["best_ms"] for row in rows if row["name"] != "attn_utils")
    print(f"attn_utils takes 1/{others / rows[0]['best_ms']:.1f} of the fastest other")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("NAME", "WIDTH"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    sizes = (chosen.queries, chosen.keys, chosen.repeats)
    if chosen.one:
        name, width = chosen.one
        print(json.dumps(measure(name, float(width), *sizes)))
        return

    numbers = [f"--{n}={getattr(chosen, n)}" for n in ("queries", "keys", "repeats")]
    print(f"Gaussian pooling, {chosen.queries} queries x {chosen.keys} keys, float32")
    results = {}
    for width in WIDTHS:
        rows = []
        for name in CONTENDERS:
            command = [sys.executable, __file__, "--one", name, str(width), *numbers]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout))
        results[str(width)] = rows
        report(width, rows)
    if chosen.json:
        packages = {p: version(p) for p in ("torch", "numpy", "statsmodels")}
        machine = {"machine": platform.platform(), "threads": torch.get_num_threads()}
        with open(chosen.json, "w", encoding="utf-8") as file:
            json.dump(
                {**machine, "python": platform.python_version(), **packages, "widths": results},
                file,
                indent=1,
            )


if __name__ == "__main__":
    main()
