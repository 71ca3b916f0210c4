"""The Transformer beside PyTorch's own: a training step, multi-head attention, cached decoding, tokens a second.

python benchmarks/bench_transformer.py [--archive fra-eng.zip] [--rounds 7] [--threads 2] [--json FILE]

- a training step (forward, backward, Adam) of `Transformer` and of `nn.Transformer` with the same embeddings, output
  and sizes (embed_dim 256, 4 heads, 2 + 2 layers, ffn_dim 1024), 16 sentences of 16 to 256 tokens, no maps asked for
- `MultiHeadAttention` and `nn.MultiheadAttention`, forward and backward, with and without weights (of each head)
- greedy decoding of 64 tokens with the cache, and with the whole prefix through the network at each step
- training on 512 short pairs at the sizes of the example in *Dive into Deep Learning*, section 11.7 (embed_dim 256, 4
  heads, 2 layers, ffn_dim 64, batches of 128, dropout 0.2, targets of at most 9 tokens) in real target tokens a second,
  beside `nn.Transformer` with everything padded to 9 tokens

Competitors run in turns in one process; the median of the rounds counts, for tokens a second the best epoch.
"""

import argparse
import json
import platform
import statistics
import time

import torch
import torch.nn.functional as F
from bench_seq2seq import BATCH, corpus, padded
from torch import nn

from attn_utils.attention import MultiHeadAttention
from attn_utils.data import PAD, batches
from attn_utils.decoding import greedy_decode
from attn_utils.masking import causal_mask
from attn_utils.training import train
from attn_utils.transformer import Transformer

REFERENCE = 2600  # what d2l's own code gave on such a machine, tokens a second on two CPU cores


class Torchs(nn.Module):
    """nn.Transformer with embeddings and output like those of `Transformer`."""

    def __init__(self, vocab, embed_dim, num_heads, num_layers, ffn_dim, dropout):
        super().__init__()
        twin = Transformer(*vocab, embed_dim, num_heads, num_layers, ffn_dim, dropout)
        self.src, self.tgt, self.out = twin.src_embedding, twin.tgt_embedding, twin.out_proj
        self.positions, self.scale = twin.positions, embed_dim**0.5
        self.core = nn.Transformer(
            embed_dim, num_heads, num_layers, num_layers, ffn_dim, dropout, batch_first=True, norm_first=True
        )  # fmt: skip

    def forward(self, src, lens, tgt_in):
        x = self.positions(self.src(src) * self.scale)
        y = self.positions(self.tgt(tgt_in) * self.scale)
        closed = torch.arange(src.shape[1]) >= lens[:, None]
        later = ~causal_mask(tgt_in.shape[1])
        y = self.core(
            x, y, tgt_mask=later, src_key_padding_mask=closed, memory_key_padding_mask=closed
        )
        return self.out(y), None


def in_turns(contenders, rounds):
    """The median seconds of each function, called in turns; the first round is for warming up."""
    seconds = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, call in contenders.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def step_of(model, src, lens, tgt_in, tgt_out):
    """A function that trains the model on one batch."""
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def step():
        logits, _ = model(src, lens, tgt_in)
        loss = F.cross_entropy(logits.flatten(0, 1), tgt_out.flatten(), ignore_index=PAD)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def backward_of(call):
    """A function that calls and goes back from the sum of the output."""
    return lambda: call()[0].sum().backward()


def steps(rounds):
    """Milliseconds of a training step at growing lengths."""
    for dropout in (0.0, 0.1):
        for length in (16, 32, 64, 128, 256):
            src, tgt = torch.randint(4, 1000, (2, 16, length))
            batch = src, torch.full((16,), length), tgt, tgt
            sizes = (256, 4, 2, 1024, dropout)
            ours = Transformer(1000, 1000, *sizes)
            theirs = Torchs((1000, 1000), *sizes)
            contenders = {"nn.Transformer": step_of(theirs, *batch), "ours": step_of(ours, *batch)}
            yield f"training step, length {length}, dropout {dropout}", in_turns(contenders, rounds)


def heads(rounds):
    """Milliseconds of multi-head attention, forward and backward."""
    for length in (64, 256):
        for need_weights in (False, True):
            x = torch.randn(16, length, 256, requires_grad=True)
            ours, theirs = (
                MultiHeadAttention(256, 4),
                nn.MultiheadAttention(256, 4, batch_first=True),
            )
            options = {"need_weights": need_weights}
            theirs_options = options | {"average_attn_weights": False}
            contenders = {
                "nn.MultiheadAttention": backward_of(lambda: theirs(x, x, x, **theirs_options)),  # noqa: B023
                "ours": backward_of(lambda: ours(x, x, x, **options)),  # noqa: B023
            }
            name = f"multi-head attention, length {length}, weights {need_weights}"
            yield name, in_turns(contenders, 2 * rounds)


@torch.no_grad()
def whole_prefix(model, src, lens, length):
    """Greedy decoding without a cache: everything said so far through the network at each step."""
    model.eval()
    said = torch.ones(len(src), 1, dtype=torch.long)
    for _ in range(length):
        logits, _ = model(src, lens, said)
        said = torch.cat([said, logits[:, -1:].argmax(-1)], dim=1)


def decoding(rounds):
    """Milliseconds of greedy decoding of 64 tokens."""
    model = Transformer(1000, 1000, 256, 4, 2, 1024)
    with torch.no_grad():
        model.out_proj.bias[2] = -1e9  # no end before the 64th token
    src, lens = torch.randint(4, 1000, (16, 32)), torch.full((16,), 32)
    contenders = {
        "whole prefix": lambda: whole_prefix(model, src, lens, 64),
        "ours": lambda: greedy_decode(model, src, lens, 64),
    }
    yield "greedy decoding, 64 tokens", in_turns(contenders, max(1, rounds // 2))


def throughput(pairs, vocabs, epochs):
    """Real target tokens a second of training at d2l's sizes, the best of some epochs."""
    sizes = (256, 4, 2, 64, 0.2)
    ours, theirs = Transformer(*map(len, vocabs), *sizes), Torchs([*map(len, vocabs)], *sizes)
    data = padded(pairs, *vocabs)
    tokens = int((data[3] != PAD).sum())
    loader, speeds = batches(pairs, *vocabs, BATCH), {"nn.Transformer": [], "ours": []}
    rows = [torch.arange(i, min(i + BATCH, len(pairs))) for i in range(0, len(pairs), BATCH)]
    optimized = [step_of(theirs, *[x[r] for x in data]) for r in rows]
    for _ in range(epochs):
        start = time.perf_counter()
        for step in optimized:
            step()
        speeds["nn.Transformer"].append(tokens / (time.perf_counter() - start))
        history = train(ours, loader, epochs=1, progress=False)
        speeds["ours"].append(history.items[0] / history.seconds[0])
    return {name: max(rates) for name, rates in speeds.items()}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--archive", help="Tatoeba's fra-eng.zip; without it, the book's grammar")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    results = {}
    for measure in (steps, heads, decoding):
        for name, seconds in measure(options.rounds):
            (other, theirs), (_, ours) = seconds.items()
            print(
                f"{name:45} ours {1e3 * ours:8.1f} ms  {other} {1e3 * theirs:8.1f} ms  ratio {ours / theirs:5.2f}"
            )
            results[name] = {key: 1e3 * value for key, value in seconds.items()}
    pairs, *vocabs = corpus(options.archive)
    rates = throughput(pairs, vocabs, options.rounds)
    for name, rate in rates.items():
        beside = f"{rate / REFERENCE:.1f} x reference {REFERENCE:,}"
        print(f"training at d2l's sizes, {name:15} {rate:8,.0f} tokens/s, {beside}")
    if options.json:
        about = {
            "machine": platform.platform(),
            "torch": torch.__version__,
            "threads": options.threads,
        }
        results = {**about, "milliseconds": results, "tokens_per_second": rates}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
