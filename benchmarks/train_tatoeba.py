"""Train the recurrent models of chapter 7 on real sentences, and record the run.

python benchmarks/train_tatoeba.py [--language fra] [--archive fra-eng.zip] [--pairs 20000] [--max-len 10]
    [--seeds 0] [--epochs 10] [--threads 1] [--out benchmarks/results/tatoeba-fra.json]

Without --archive the corpus is downloaded. --pairs pairs are drawn from those with at most --max-len tokens on either
side. Test and validation share no sentence with training, on either side. Words that occur once in training are
unknown. BLEU is of greedy output on the test pairs, against the one reference each has.
"""

import argparse
import json
import platform
import random
import sys
import time
from datetime import date
from pathlib import Path

import torch

from attn_utils.data import Vocab, batches, split_pairs, tatoeba
from attn_utils.decoding import corpus_bleu, exact_match, greedy_decode
from attn_utils.seq2seq import (
    BahdanauDecoder,
    LuongDecoder,
    PlainDecoder,
    RecurrentEncoder,
    Seq2Seq,
)
from attn_utils.training import train

MODELS = {"without": PlainDecoder, "Luong": LuongDecoder, "Bahdanau": BahdanauDecoder}
EMBED, HIDDEN, DROPOUT, BATCH, LR = 128, 192, 0.2, 64, 2e-3


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--language", default="fra")
    parser.add_argument("--archive")
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--max-len", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    pairs = tatoeba(options.language, url=options.archive, max_len=options.max_len)
    pairs = random.Random(0).sample(pairs, options.pairs)
    parts = split_pairs(pairs, valid=1000, test=1000, seed=0)
    vocabs = [Vocab([p[side] for p in parts[0]], min_freq=2) for side in (0, 1)]
    valid, test = (batches(part, *vocabs, 250, shuffle=False) for part in parts[1:])
    references = [p.target for p in parts[2]]
    results = []
    for seed in options.seeds:
        for name, decoder in MODELS.items():
            torch.manual_seed(seed)
            sizes = (EMBED, HIDDEN, 1, DROPOUT)
            encoder = RecurrentEncoder(len(vocabs[0]), *sizes, bidirectional=True)
            model = Seq2Seq(encoder, decoder(len(vocabs[1]), *sizes))
            history = train(
                model, batches(parts[0], *vocabs, BATCH, seed=seed),
                epochs=options.epochs, lr=LR, schedule=lambda done: 1 - done, valid=valid, seed=seed,
            )  # fmt: skip
            said = []
            for batch in test:
                said += [vocabs[1].decode(ids) for ids in greedy_decode(model, *batch[:2], 30).ids]
            seconds = sum(history.seconds)
            by_length = {}
            for low, high in ((1, 5), (6, 7), (8, options.max_len)):
                rows = [i for i, p in enumerate(parts[2]) if low <= len(p.source) <= high]
                chosen = [[side[i] for i in rows] for side in (said, references)]
                by_length[f"{low}-{high}"] = round(corpus_bleu(*chosen), 2)
            results.append({
                "model": name, "seed": seed, "parameters": sum(p.numel() for p in model.parameters()),
                "bleu": round(corpus_bleu(said, references), 2), "bleu_by_source_length": by_length,
                "exact": round(exact_match(said, references), 4),
                "minutes": round(seconds / 60, 2), "tokens_per_second": round(sum(history.items) / seconds),
                "best_epoch": history.best + 1,
            })  # fmt: skip
            print(results[-1], flush=True)

    names = {options.archive: f"{options.language}-eng.zip"}
    arguments = [names.get(a, a) for a in sys.argv[1:]]
    record = {
        "command": " ".join(["python benchmarks/train_tatoeba.py", *arguments]),
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()} CPU, {options.threads} thread(s)",
        "software": f"Python {platform.python_version()}, torch {torch.__version__}",
        "train": len(parts[0]), "valid": len(parts[1]), "test": len(parts[2]),
        "vocabularies": [len(v) for v in vocabs],
        "sizes": {"embed_dim": EMBED, "hidden_dim": HIDDEN, "dropout": DROPOUT, "batch": BATCH, "lr": LR},
        "results": results,
    }  # fmt: skip
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(
            json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes in all")
