"""Train models of the book at full size, and record the run.

  python -m benchmarks.train --data grammar --model luong --out mine.json
  python -m benchmarks.train --data tatoeba --model plain luong --seeds 0 1
  python -m benchmarks.train --data digits --model vit --epochs 2
  python -m benchmarks.train --data cifar10 --model vit --precision bf16
  torchrun --nproc-per-node 2 -m benchmarks.train --data cifar10 --model cnn

Several processes without a GPU need the environment variable ACCELERATE_USE_CPU=true.

grammar and tatoeba take plain, luong, bahdanau and transformer: chapters 6, 7, 10.
digits and cifar10 take cnn, attention-cnn and vit: chapters 12, 13.

grammar: 20,000 English-French pairs of up to 15 words, and the standard splits.
tatoeba: 20,000 pairs of at most 10 tokens on either side, drawn from the real corpus. Words that occur once in
training are unknown. No test sentence occurs in training, on either side.
digits: those of scikit-learn. cifar10: 50,000 photographs, 10,000 to test.

tatoeba and cifar10 are downloaded, unless --archive names a file. BLEU is of greedy output against the one reference
of each test pair. A GPU is used where there is one. The record goes to --out, whole or not at all; without it, it is
printed.
"""

import argparse
import json
import os
import platform
import random
import re
import shlex
import sys
import zlib
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list, send_to_device
from torch.utils.data import DataLoader, TensorDataset

from attn_utils import data, decoding, seq2seq
from attn_utils.training import classification_loss, sequence_loss, train
from attn_utils.transformer import Transformer
from attn_utils.vision import AttentionCNN, VisionTransformer

# What the option says, what the record says, and for translators with a recurrent network the decoder.
TEXT = {
    "plain": ("without", seq2seq.PlainDecoder), "luong": ("Luong", seq2seq.LuongDecoder),
    "bahdanau": ("Bahdanau", seq2seq.BahdanauDecoder), "transformer": ("Transformer", None),
}  # fmt: skip
IMAGES = {"cnn": ("CNN",), "attention-cnn": ("CNN + attention",), "vit": ("ViT",)}
MODELS = {"grammar": TEXT, "tatoeba": TEXT, "digits": IMAGES, "cifar10": IMAGES}
SIZES = {
    "grammar": {
        "recurrent": {"embed_dim": 64, "hidden_dim": 128, "dropout": 0.0, "batch": 64, "lr": 4e-3, "epochs": 6},
        "transformer": {"embed_dim": 128, "num_heads": 4, "num_layers": 2, "ffn_dim": 256, "dropout": 0.0,
                        "tie_weights": False, "batch": 64, "lr": 3e-3, "epochs": 4},
    },
    "tatoeba": {
        "recurrent": {"embed_dim": 128, "hidden_dim": 192, "dropout": 0.2, "batch": 64, "lr": 2e-3, "epochs": 10},
        "transformer": {"embed_dim": 128, "num_heads": 4, "num_layers": 2, "ffn_dim": 512, "dropout": 0.2,
                        "tie_weights": True, "batch": 64, "lr": 2e-3, "epochs": 10},
    },
    "digits": {
        "convolutions": {"channels": (16, 32), "batch": 32, "lr": 5e-3, "epochs": 30},
        "vit": {"patch": 2, "embed_dim": 32, "num_heads": 4, "num_layers": 2, "ffn_dim": 46,
                "batch": 32, "lr": 5e-3, "epochs": 30},
    },
    "cifar10": {
        "convolutions": {"channels": (64, 128), "batch": 256, "lr": 1e-3, "epochs": 20},
        "vit": {"patch": 2, "embed_dim": 128, "num_heads": 4, "num_layers": 2, "ffn_dim": 148,
                "batch": 256, "lr": 1e-3, "epochs": 20},
    },
}  # fmt: skip
TRAINING = ("batch", "lr", "epochs", "accumulate", "precision")  # other sizes are the model's
BANDS = {"grammar": ((3, 6), (7, 10), (11, 15)), "tatoeba": ((1, 5), (6, 7), (8, 10))}
PROBE = 20  # batches that --seconds judges by


class Translation:
    """Sentence pairs in three parts, and their vocabularies."""

    unit, loss_fn = "tokens", staticmethod(sequence_loss)

    def __init__(self, name, archive, limit):
        self.bands, real = BANDS[name], name == "tatoeba"
        if real:
            pairs = data.tatoeba("fra", url=archive, max_len=10)
            pairs = random.Random(0).sample(pairs, min(20_000, len(pairs)))
            held_out = min(1000, len(pairs) // 10)
            parts = data.split_pairs(pairs, valid=held_out, test=held_out, seed=0)
        else:
            parts = data.grammar_splits(20_000, "fr", seed=0, max_len=15)
            parts = [parts[name] for name in ("train", "valid", "test")]
        self.train, valid, self.test = (part[:limit] for part in parts)
        self.vocabs = [data.Vocab([p[side] for p in self.train], 1 + real) for side in (0, 1)]
        self.valid = data.batches(valid, *self.vocabs, 250, shuffle=False)
        self.about = {"valid": len(valid), "vocabularies": [len(v) for v in self.vocabs]}

    def make(self, model, sizes):
        """A model, and the schedule of its learning rate."""
        lens = [len(v) for v in self.vocabs]
        if model == "transformer":
            return Transformer(*lens, **sizes), warm_up
        shape = (sizes["embed_dim"], sizes["hidden_dim"], 1, sizes["dropout"])
        encoder = seq2seq.RecurrentEncoder(lens[0], *shape, bidirectional=True)
        decoder = TEXT[model][1](lens[1], *shape)
        return seq2seq.Seq2Seq(encoder, decoder), lambda done: 1 - done

    def loader(self, batch, seed, first=None):
        return data.batches(self.train[:first], *self.vocabs, batch, seed=seed)

    def scores(self, model):
        """What the model makes of the test pairs."""
        said, found, pairs = [], [], self.test
        for batch in data.batches(pairs, *self.vocabs, 250, shuffle=False):
            batch = send_to_device(batch, next(model.parameters()).device)
            decoded = decoding.greedy_decode(model, batch.src, batch.src_lens, 40)
            said += [self.vocabs[1].decode(ids) for ids in decoded.ids]
            found += links(model, batch) if pairs[0].alignment else []
        both = list(zip(said, [pair.target for pair in pairs], strict=True))
        lens, bands = [len(pair.source) for pair in pairs], {}
        for low, high in self.bands:
            rows = [row for row, n in zip(both, lens, strict=True) if low <= n <= high]
            bands |= {f"{low}-{high}": bleu(rows)} if rows else {}
        result = {"bleu": bleu(both), "exact": round(sum(a == b for a, b in both) / len(both), 4)}
        result["bleu_by_source_length"] = bands
        if found and found[0] is not None:
            gold = [pair.alignment for pair in pairs]
            result["aer"] = round(decoding.alignment_error_rate(found, gold), 4)
        return result


def bleu(rows):
    return round(decoding.corpus_bleu(*zip(*rows, strict=True)), 2)


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
    return [decoding.hard_alignment(w, int(s), int(t)) for w, s, t in lens]


class Classification:
    """Labelled images in two parts; the weights of the last epoch count, so none are held out to choose by."""

    unit, loss_fn, valid, about = "images", staticmethod(classification_loss), None, {}

    def __init__(self, name, archive, limit):
        parts = data.digits() if name == "digits" else data.cifar10(url=archive)
        self.train, self.test = (TensorDataset(*part[:limit]) for part in parts)

    def make(self, model, sizes):
        """A model as in chapter 13, and the schedule of its learning rate."""
        channels, *size = self.train.tensors[0].shape[1:]
        if model != "vit":
            sizes = sizes | {"attention": model == "attention-cnn"}
            return AttentionCNN(channels, 10, **sizes), warm_up
        model = VisionTransformer(tuple(size), in_channels=channels, num_classes=10, **sizes)
        with torch.no_grad():
            model.positions.mul_(25)
        return model, warm_up

    def loader(self, batch, seed, first=None):
        return DataLoader(TensorDataset(*self.train[:first]), batch, shuffle=True)

    @torch.no_grad()
    def scores(self, model):
        """The share of the test images that the model names right."""
        parts = zip(*(x.split(1000) for x in self.test.tensors), strict=True)
        parts = [send_to_device(part, next(model.parameters()).device) for part in parts]
        right = sum(int((model(x)[0].argmax(1) == y).sum()) for x, y in parts)
        return {"accuracy": round(right / len(self.test), 4)}


def warm_up(done):
    return min(done / 0.1, (1 - done) / 0.9)


def settings(options, model):
    """All that decides the training, seed and data aside."""
    rest = "recurrent" if MODELS[options.data] is TEXT else "convolutions"
    asked = {name: getattr(options, name, None) for name in TRAINING}
    given = {name: value for name, value in asked.items() if value is not None}
    return (SIZES[options.data].get(model) or SIZES[options.data][rest]) | given


def state_file(options, model, seed, sizes):
    """Other settings have other files, so a run goes on only as it began."""
    options.checkpoint.mkdir(parents=True, exist_ok=True)
    key = zlib.crc32(json.dumps([sizes, options.limit]).encode())
    return options.checkpoint / f"{options.data}-{model}-{seed}-{key:08x}.pt"


def run(task, options, name, seed, sizes):
    """Train one model; its results."""
    torch.manual_seed(seed)
    shape = {k: v for k, v in sizes.items() if k not in TRAINING}
    model, schedule = task.make(name, shape)
    how = {"lr": sizes["lr"], "schedule": schedule, "seed": seed}
    how |= {"accumulate": sizes["accumulate"], "mixed_precision": sizes["precision"]}
    loader = task.loader(sizes["batch"], seed)
    if options.seconds:
        few = task.loader(sizes["batch"], seed, PROBE * sizes["batch"])
        probe = train(task.make(name, shape)[0], few, task.loss_fn, epochs=1, progress=False, **how)
        fit = options.seconds / (probe.seconds[0] * len(loader) / len(few))
        (sizes["epochs"],) = broadcast_object_list([max(1, int(fit))])  # all processes agree
    how |= {"epochs": sizes["epochs"], "valid": task.valid}
    how["checkpoint"] = options.checkpoint and state_file(options, name, seed, sizes)
    history = train(model, loader, task.loss_fn, **how)
    if history.interrupted:
        raise SystemExit("Nothing is recorded of an interrupted run.")
    seconds, items = sum(history.seconds), sum(history.items)
    return {
        "model": MODELS[options.data][name][0], "seed": seed,
        "parameters": sum(p.numel() for p in model.parameters()), **task.scores(model),
        "minutes": round(seconds / 60, 2), f"{task.unit}_per_second": round(items / seconds), "epochs": sizes["epochs"],
        "best_epoch": sizes["epochs"] if history.best is None else history.best + 1, "date": date.today().isoformat(),
    }  # fmt: skip


def about(task, options):
    """What a record says besides its results: data, machine, versions, and what was typed, without folders."""
    info, state = Path("/proc/cpuinfo"), PartialState()
    found = re.search(r"model name\s*:\s*(.+)", info.read_text() if info.exists() else "")
    cpu = found[1] if found else platform.processor()
    machine = [f"{platform.machine()} CPU {cpu}", f"{torch.get_num_threads()} thread(s)"]
    if (kind := state.device.type) != "cpu":
        machine.append(torch.cuda.get_device_name() if kind == "cuda" else kind)
    n = state.num_processes
    start = "python" if n == 1 else f"torchrun --nproc-per-node {n}"
    typed = shlex.join(re.sub(r"[^=]*[/\\](?=.)", "", word) for word in sys.argv[1:])
    packages = [f"{name} {version(name)}" for name in ("torch", "accelerate")]
    return {
        "data": options.data, "device": kind, "train": len(task.train), "test": len(task.test), **task.about,
        "sizes": {MODELS[options.data][m][0]: settings(options, m) for m in options.model},
        "machine": ", ".join([*machine, f"{n} process(es)"]), "command": f"{start} -m benchmarks.train {typed}",
        "software": ", ".join([f"Python {platform.python_version()}", *packages]),
    }  # fmt: skip


def save(path, text):
    """Write a file, whole or not at all; without a file, print."""
    if path is None:
        return print(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        half.write_text(text, encoding="utf-8")
        os.replace(half, path)
    finally:
        half.unlink(missing_ok=True)


def positive(text):
    if int(text) < 1:
        raise ValueError
    return int(text)


def parse():
    """The options, or an error in a sentence."""
    how = {"description": __doc__, "formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser("python -m benchmarks.train", **how)
    add = parser.add_argument
    add("--data", choices=MODELS, required=True)
    add("--model", choices=[*TEXT, *IMAGES], nargs="+", required=True)
    add("--seeds", type=int, nargs="+", default=[0], help="one training each (default 0)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=positive, help="default: as in the recorded runs")
    length.add_argument("--seconds", type=positive, help="as many epochs as fit, about; at least 1")
    add("--batch", type=positive, help="default: as in the recorded runs")
    add("--accumulate", type=positive, default=1, help="batches in a step of the optimizer")
    add("--precision", choices=["no", "bf16", "fp16"], default="no")
    add("--limit", type=positive, help="use only so many items of each part, to try it out")
    add("--threads", type=positive, help="of the CPU")
    add("--archive", type=Path, help="local archive of tatoeba or cifar10")
    add("--checkpoint", type=Path, help="folder for the state; the same command goes on from it")
    add("--out", type=Path, help="file for the record")
    add("--force", action="store_true", help="replace the record in --out")
    options = parser.parse_args()
    for model in set(options.model) - set(MODELS[options.data]):
        fit, reads = MODELS[options.data], [name for name in MODELS if model in MODELS[name]]
        also = f"data {options.data} goes with model {', '.join(fit)}"
        parser.error(f"model {model} goes with data {', '.join(reads)}; {also}")
    if options.archive and options.data not in ("tatoeba", "cifar10"):
        parser.error(f"data {options.data} needs no --archive")
    if options.seconds and options.checkpoint:
        parser.error("--checkpoint needs --epochs: --seconds may find another number next time")
    if options.out and options.out.exists() and not options.force:
        parser.error(f"{options.out} is there already; --force replaces it")
    return options


def main():
    options = parse()
    torch.set_num_threads(options.threads or torch.get_num_threads())
    make = Translation if MODELS[options.data] is TEXT else Classification
    accelerator = Accelerator()
    if accelerator.num_processes != int(os.environ.get("WORLD_SIZE", 1)):
        raise SystemExit(
            "torchrun's processes would not work together: set ACCELERATE_USE_CPU=true"
        )
    with accelerator.main_process_first():  # one of several processes downloads
        task = make(options.data, options.archive, options.limit)
    record = about(task, options) | {"results": []}
    for seed in options.seeds:
        for model in options.model:
            result = run(task, options, model, seed, settings(options, model))
            record["results"].append(result)
            PartialState().print(result, flush=True)
    if PartialState().is_main_process:
        save(options.out, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    PartialState().destroy_process_group()


if __name__ == "__main__":
    main()
