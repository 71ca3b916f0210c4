"""Train the translation models of chapters 6, 7 and 10 on the same pairs, and record the run.

python benchmarks/train_translation.py grammar [--models Luong Transformer] [--seeds 0 1 2] [--out FILE]
python benchmarks/train_translation.py tatoeba [--archive fra-eng.zip] [--models …] [--seeds …] [--out FILE]

grammar: 20,000 English-French pairs of up to 15 words, and the standard splits.
tatoeba: 20,000 pairs of at most 10 tokens on either side, drawn from the real corpus, which is downloaded unless
--archive names a file. Words that occur once in training are unknown.

No test sentence occurs in training, on either side. BLEU is of greedy output against the one reference of each test
pair. With --out, a record that is there and has the same data and sizes gets more results; one for a model and a seed
that it has already is replaced.
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

from attn_utils.data import Vocab, batches, grammar_splits, split_pairs, tatoeba
from attn_utils.decoding import (
    alignment_error_rate,
    corpus_bleu,
    exact_match,
    greedy_decode,
    hard_alignment,
)
from attn_utils.seq2seq import (
    BahdanauDecoder,
    LuongDecoder,
    PlainDecoder,
    RecurrentEncoder,
    Seq2Seq,
)
from attn_utils.training import train
from attn_utils.transformer import Transformer

RECURRENT = {"without": PlainDecoder, "Luong": LuongDecoder, "Bahdanau": BahdanauDecoder}
SIZES = {
    "grammar": {
        "recurrent": {"embed_dim": 64, "hidden_dim": 128, "dropout": 0.0, "batch": 64, "lr": 4e-3, "epochs": 6},
        "Transformer": {"embed_dim": 128, "num_heads": 4, "num_layers": 2, "ffn_dim": 256, "dropout": 0.0,
                        "tie_weights": False, "batch": 64, "lr": 3e-3, "epochs": 4},
    },
    "tatoeba": {
        "recurrent": {"embed_dim": 128, "hidden_dim": 192, "dropout": 0.2, "batch": 64, "lr": 2e-3, "epochs": 10},
        "Transformer": {"embed_dim": 128, "num_heads": 4, "num_layers": 2, "ffn_dim": 512, "dropout": 0.2,
                        "tie_weights": True, "batch": 64, "lr": 2e-3, "epochs": 10},
    },
}  # fmt: skip
BANDS = {"grammar": ((3, 6), (7, 10), (11, 15)), "tatoeba": ((1, 5), (6, 7), (8, 10))}


def corpus(name, archive):
    """Parts of a corpus: train, valid and test."""
    if name == "grammar":
        return grammar_splits(20_000, "fr", seed=0, max_len=15)
    pairs = tatoeba("fra", url=archive, max_len=10)
    parts = split_pairs(random.Random(0).sample(pairs, 20_000), valid=1000, test=1000, seed=0)
    return dict(zip(("train", "valid", "test"), parts, strict=True))


def make(name, sizes, vocabs):
    """A model and the schedule of its learning rate: falling to 0, for the Transformer after a warm-up."""
    keys = ("embed_dim", "num_heads", "num_layers", "ffn_dim", "dropout", "tie_weights")
    if name == "Transformer":
        model = Transformer(*map(len, vocabs), **{key: sizes[key] for key in keys})
        return model, lambda done: min(done / 0.1, (1 - done) / 0.9)
    shape = (sizes["embed_dim"], sizes["hidden_dim"], 1, sizes["dropout"])
    encoder = RecurrentEncoder(len(vocabs[0]), *shape, bidirectional=True)
    return Seq2Seq(encoder, RECURRENT[name](len(vocabs[1]), *shape)), lambda done: 1 - done


def scores(model, pairs, vocabs, bands):
    """What the model makes of held-out pairs."""
    said, found = [], []
    for batch in batches(pairs, *vocabs, 250, shuffle=False):
        decoded = greedy_decode(model, batch.src, batch.src_lens, 40)
        said += [vocabs[1].decode(ids) for ids in decoded.ids]
        found += links(model, batch) if pairs[0].alignment else []
    wanted = [pair.target for pair in pairs]
    result = {
        "bleu": round(corpus_bleu(said, wanted), 2), "exact": round(exact_match(said, wanted), 4),
    }  # fmt: skip
    result["bleu_by_source_length"] = {}
    for low, high in bands:
        rows = [i for i, p in enumerate(pairs) if low <= len(p.source) <= high]
        chosen = [[side[i] for i in rows] for side in (said, wanted)]
        result["bleu_by_source_length"][f"{low}-{high}"] = round(corpus_bleu(*chosen), 2)
    if found and found[0] is not None:
        cut = [
            [(i, j) for i, j in a if i < len(p.source) and j < len(p.target)]
            for a, p in zip(found, pairs, strict=True)
        ]
        result["aer"] = round(alignment_error_rate(cut, [p.alignment for p in pairs]), 4)
    return result


@torch.no_grad()
def links(model, batch):
    """For each sentence of a batch, the links of its attention, the right target given; None without attention."""
    if isinstance(model, Transformer):
        _, maps = model(*batch[:3], need_weights=True)
        weights = maps.cross[-1].mean(dim=1)  # the last layer, the mean over its heads
    else:
        _, weights = model(*batch[:3])
    if weights is None:
        return [None] * len(batch.src)
    lens = zip(weights, batch.src_lens - 1, (batch.tgt_out != 0).sum(dim=1) - 1, strict=True)
    return [hard_alignment(w, int(s), int(t)) for w, s, t in lens]


def run(name, seed, data, parts, vocabs):
    """Train one model; its results."""
    sizes = SIZES[data]["Transformer" if name == "Transformer" else "recurrent"]
    torch.manual_seed(seed)
    model, schedule = make(name, sizes, vocabs)
    history = train(
        model, batches(parts["train"], *vocabs, sizes["batch"], seed=seed),
        epochs=sizes["epochs"], lr=sizes["lr"], schedule=schedule, seed=seed,
        valid=batches(parts["valid"], *vocabs, 250, shuffle=False),
    )  # fmt: skip
    seconds = sum(history.seconds)
    return {
        "model": name, "seed": seed, "parameters": sum(p.numel() for p in model.parameters()),
        **scores(model, parts["test"], vocabs, BANDS[data]),
        "minutes": round(seconds / 60, 2), "tokens_per_second": round(sum(history.items) / seconds),
        "best_epoch": history.best + 1,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = [*RECURRENT, "Transformer"]
    parser.add_argument("data", choices=SIZES)
    parser.add_argument("--archive")
    parser.add_argument("--models", nargs="+", choices=names, default=names)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    parts = corpus(options.data, options.archive)
    min_freq = 2 if options.data == "tatoeba" else 1
    vocabs = [Vocab([p[side] for p in parts["train"]], min_freq) for side in (0, 1)]
    about = {
        "train": len(parts["train"]), "valid": len(parts["valid"]), "test": len(parts["test"]),
        "vocabularies": [len(v) for v in vocabs], "sizes": SIZES[options.data],
        "machine": f"{platform.machine()} CPU, {options.threads} thread(s)",
        "software": f"Python {platform.python_version()}, torch {torch.__version__}",
    }  # fmt: skip
    paths = [options.archive, str(options.out)]
    arguments = [Path(a).name if a in paths else a for a in sys.argv[1:]]
    about["command"] = " ".join(["python benchmarks/train_translation.py", *arguments])
    for seed in options.seeds:
        for name in options.models:
            result = run(name, seed, options.data, parts, vocabs)
            result |= {"date": date.today().isoformat()}
            print(result, flush=True)
            if options.out:
                save(options.out, about, result)


def save(path, about, result):
    """Add a result to the record of runs with the same data and sizes."""
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"results": []}
    same = all(old.get(k) == v for k, v in about.items() if k != "command")
    kept = [
        r for r in old["results"] if (r["model"], r["seed"]) != (result["model"], result["seed"])
    ]
    record = about | {"results": [*kept, result] if same else [result]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes in all")
