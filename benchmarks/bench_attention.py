"""Attention and additive scores: attn_utils beside PyTorch's fused call and the leanest plain code, in time and memory.

python benchmarks/bench_attention.py [--json FILE] [--lengths 128 512 2048 4096] [--seconds 0.4]
    [--threads 1]

Both sides of a comparison take turns in one process; their ratio is that of the best times. Each peak of memory is
taken in a process of its own. One thread unless told otherwise: several threads on a busy machine wait for each
other. The whole takes about two minutes.

- fused: `scaled_dot_product_attention(need_weights=False)` beside `F.scaled_dot_product_attention`
- explicit: the same function with the weights, beside four lines of plain torch
- additive: the score `Additive` beside the usual broadcast sum of all pairs
"""

import argparse
import json
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

import torch
import torch.nn.functional as F
from memory import peak_mb

HEADS, HEAD_DIM = 4, 64
BATCH, HIDDEN = 4, 256
ADDITIVE_LENGTHS = (64, 256)
# (ratio of best times, ratio of extra memory) that attn_utils should not exceed; None where nothing is promised.
TARGETS = {"fused": (1.05, None), "explicit": (1.1, None), "additive": (None, 1 / 4)}
MIN_ROUNDS, MAX_ROUNDS = 2, 60
# Peaks below this say more about the allocator than about the code: no ratio.
NOISE_MB = 100


def fused_ours(q, k, v, mask):
    from attn_utils.attention import scaled_dot_product_attention

    return scaled_dot_product_attention(q, k, v, mask, need_weights=False)[0]


def fused_torch(q, k, v, mask):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def explicit_ours(q, k, v, mask):
    from attn_utils.attention import scaled_dot_product_attention

    return scaled_dot_product_attention(q, k, v, mask)[0]


def explicit_plain(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ v


CONTENDERS = {
    "fused": {"attn_utils": fused_ours, "torch": fused_torch},
    "explicit": {"attn_utils": explicit_ours, "plain": explicit_plain},
}


def attention_job(contest: str, name: str, length: int, mask: str, backward: bool) -> Callable:
    """One pass of one contender, ready to run; returns the output and the gradients."""
    g = torch.Generator().manual_seed(0)
    inputs = [torch.randn(1, HEADS, length, HEAD_DIM, generator=g) for _ in range(3)]
    allowed = torch.ones(length, length, dtype=torch.bool).tril() if mask == "causal" else None
    attend = CONTENDERS[contest][name]
    return job(lambda *x: attend(*x, allowed), inputs, inputs, backward)


def additive_job(contest: str, name: str, length: int, mask: str, backward: bool) -> Callable:
    """The same for additive scores, with the same parameters on both sides."""
    from attn_utils.scoring import Additive

    torch.manual_seed(0)
    score = Additive(HEAD_DIM, HEAD_DIM, HIDDEN)
    inputs = [torch.randn(BATCH, length, HEAD_DIM) for _ in range(2)]

    def plain(query, key):
        q, k, w = score.q_proj(query), score.k_proj(key), score.out_proj.weight[0]
        return torch.tanh(q[:, :, None] + k[:, None]) @ w

    run = score if name == "attn_utils" else plain
    return job(run, inputs, [*inputs, *score.parameters()], backward)


def job(run: Callable, inputs: list, wanted: list, backward: bool) -> Callable:
    """A call of ``run``, with a backward pass to ``wanted`` or without any graph."""
    for x in wanted:
        x.requires_grad_(backward)

    def once() -> list[torch.Tensor]:
        output = run(*inputs)
        if not backward:
            return [output]
        towards = torch.ones_like(output)
        return [output.detach(), *torch.autograd.grad(output, wanted, towards)]

    return once


def make_job(contest: str, *case) -> Callable:
    return (additive_job if contest == "additive" else attention_job)(contest, *case)


def extra_mb(
    threads: int, contest: str, name: str, length: int, mask: str, backward: bool
) -> float:
    """What one pass adds to the memory of a fresh process."""
    torch.set_num_threads(threads)
    make_job(contest, name, 8, mask, backward)()  # imports and first-call costs
    once = make_job(contest, name, length, mask, backward)
    before = peak_mb()
    once()
    return peak_mb() - before


def compare(
    contest: str, case: tuple, seconds: float, each_in_fresh_process: Callable
) -> list[dict]:
    """One row for each side of a comparison: they take turns, in changing order."""
    names = list(CONTENDERS.get(contest, {"attn_utils": None, "plain": None}))
    jobs = {name: make_job(contest, name, *case) for name in names}
    results = {name: once() for name, once in jobs.items()}
    difference = max(
        ((a - b).abs().max() / b.abs().max()).item() for a, b in zip(*results.values(), strict=True)
    )
    del results
    times = {name: [] for name in names}
    until = time.perf_counter() + seconds
    while len(times[names[0]]) < MIN_ROUNDS or (
        time.perf_counter() < until and len(times[names[0]]) < MAX_ROUNDS
    ):
        names.reverse()
        for name in names:
            start = time.perf_counter()
            jobs[name]()
            times[name].append(1000 * (time.perf_counter() - start))
    length, mask, backward = case
    threads = torch.get_num_threads()
    memory = each_in_fresh_process(extra_mb, [(threads, contest, n, *case) for n in jobs], 1)
    return [
        {
            "contest": contest,
            "name": name,
            "length": length,
            "mask": mask,
            "backward": backward,
            "best_ms": min(times[name]),
            "median_ms": statistics.median(times[name]),
            "rounds": len(times[name]),
            "extra_mb": peak,
            "largest_difference": difference,
        }
        for name, peak in zip(jobs, memory, strict=True)
    ]


def ratios(pair: list[dict]) -> tuple[float, float | None]:
    """Ours to the other's: best time, and extra memory where the other's is more than noise."""
    ours, other = pair
    memory = ours["extra_mb"] / other["extra_mb"] if other["extra_mb"] > NOISE_MB else None
    return ours["best_ms"] / other["best_ms"], memory


def report(pair: list[dict]) -> None:
    """Print one comparison: two lines."""
    time_ratio, memory_ratio = ratios(pair)
    memory = "" if memory_ratio is None else f"{memory_ratio:.2f}"
    for row, ends in zip(pair, ((f"{time_ratio:.2f}", memory), ("", "")), strict=True):
        passes = "both" if row["backward"] else "forward"
        print(
            f"{row['length']:>6} {row['mask']:>6} {passes:>8} {row['name']:>10} {row['best_ms']:9.2f}"
            f" {row['median_ms']:10.2f} {row['extra_mb']:9.1f} {row['largest_difference']:10.0e}"
            f" {ends[0]:>10} {ends[1]:>12}"
        )


def verdict(contest: str, pairs: list[list[dict]]) -> dict:
    """Print and return how far the targets hold."""
    found = {}
    every = [ratios(pair) for pair in pairs]
    for what, target, values in zip(
        ("time", "memory"), TARGETS[contest], zip(*every, strict=True), strict=True
    ):
        values = [v for v in values if v is not None]
        if target is None or not values:
            continue
        middle, worst = statistics.median(values), max(values)
        met = sum(v <= target for v in values)
        print(
            f"{contest}: {what} ratio {middle:.2f} in the middle, {worst:.2f} at worst;"
            f" target {target} met in {met} of {len(values)}"
        )
        found[what] = {"target": target, "median": middle, "worst": worst, "met": met, "of": len(values)}  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 512, 2048, 4096])
    parser.add_argument("--seconds", type=float, default=0.4, help="to spend on each comparison")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()

    torch.set_num_threads(chosen.threads)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["torch", "attn_utils.attention"])
    cases = {
        "fused": [(n, m, b) for n in chosen.lengths for m in ("none", "causal") for b in (False, True)],
        "additive": [(n, "none", b) for n in ADDITIVE_LENGTHS for b in (False, True)],
    }  # fmt: skip
    cases["explicit"] = cases["fused"]
    print(
        f"B 1, H {HEADS}, D {HEAD_DIM}, float32, threads {chosen.threads};"
        f" additive: B {BATCH}, {HIDDEN} hidden features"
    )
    rows, targets = [], {}
    with processes.Pool(2, maxtasksperchild=1) as pool:
        for contest in TARGETS:
            print(f"\n{contest}")
            print(
                f"{'L = S':>6} {'mask':>6} {'passes':>8} {'':>10} {'best ms':>9} {'median ms':>10}"
                f" {'extra MB':>9} {'difference':>10} {'time ratio':>10} {'memory ratio':>12}"
            )
            pairs = []
            for case in cases[contest]:
                pairs.append(compare(contest, case, chosen.seconds, pool.starmap))
                report(pairs[-1])
            targets[contest] = verdict(contest, pairs)
            rows += [row for pair in pairs for row in pair]
    if chosen.json:
        machine = {"machine": platform.platform(), "threads": torch.get_num_threads()}
        versions = {"python": platform.python_version(), "torch": version("torch")}
        with open(chosen.json, "w", encoding="utf-8") as file:
            json.dump({**machine, **versions, "targets": targets, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
