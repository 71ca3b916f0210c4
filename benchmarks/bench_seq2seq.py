"""Recurrent translation models: attn_utils beside the usual course code, in real target tokens a second.

python benchmarks/bench_seq2seq.py [--archive fra-eng.zip] [--turns 4] [--threads 2] [--precision bf16] [--json FILE]

The sizes are those of the example in *Dive into Deep Learning*, section 11.4: 512 pairs, batches of 128, embeddings and
hidden states of 256, two layers, dropout 0.1, targets of at most 9 tokens. The pairs are the first of Tatoeba's French
archive (--archive), or short sentences of the book's grammar. A token counts if it is no padding, EOS included.

- usual Bahdanau: everything padded to 9 tokens, the keys mapped again at each step
- usual Luong: PyTorch's GRUs and one batched attention, everything padded to 9 tokens
- ours: `attn_utils.seq2seq` with `batches` of similar length, trained by `train`, on request in mixed precision (bf16
  pays on processors that have instructions for it)

All train and decode the same pairs in one process, in turns of five epochs; the best epoch of each counts. Numbers too
small for a normal float are taken as 0: where the softmax of a trained model is saturated, they are many, and a matrix
product on a CPU that does not flush them takes ten times as long.
"""

import argparse
import json
import platform
import time

import torch
import torch.nn.functional as F
from torch import nn

from attn_utils.data import PAD, Vocab, batches, grammar_corpus, tatoeba
from attn_utils.decoding import greedy_decode
from attn_utils.seq2seq import (
    BahdanauDecoder,
    LuongDecoder,
    PlainDecoder,
    RecurrentEncoder,
    Seq2Seq,
)
from attn_utils.training import train

EMBED = HIDDEN = 256
LAYERS, DROPOUT, BATCH, STEPS = 2, 0.1, 128, 9
EPOCHS = 5  # of a turn: the first pays for the optimizer's memory
# What d2l's own code gave on such a machine, tokens a second on two CPU cores.
REFERENCE = {"bahdanau": 2500, "luong": 2500}
TARGET = {"bahdanau": 2.0, "luong": 3.0}


class Usual(nn.Module):
    """The model as courses write it."""

    def __init__(self, src_vocab, tgt_vocab, kind):
        super().__init__()
        self.kind = kind
        self.src, self.tgt = nn.Embedding(src_vocab, EMBED), nn.Embedding(tgt_vocab, EMBED)
        width = EMBED + HIDDEN if kind == "bahdanau" else EMBED
        self.encoder = nn.GRU(EMBED, HIDDEN, LAYERS, dropout=DROPOUT, batch_first=True)
        self.decoder = nn.GRU(width, HIDDEN, LAYERS, dropout=DROPOUT, batch_first=True)
        self.w_q, self.w_k = (nn.Linear(HIDDEN, HIDDEN, bias=False) for _ in range(2))
        self.w_v = nn.Linear(HIDDEN, 1, bias=False)
        self.combine = nn.Linear(2 * HIDDEN, HIDDEN)
        self.out = nn.Linear(HIDDEN, tgt_vocab)

    def forward(self, src, lens, tgt_in):
        memory, hidden = self.encoder(self.src(src))
        closed = torch.arange(src.shape[1]) >= lens[:, None]  # (B, S)
        x = self.tgt(tgt_in)
        if self.kind == "luong":
            states, _ = self.decoder(x, hidden)
            scores = states @ self.w_k(memory).transpose(1, 2)
            weights = scores.masked_fill(closed[:, None], -1e6).softmax(-1)
            return self.out(torch.tanh(self.combine(torch.cat([weights @ memory, states], -1))))
        outputs = []
        for t in range(x.shape[1]):
            features = torch.tanh(self.w_q(hidden[-1])[:, None] + self.w_k(memory))
            weights = self.w_v(features)[..., 0].masked_fill(closed, -1e6).softmax(-1)
            context = weights[:, None] @ memory
            output, hidden = self.decoder(torch.cat([context, x[:, t : t + 1]], -1), hidden)
            outputs.append(output)
        return self.out(torch.cat(outputs, 1))


def usual_epoch(model, optimizer, data):
    """Tokens a second of one epoch on tensors padded to one length."""
    src, lens, tgt_in, tgt_out = data
    model.train()
    start = time.perf_counter()
    for rows in torch.randperm(len(src)).split(BATCH):
        logits = model(src[rows], lens[rows], tgt_in[rows])
        loss = F.cross_entropy(logits.transpose(1, 2), tgt_out[rows], ignore_index=PAD)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return int((tgt_out != PAD).sum()) / (time.perf_counter() - start)


@torch.no_grad()
def usual_greedy(model, data):
    """Tokens a second of greedy decoding as courses write it: the whole prefix through the network at each step."""
    src, lens, tgt_in, _ = data
    model.eval()
    start, said = time.perf_counter(), tgt_in[:, :1]
    for _ in range(STEPS):
        logits = model(src, lens, said)[:, -1]
        said = torch.cat([said, logits.argmax(-1, keepdim=True)], 1)
    ends = (said[:, 1:] == 2).int().cummax(1).values.sum(1)
    tokens = int((STEPS - ends + (ends > 0)).sum())
    return tokens / (time.perf_counter() - start)


def ours_greedy(model, batch):
    """Tokens a second of greedy decoding, EOS included."""
    start = time.perf_counter()
    said = greedy_decode(model, batch.src, batch.src_lens, STEPS)
    seconds = time.perf_counter() - start
    return sum(min(len(ids) + 1, STEPS) for ids in said.ids) / seconds


def corpus(archive):
    """512 short pairs and their vocabularies."""
    if archive:
        pairs = tatoeba("fra", url=archive)[:512]
        pairs = [
            p._replace(source=p.source[: STEPS - 1], target=p.target[: STEPS - 1]) for p in pairs
        ]
    else:
        pairs = grammar_corpus(2000, "fr", 3, STEPS - 2, seed=0)
        pairs = [p for p in pairs if len(p.target) < STEPS][:512]
    return pairs, Vocab([p.source for p in pairs], 2), Vocab([p.target for p in pairs], 2)


def padded(pairs, src_vocab, tgt_vocab):
    """All pairs as one batch, padded to STEPS."""
    (batch,) = batches(pairs, src_vocab, tgt_vocab, len(pairs), shuffle=False)
    grow = lambda x: F.pad(x, (0, max(0, STEPS - x.shape[1])))[:, :STEPS]  # noqa: E731
    return grow(batch.src), batch.src_lens.clamp(max=STEPS), grow(batch.tgt_in), grow(batch.tgt_out)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--archive", help="Tatoeba's fra-eng.zip; without it, the book's grammar")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["no", "bf16"], default="no", help="of ours")
    parser.add_argument("--json")
    options = parser.parse_args()
    torch.set_flush_denormal(True)  # before there are threads: they inherit it
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    pairs, src_vocab, tgt_vocab = corpus(options.archive)
    sizes = len(src_vocab), len(tgt_vocab)
    data = padded(pairs, src_vocab, tgt_vocab)
    loader = batches(pairs, src_vocab, tgt_vocab, BATCH)
    (batch,) = batches(pairs[:BATCH], src_vocab, tgt_vocab, BATCH, shuffle=False)
    plain = [x[:BATCH] for x in data]

    shape = (EMBED, HIDDEN, LAYERS, DROPOUT)
    usual = {kind: Usual(*sizes, kind) for kind in ("bahdanau", "luong")}
    optimizers = {k: torch.optim.Adam(m.parameters(), lr=0.005) for k, m in usual.items()}
    decoders = {"plain": PlainDecoder, "bahdanau": BahdanauDecoder, "luong": LuongDecoder}
    ours = {
        k: Seq2Seq(RecurrentEncoder(sizes[0], *shape), d(sizes[1], *shape))
        for k, d in decoders.items()
    }
    settings = {
        "epochs": EPOCHS,
        "lr": 0.005,
        "progress": False,
        "mixed_precision": options.precision,
    }
    speed: dict[str, list[float]] = {}
    for _ in range(options.turns):
        for kind, model in usual.items():
            rates = [usual_epoch(model, optimizers[kind], data) for _ in range(EPOCHS)]
            speed.setdefault(f"usual {kind}", []).extend(rates)
        for kind, model in ours.items():
            history = train(model, loader, **settings)
            rates = [n / s for n, s in zip(history.items, history.seconds, strict=True)]
            speed.setdefault(f"ours {kind}", []).extend(rates)
    for kind, model in usual.items():
        speed[f"usual {kind}, greedy"] = [usual_greedy(model, plain) for _ in range(5)]
    for kind, model in ours.items():
        speed[f"ours {kind}, greedy"] = [ours_greedy(model, batch) for _ in range(5)]

    best = {name: max(rates) for name, rates in speed.items()}
    run = f"torch {torch.__version__}, {options.threads} threads, precision {options.precision}"
    print(f"{len(pairs)} pairs, vocabularies {sizes}, {run}")
    for name, rate in best.items():
        kind = name.removesuffix(", greedy").split()[1]
        beside = best.get(name.replace("ours", "usual"))
        line = f"{name:24} {rate:9,.0f} tokens/s"
        if name.startswith("ours") and beside:
            line += f"   {rate / beside:4.1f} x usual"
        if name == f"ours {kind}" and kind in TARGET:
            line += f"   {rate / REFERENCE[kind]:4.1f} x reference {REFERENCE[kind]:,} (target {TARGET[kind]})"
        print(line)
    if options.json:
        about = {
            "machine": platform.platform(),
            "torch": torch.__version__,
            "threads": options.threads,
            "precision": options.precision,
        }
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({**about, "tokens_per_second": best}, file, indent=2)


if __name__ == "__main__":
    main()
