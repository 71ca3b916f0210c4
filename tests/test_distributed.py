"""Two processes train as one does. This file is also the program that torchrun starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_training import PAIRS, SRC, TGT, translator, weights
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from attn_utils.data import batches
from attn_utils.training import classification_loss, sequence_loss, train

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")


def loader(pairs=96, size=32, shuffle=True):
    return batches(PAIRS[:pairs], SRC, TGT, size, shuffle)


def falls(done):
    return 1 - done / 2


SCENARIOS = {
    "plain": {"valid": True, "schedule": falls},
    "uneven": {"pairs": 65, "valid": True},  # the last of 3 batches has one row, for two processes
    "accumulated": {"size": 13, "accumulate": 3, "valid": True, "schedule": falls},  # 8 batches
    "tiny clip, no best weights": {"clip": 0.01},
    "dropout": {"dropout": 0.3, "valid": True},
}


def run(options, loss_fn=sequence_loss, **more):
    """Train on one of the scenarios."""
    options = dict(options)
    data = [options.pop(name, default) for name, default in (("pairs", 96), ("size", 32))]
    model = translator(options.pop("dropout", 0.0))
    valid = loader(23, 10, shuffle=False) if options.pop("valid", False) else None
    options = {"epochs": 4, "lr": 0.01, "progress": False, "valid": valid, **options, **more}
    history = train(model, loader(*data), loss_fn, **options)
    return {"loss": history.loss, "valid": history.valid_loss, "items": history.items} | {
        "best": history.best,
        "weights": weights(model),
    }


class Rows(nn.Module):
    """Classifies rows, and remembers which ones it has seen and what dropout has left of them."""

    def __init__(self):
        super().__init__()
        self.linear, self.dropout = nn.Linear(1, 2), nn.Dropout()
        self.seen, self.noise = [], []

    def forward(self, x):
        self.seen.append(x.flatten().tolist())
        noise = self.dropout(torch.ones(len(x), 8))
        self.noise.append(noise.flatten().tolist())
        return self.linear(x + 0 * noise.sum()), None


def shuffled_rows():
    """The rows that this process takes, in an order that PyTorch's own loader draws."""
    torch.manual_seed(3)
    model, rows = Rows(), torch.arange(11.0)[:, None]
    data = DataLoader(TensorDataset(rows, torch.arange(11) % 2), batch_size=4, shuffle=True)
    train(model, data, classification_loss, epochs=3, progress=False)
    return {"seen": model.seen, "noise": model.noise, "weights": weights(model)}


def kill_once(folder, rank):
    """A loss function that kills the second process in the third epoch, the first time it gets there."""
    calls = []

    def loss_fn(model, batch):
        calls.append(1)
        mark = Path(folder, "killed")
        if rank == 1 and len(calls) == 11 and not mark.exists():  # 3 + 1 of them in an epoch
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return sequence_loss(model, batch)

    return loss_fn


def worker(folder):
    """What one of the processes does. The first time, the second of them dies; torchrun starts both again."""
    rank, options = int(os.environ["RANK"]), SCENARIOS["dropout"]
    done = {"killed": run(options, kill_once(folder, rank), checkpoint=f"{folder}/state.pt")}
    done |= {name: run(options) for name, options in SCENARIOS.items()}
    done["rows"] = shuffled_rows()
    run({"valid": True}, epochs=2, checkpoint=f"{folder}/two.pt")
    done["by two"] = run({"valid": True}, checkpoint=f"{folder}/one.pt")
    done["processes"] = torch.distributed.get_world_size()
    done["restarts"] = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    torch.save(done, f"{folder}/done.{rank}.pt")
    torch.distributed.destroy_process_group()


def torchrun(folder):
    """Start two processes; what each of them has saved."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    # Not the machine's own name: where no network knows it, the processes would wait for one another for ever.
    command += ["--local-addr=127.0.0.1", "--max-restarts=1", __file__, str(folder)]
    tests = Path(__file__).parent
    here = {"PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)]), "OMP_NUM_THREADS": "1"}
    # A restart that shares its store with the first start may read the address of a dead process there:
    # https://github.com/pytorch/pytorch/issues/135712
    here |= {"ACCELERATE_USE_CPU": "true", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    shown = subprocess.run(
        command, env=os.environ | here, capture_output=True, text=True, timeout=180, check=False
    )
    assert shown.returncode == 0, shown.stderr
    return [torch.load(f"{folder}/done.{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder, and what both processes have to tell."""
    folder = tmp_path_factory.mktemp("two")
    run({"valid": True}, epochs=2, checkpoint=folder / "one.pt")
    return folder, torchrun(folder)


def same(one, other, atol=2e-6):
    """Losses, items, the best epoch and weights of two trainings agree."""
    assert one["items"] == other["items"]
    assert one["best"] == other["best"]
    for name in ("loss", "valid"):
        assert one[name] == pytest.approx(other[name], rel=1e-5), name
    torch.testing.assert_close(one["weights"], other["weights"], atol=atol, rtol=1e-4)


def test_there_are_two(two):
    assert [done["processes"] for done in two[1]] == [2, 2]


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "dropout"])
def test_two_processes_train_as_one(two, name):
    _, (first, second) = two
    same(first[name], run(SCENARIOS[name]))
    assert torch.equal(first[name]["weights"], second[name]["weights"])
    assert first[name]["loss"] == second[name]["loss"]


def test_each_row_once_and_each_process_its_own_noise(two):
    _, (first, second) = two
    alone = shuffled_rows()
    for number, (a, b) in enumerate(
        zip(first["rows"]["seen"], second["rows"]["seen"], strict=True)
    ):
        if len(a) > len(b):
            b = [*b, None]
        together = [row for pair in zip(a, b, strict=True) for row in pair if row is not None]
        epoch = number // 3
        assert len(together) in (4, 3)
        if epoch == 0:
            assert together == alone["seen"][number], "in the order that one process has"
    for start in (0, 3, 6):
        rows = [first["rows"]["seen"][start : start + 3], second["rows"]["seen"][start : start + 3]]
        assert sorted(row for seen in rows for batch in seen for row in batch) == list(range(11))
    noise = zip(first["rows"]["noise"], second["rows"]["noise"], strict=True)
    assert all(a != b for a, b in noise), "two processes have drawn the same dropout"
    assert torch.equal(first["rows"]["weights"], second["rows"]["weights"])


def test_the_number_of_processes_may_change_on_the_way(two):
    folder, (first, _) = two
    whole = run({"valid": True})
    same(first["by two"], whole)
    same(run({"valid": True}, checkpoint=folder / "two.pt"), whole)


def test_a_killed_process_costs_no_more_than_its_epoch(two):
    folder, (first, second) = two
    assert (folder / "killed").exists()
    for done in (first, second):
        assert done["restarts"] == 1
        assert done["killed"]["loss"] == first["dropout"]["loss"]
        assert torch.equal(done["killed"]["weights"], first["dropout"]["weights"])


if __name__ == "__main__":
    worker(*sys.argv[1:])
