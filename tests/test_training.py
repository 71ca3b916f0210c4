"""The training loop: what it computes, how it stops, goes on and fails."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from attn_utils.data import PAD, Vocab, batches, date_corpus
from attn_utils.seq2seq import LuongDecoder, RecurrentEncoder, Seq2Seq
from attn_utils.training import History, sequence_loss, train

PAIRS = date_corpus(["en", "ko"], 96, seed=0)
SRC, TGT = Vocab([p.source for p in PAIRS]), Vocab([p.target for p in PAIRS])


def translator(dropout=0.0, seed=0):
    torch.manual_seed(seed)
    return Seq2Seq(
        RecurrentEncoder(len(SRC), 8, 8, dropout=dropout),
        LuongDecoder(len(TGT), 8, 8, dropout=dropout),
    )


def loader(size=32, shuffle=True):
    return batches(PAIRS, SRC, TGT, size, shuffle)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def fit(model=None, batches=None, **options):
    model = model or translator()
    options = {"epochs": 2, "lr": 0.01, "progress": False, **options}
    return model, train(model, batches or loader(), **options)


def test_one_step_equals_adam_by_hand():
    """The gradient is that of the mean over real tokens, clipped."""
    model, twin = translator(), translator()
    (batch,) = loader(96, shuffle=False)
    fit(model, loader(96, shuffle=False), epochs=1, clip=0.5)
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.01)
    logits, _ = twin(batch.src, batch.src_lens, batch.tgt_in)
    real = batch.tgt_out != PAD
    log_probs = logits.log_softmax(-1).gather(-1, batch.tgt_out[..., None])[..., 0]
    (-log_probs[real].mean()).backward()
    nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
    optimizer.step()
    torch.testing.assert_close(weights(model), weights(twin), atol=1e-6, rtol=1e-5)


def test_the_plain_loop_bit_for_bit():
    """One batch a step, one process: nothing but forward, mean, backward, clip and step."""
    model, twin = translator(dropout=0.3), translator(dropout=0.3)
    _, history = fit(model, schedule=lambda done: 1 - done / 2)
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.01, fused=True)
    torch.manual_seed(0)
    data, losses = loader(), []
    for epoch in range(2):
        data.batch_sampler.set_epoch(epoch)
        sums = [0.0, 0]
        for step, batch in enumerate(data, 3 * epoch):
            optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / 6 / 2)
            loss, count = sequence_loss(twin, batch)
            (loss / count).backward()
            nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            sums = [sums[0] + loss.item(), sums[1] + int(count)]
        losses.append(sums[0] / sums[1])
    assert history.loss == losses
    assert torch.equal(weights(model), weights(twin))


@pytest.mark.parametrize("clip", [None, 0.1])
def test_batches_accumulated_are_one_large_batch(clip):
    """Ten batches of ten pairs, four to a step: three steps, of 40, 40 and 16 pairs, whatever their lengths."""
    rates = []

    def falls(done):
        rates.append(done)
        return 1 - done / 2

    options = {"clip": clip, "valid": loader(96, False), "schedule": falls}
    large, expected = fit(batches=loader(40, shuffle=False), **options)
    once, rates[:] = list(rates), []
    small, history = fit(batches=loader(10, shuffle=False), accumulate=4, **options)
    torch.testing.assert_close(weights(small), weights(large), atol=2e-6, rtol=1e-4)
    assert history.loss == pytest.approx(expected.loss, rel=1e-5)
    assert history.valid_loss == pytest.approx(expected.valid_loss, rel=1e-5)
    assert history.items == expected.items
    assert rates == once, "the schedule counts steps of the optimizer"


def test_loss_is_for_each_real_token():
    model = translator()
    _, history = fit(model, loader(7, shuffle=False), epochs=1, lr=0.0)
    total = [sequence_loss(model, batch) for batch in loader(96)]
    assert history.items == [sum(len(p.target) + 1 for p in PAIRS)]
    assert history.loss[0] == pytest.approx((total[0][0] / total[0][1]).item(), rel=1e-5)


def test_label_smoothing_spreads_mass_over_all_but_padding():
    model, (batch,) = translator(), loader(96)
    loss, count = sequence_loss(model, batch, label_smoothing=0.1)
    log_probs = model(batch.src, batch.src_lens, batch.tgt_in)[0].log_softmax(-1)
    target = torch.full_like(log_probs, 0.1 / (len(TGT) - 1))
    target[..., PAD] = 0
    target.scatter_add_(-1, batch.tgt_out[..., None], torch.full_like(log_probs[..., :1], 0.9))
    by_hand = -(target * log_probs).sum(-1)[batch.tgt_out != PAD].sum()
    torch.testing.assert_close(loss, by_hand)
    assert count == (batch.tgt_out != PAD).sum()


def test_the_same_seed_gives_the_same_numbers():
    runs = [fit(translator(dropout=0.3), seed=s) for s in (0, 0, 1)]
    assert runs[0][1].loss == runs[1][1].loss != runs[2][1].loss
    assert torch.equal(weights(runs[0][0]), weights(runs[1][0]))


def test_it_learns_and_leaves_the_model_ready():
    model, history = fit(epochs=8)
    assert history.loss[-1] < 0.8 * history.loss[0]
    assert not model.training
    assert len(history.loss) == len(history.seconds) == 8
    assert min(history.seconds) > 0


def test_schedule_multiplies_the_learning_rate():
    rates = []

    class Spy(torch.optim.SGD):
        def step(self, *args, **kwargs):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*args, **kwargs)

    model = translator()
    fit(model, optimizer=Spy(model.parameters(), lr=2.0), schedule=lambda done: 1 - done)
    assert rates == pytest.approx([2 * (1 - step / 6) for step in range(6)])


class Memory(nn.Module):
    """One number; the loss is what the test wants it to be."""

    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.zeros(()))


def script(losses):
    """A loss function that gives the next of these losses for each validation batch."""
    losses = iter(losses)

    def loss_fn(model, batch):
        if model.training:
            return -model.x, torch.tensor(1)
        return torch.tensor(next(losses)), torch.tensor(1)

    return loss_fn


ONE = DataLoader([0], batch_size=1)


def test_best_weights_come_back_and_patience_ends_it():
    model = Memory()
    options = {"optimizer": torch.optim.SGD(model.parameters(), lr=1.0), "valid": ONE, "epochs": 9}
    _, history = fit(model, ONE, loss_fn=script([3.0, 1.0, 2.0, 1.5, 0.0]), patience=2, **options)
    assert history.valid_loss == [3.0, 1.0, 2.0, 1.5]
    assert history.best == 1
    assert model.x.item() == pytest.approx(2, abs=1e-4), "the weights after the second epoch"


@pytest.mark.parametrize("accumulate", [1, 2])
def test_resumes_to_the_same_numbers(tmp_path, accumulate):
    path = tmp_path / "state.pt"
    options = {"valid": loader(96, False), "epochs": 4, "schedule": lambda done: 1 - done / 2}
    options["accumulate"] = accumulate
    whole, expected = fit(translator(0.3), **options)

    stop = loader()
    calls = []

    def interrupted(model, batch):
        calls.append(1)
        if len(calls) == 10:  # in the third epoch: four batches each, one of them for validation
            raise RuntimeError("power cut")
        return sequence_loss(model, batch)

    with pytest.raises(RuntimeError, match="power cut"):
        fit(translator(0.3), stop, loss_fn=interrupted, checkpoint=path, **options)
    torch.rand(7)  # somebody else draws in between
    again, history = fit(translator(0.3, seed=5), checkpoint=path, **options)
    assert history.loss == expected.loss
    assert history.valid_loss == expected.valid_loss
    assert torch.equal(weights(again), weights(whole))
    done, same = fit(translator(0.3, seed=6), checkpoint=path, **options)
    assert same.loss == expected.loss, "nothing left to do"
    assert torch.equal(weights(done), weights(whole))
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


def test_no_half_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "state.pt"
    fit(epochs=1, checkpoint=path)
    before = path.read_bytes()

    def full_disk(state, file):
        file.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="no space left"):
        fit(epochs=2, checkpoint=path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


def test_checkpoint_of_another_model_or_no_checkpoint_at_all(tmp_path):
    path = tmp_path / "state.pt"
    fit(Memory(), ONE, loss_fn=script([]), epochs=1, checkpoint=path)
    with pytest.raises(ValueError, match=r"state.pt is not a checkpoint of this model"):
        fit(checkpoint=path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"state.pt is not a checkpoint of this model"):
        fit(checkpoint=path)


def test_checkpoint_runs_no_code(tmp_path):
    path, trace = tmp_path / "state.pt", tmp_path / "trace"

    class Evil:
        def __reduce__(self):
            return open, (str(trace), "w")

    torch.save({"model": Evil()}, path)
    with pytest.raises(ValueError, match="not a checkpoint"):
        fit(checkpoint=path)
    assert not trace.exists()


def test_interrupt_leaves_a_usable_model(capsys):
    calls = []

    def loss_fn(model, batch):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return sequence_loss(model, batch)

    model, history = fit(loss_fn=loss_fn, epochs=9)
    assert history.interrupted
    assert len(history.loss) == 1
    assert "Interrupted after 1 whole epochs" in capsys.readouterr().out
    assert not model.training
    assert model(*next(iter(loader()))[:3])[0].isfinite().all()


def test_a_loss_that_is_not_finite_stops_before_the_step():
    model = translator()
    before = weights(model)
    with pytest.raises(FloatingPointError, match=r"the loss became nan: try a smaller lr"):
        fit(model, loss_fn=lambda m, b: (sequence_loss(m, b)[0] * torch.nan, torch.tensor(3)))
    factors = iter([1.0, torch.nan])  # the second of two batches in one step
    with pytest.raises(FloatingPointError, match=r"the loss became nan"):
        fit(
            model,
            accumulate=2,
            loss_fn=lambda m, b: (sequence_loss(m, b)[0] * next(factors), torch.tensor(3)),
        )
    assert torch.equal(weights(model), before)
    assert all(p.grad is None for p in model.parameters()), "nothing is left for a later step"


def test_precisions_one_after_the_other():
    """Each call computes in the precision it is given, and leaves a model in single precision."""
    model, inside = translator(), set()
    model.decoder.out_proj.register_forward_hook(lambda *args: inside.add(args[-1].dtype))
    for precision, dtype in {"no": torch.float32, "bf16": torch.bfloat16}.items():
        for _ in range(2):
            inside.clear()
            _, history = fit(model, mixed_precision=precision, epochs=2)
            assert inside == {dtype}
            assert history.loss[-1] < history.loss[0]
            assert weights(model).dtype == torch.float32
            assert model(*next(iter(loader()))[:3])[0].dtype == torch.float32


@pytest.mark.parametrize(
    ("bad", "quoted"),
    [
        ({"epochs": 0}, "0 epochs"),
        ({"patience": 2}, "patience 2"),
        ({"batches": []}, "0 batches"),
        ({"accumulate": 0}, "0 to a step"),
    ],
)
def test_bad_settings(bad, quoted):
    with pytest.raises(ValueError, match=quoted):
        train(**{"model": translator(), "batches": loader(), "epochs": 1, "progress": False, **bad})


def test_progress_shows_loss_and_speed(capsys):
    fit(epochs=2, progress=False)
    assert capsys.readouterr().err == ""
    code = (
        "import sys; sys.path.insert(0, 'tests'); import tqdm; tqdm.tqdm.monitor_interval = 0;"
        "import attn_utils.training as t; t.tqdm = lambda *a, **k: tqdm.tqdm(*a, **{**k, 'mininterval': 0});"
        "import test_training as x; x.fit(epochs=2, progress=True)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "items/s" in shown.stderr
    assert "loss " in shown.stderr
    assert "6/6" in shown.stderr


def test_history_draws_itself():
    ax = History(loss=[3.0, 2.0], valid_loss=[3.5, 2.5], items=[9, 9], seconds=[1.0, 1.0]).plot()
    assert ax.get_xlabel() == "epoch"
    assert [line.get_ydata().tolist() for line in ax.lines] == [[3.0, 2.0], [3.5, 2.5]]
    assert [text.get_text() for text in ax.get_legend().texts] == ["training", "validation"]
