"""One command trains every model of the book, records the run whole, and says what is wrong with a command."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile

import pytest
import torch
from accelerate import Accelerator
from support import ROOT, code_cells, parse, read

from attn_utils.training import History
from benchmarks import train as program

RECORDS = sorted((ROOT / "benchmarks/results").glob("*.json"))
FACTS = {"data", "device", "train", "test", "sizes", "machine", "software", "command", "results"}
FIGURES = {"model", "seed", "parameters", "minutes", "best_epoch", "date"}


def run(monkeypatch, *words):
    """What the command does, in this process."""
    monkeypatch.setattr(sys, "argv", ["train", *map(str, words)])
    program.main()


def fails(monkeypatch, capsys, *words):
    """What the command says as it refuses, before any training."""
    monkeypatch.setattr(program, "train", None)
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, *words)
    assert stop.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def archives(tmp_path):
    """A Tatoeba of 60 pairs and a CIFAR-10 of 12 images."""
    words = [
        f"{a} {b} ." for a in ["one", "two", "three", "four", "five", "six"] for b in "abcdefghij"
    ]
    lines = [f"{line}\tle {line}\tCC-BY" for line in words]
    (tmp_path / "tiny.txt").write_text("\n".join(lines), encoding="utf-8")
    with tarfile.open(tmp_path / "tiny.tar.gz", "w:gz") as archive:
        for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
            member = tarfile.TarInfo(name)
            member.size = 2 * 3073
            archive.addfile(member, io.BytesIO(bytes([3, *range(256)] + [7] * (3073 - 257)) * 2))
    return {"tatoeba": tmp_path / "tiny.txt", "cifar10": tmp_path / "tiny.tar.gz"}


@pytest.mark.parametrize("data", program.MODELS)
def test_every_model_on_every_corpus(data, archives, tmp_path, monkeypatch):
    out = tmp_path / "some" / "record.json"
    words = ["--data", data, "--model", *program.MODELS[data], "--limit", 40, "--epochs", 1]
    words += ["--batch", 8, "--seeds", 0, 3, f"--out={out}", "--threads", 1]
    words += ["--archive", archives[data]] if data in archives else []
    run(monkeypatch, *words)
    record = json.loads(out.read_text(encoding="utf-8"))
    names = [name for name, *_ in program.MODELS[data].values()]
    assert record.keys() >= FACTS
    assert [row["model"] for row in record["results"]] == names * 2
    assert [row["seed"] for row in record["results"]] == [0] * len(names) + [3] * len(names)
    assert all(row.keys() >= FIGURES for row in record["results"])
    score = "bleu" if data in ("grammar", "tatoeba") else "accuracy"
    assert all(row[score] >= 0 for row in record["results"])
    assert ("aer" in record["results"][1]) == (data == "grammar")
    assert "aer" not in record["results"][0], "a model without attention aligns nothing"
    for sizes in record["sizes"].values():
        assert (sizes["batch"], sizes["epochs"], sizes["precision"]) == (8, 1, "no")
    assert record["train"] <= 40
    assert record["device"] == Accelerator().device.type
    assert record["machine"].endswith("1 thread(s), 1 process(es)")
    assert torch.__version__.split("+")[0] in record["software"]
    assert record["command"].startswith(f"python -m benchmarks.train --data {data}")
    assert "--out=record.json" in record["command"]
    assert str(tmp_path) not in out.read_text(encoding="utf-8"), "folders are nobody's business"


def test_the_scores_are_those_of_the_model(tmp_path):
    """A translator that knows its pairs by heart, and one that knows nothing."""
    task = program.Translation("grammar", None, 12)
    task.test = task.train
    torch.manual_seed(0)
    model, _ = task.make("luong", {"embed_dim": 32, "hidden_dim": 64, "dropout": 0.0})
    before = task.scores(model.eval())
    program.train(model, task.loader(4, 0), task.loss_fn, epochs=60, lr=1e-2, progress=False)
    after = task.scores(model)
    assert before["exact"] == 0
    assert before["bleu"] < 10
    assert (after["exact"], after["bleu"]) == (1, 100)
    assert set(after["bleu_by_source_length"].values()) == {100}
    assert 0 <= after["aer"] < before["aer"]


def test_images_are_learned(tmp_path, monkeypatch):
    run(monkeypatch, "--data", "digits", "--model", "cnn", "--epochs", 2, "--out", tmp_path / "r")
    (row,) = json.loads((tmp_path / "r").read_text())["results"]
    assert row["accuracy"] > 0.7


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["grammar", "cnn"], "model cnn goes with data digits, cifar10; data grammar goes with"),
        (["cifar10", "luong"], "data cifar10 goes with model cnn, attention-cnn, vit"),
        (["digits", "vit", "--archive", "x"], "digits needs no --archive"),
        (["digits", "vit", "--epochs", "0"], "argument --epochs: invalid positive value: '0'"),
        (["digits", "vit", "--seconds", "9", "--checkpoint", "x"], "needs --epochs"),
        (["digits", "vit", "--seconds", "9", "--epochs", "1"], "not allowed with"),
    ],
)
def test_wrong_combinations(words, says, monkeypatch, capsys):
    data, model, *rest = words
    said = fails(monkeypatch, capsys, "--data", data, "--model", model, *rest)
    assert says in said


def test_no_record_is_replaced_unasked(tmp_path, monkeypatch, capsys):
    out = tmp_path / "record.json"
    out.write_text("precious")
    words = ["--data", "digits", "--model", "vit", "--limit", 16, "--epochs", 1, "--out", out]
    with monkeypatch.context() as m:
        assert "--force" in fails(m, capsys, *words)
    assert out.read_text() == "precious"
    run(monkeypatch, *words, "--force")
    assert json.loads(out.read_text())["data"] == "digits"


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("when", ["while writing", "before renaming"])
def test_a_broken_write_leaves_nothing_half(when, there, tmp_path, monkeypatch):
    out = tmp_path / "record.json"
    if there:
        out.write_text("old")

    def cut(path, text, **_):
        path.write_bytes(text[:3].encode())
        raise KeyboardInterrupt

    target = (program.Path, "write_text") if when == "while writing" else (program.os, "replace")
    with monkeypatch.context() as m:
        m.setattr(*target, cut)
        with pytest.raises((KeyboardInterrupt, TypeError)):
            program.save(out, "a new record")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("record.json", "old")] * there


def test_without_a_file_the_record_is_printed(monkeypatch, capsys):
    run(monkeypatch, "--data", "digits", "--model", "vit", "--limit", 16, "--epochs", 1)
    printed = capsys.readouterr().out
    assert json.loads(printed[printed.index("\n{\n") :])["results"][0]["model"] == "ViT"


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    """Nothing is recorded of the first; the second ends with the weights of an undisturbed one."""

    def weights(task, model):
        return {"sum": sum(p.double().sum().item() for p in model.parameters())}

    monkeypatch.setattr(program.Classification, "scores", weights)
    words = ["--data", "digits", "--model", "vit", "--limit", 64, "--epochs", 3]
    run(monkeypatch, *words, "--out", tmp_path / "whole")
    words += ["--checkpoint", tmp_path / "state"]
    calls, loss_fn = [], program.Classification.loss_fn

    def counting(model, batch):
        calls.append(1)
        if len(calls) == 4:  # in the second epoch; an epoch has two batches
            raise KeyboardInterrupt
        return loss_fn(model, batch)

    monkeypatch.setattr(program.Classification, "loss_fn", staticmethod(counting))
    with pytest.raises(SystemExit, match="[Nn]othing is recorded"):
        run(monkeypatch, *words, "--out", tmp_path / "broken")
    assert not (tmp_path / "broken").exists()
    run(monkeypatch, *words, "--out", tmp_path / "broken")
    assert len(calls) == 4 + 4, "the first epoch is not trained again"
    one, other = (json.loads((tmp_path / n).read_text()) for n in ("whole", "broken"))
    assert one["results"][0]["sum"] == pytest.approx(other["results"][0]["sum"], abs=1e-9)
    run(monkeypatch, *words, "--batch", 16, "--out", tmp_path / "other settings")
    assert len(list((tmp_path / "state").iterdir())) == 2, "other settings, another state"


def test_seconds_become_epochs(tmp_path, monkeypatch):
    asked = []

    def fake(model, loader, loss_fn, epochs, **_):
        asked.append((len(loader), epochs))
        return History(loss=[1.0] * epochs, items=[9] * epochs, seconds=[0.5] * epochs)

    monkeypatch.setattr(program, "train", fake)
    words = ["--data", "digits", "--model", "cnn", "--seconds"]
    run(monkeypatch, *words, 10, "--out", tmp_path / "ten")  # 43 batches, 20 of them in 0.5 s
    run(monkeypatch, *words, 1, "--out", tmp_path / "one")
    assert asked == [(20, 1), (43, 9), (20, 1), (43, 1)]
    assert json.loads((tmp_path / "ten").read_text())["results"][0]["epochs"] == 9


def torchrun(out, **environment):
    """Start two processes."""
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words += ["--local-addr=127.0.0.1", "-m", "benchmarks.train", "--data", "digits", "--model"]
    words += ["cnn", "--limit", "64", "--epochs", "1", "--out", str(out)]
    here = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment
    options = {"capture_output": True, "text": True, "timeout": 180, "check": False}
    return subprocess.run([sys.executable, *words], env=here, cwd=ROOT, **options)


def test_two_processes_write_one_record(tmp_path):
    done = torchrun(tmp_path / "record.json", ACCELERATE_USE_CPU="true")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["machine"].endswith("2 process(es)")
    assert record["command"].startswith("torchrun --nproc-per-node 2 -m benchmarks.train --data")
    assert len(record["results"]) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU they work together")
def test_two_processes_that_would_not_work_together(tmp_path):
    done = torchrun(tmp_path / "record.json", ACCELERATE_USE_CPU="false")
    assert "set ACCELERATE_USE_CPU=true" in done.stderr
    assert done.returncode != 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_records(path):
    """The kept records have what pages read, and the settings that the command has today."""
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record.keys() >= FACTS
    assert all(row.keys() >= FIGURES for row in record["results"])
    assert "/" not in record["command"].replace("benchmarks/", "")
    today = json.loads(json.dumps(program.SIZES[record["data"]]))
    for name, sizes in record["sizes"].items():
        kinds = {"Transformer": "transformer", "ViT": "vit"}
        kind = kinds.get(name, "recurrent" if "hidden_dim" in sizes else "convolutions")
        assert sizes | today[kind] == sizes


def page(folder, monkeypatch, capsys):
    """Run the page of results beside other records; what it prints, and the tables it shows."""
    (folder / "chapters").mkdir()
    monkeypatch.chdir(folder / "chapters")
    space = {}
    for cell in code_cells(read(ROOT / "chapters/results.ipynb"))[1:]:
        exec(compile(parse(cell.source), "results.ipynb", "exec"), space)
    return capsys.readouterr().out, space


def test_the_page_without_records_says_how_to_get_them(tmp_path, monkeypatch, capsys):
    said, _ = page(tmp_path, monkeypatch, capsys)
    assert "Clone the course's repository" in said
    assert "Recorded on a GPU: nothing yet" in said


def test_the_page_shows_a_new_record(tmp_path, monkeypatch, capsys):
    results = tmp_path / "benchmarks/results"
    results.mkdir(parents=True)
    row = {"model": "ViT", "seed": 5, "accuracy": 0.1234, "parameters": 9, "minutes": 2.0}
    row |= {"images_per_second": 4, "best_epoch": 1, "date": "2026-11-22"}
    record = dict.fromkeys(FACTS, "?") | {"data": "cifar10", "device": "cuda"}
    record |= {"train": 8, "test": 8, "sizes": {"ViT": {"patch": 2}}, "results": [row]}
    (results / "mine.json").write_text(json.dumps(record), encoding="utf-8")
    said, space = page(tmp_path, monkeypatch, capsys)
    assert "1 records, 1 trainings" in said
    assert "Recorded on a GPU: yes" in said
    assert " ViT              seeds [5], no spread" in said
    assert "CNN              not yet run" in said
    assert "12.3%" in space["results"]("cifar10").data
    assert "patch 2" in space["table"](space["sizes"]).data
