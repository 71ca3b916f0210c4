"""One training loop for every model of the book, on Hugging Face Accelerate."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator, utils
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from attn_utils.data import PAD, Batch

_LossFn = Callable[[nn.Module, Any], tuple[Tensor, Tensor]]


@dataclass
class History:
    """What happened in each epoch.

    Attributes:
        loss: mean training loss for each item (for sentences: each real token).
        valid_loss: the same on the validation batches, after the epoch; empty without such batches.
        items: items trained on.
        seconds: duration of the training in the epoch, validation aside.
        best: with validation, the epoch, counted from 0, whose weights the model is left with.
        interrupted: whether Ctrl-C ended the training.
    """

    loss: list[float] = field(default_factory=list)
    valid_loss: list[float] = field(default_factory=list)
    items: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best: int | None = None
    interrupted: bool = False

    def plot(self, ax: Any = None, label: str = "") -> Any:
        """Draw the losses against the epochs on matplotlib's axes, new ones if need be, and return these."""
        import matplotlib.pyplot as plt

        ax = ax or plt.subplots(figsize=(5, 3), layout="constrained")[1]
        epochs = range(1, len(self.loss) + 1)
        (line,) = ax.plot(epochs, self.loss, label=f"{label} training".strip())
        if self.valid_loss:
            color = line.get_color()
            ax.plot(epochs, self.valid_loss, "--", color=color, label=f"{label} validation".strip())
        ax.set(xlabel="epoch", ylabel="loss for each item")
        ax.legend()
        return ax


def sequence_loss(
    model: nn.Module, batch: Batch, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of a `Batch`, summed over its real target tokens, and their number.

    Args:
        model: (src, src_lens, tgt_in) -> (logits (B, L, V), anything).
        batch: padding in ``tgt_out`` counts for nothing.
        label_smoothing: share of the target's mass spread evenly over the vocabulary, PAD aside.

    Returns:
        The sum and the number, both scalars.
    """
    logits, _ = model(batch.src, batch.src_lens, batch.tgt_in)
    targets = batch.tgt_out.flatten()
    log_probs = logits.flatten(0, 1).log_softmax(dim=-1)  # (B · L, V)
    loss = F.nll_loss(log_probs, targets, ignore_index=PAD, reduction="sum")
    real = targets != PAD
    if label_smoothing:
        others = log_probs.sum(dim=-1) - log_probs[:, PAD]  # PAD gets no mass: nobody may say it
        spread = others.masked_fill(~real, 0).sum() / (logits.shape[-1] - 1)
        loss = (1 - label_smoothing) * loss - label_smoothing * spread
    return loss, real.sum()


def classification_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Cross-entropy of a batch of items and their classes, summed, and the number of items.

    Args:
        model: items (B, ...) -> (logits (B, V), anything).
        batch: the items and their classes (B,).

    Returns:
        The sum and the number, both scalars.
    """
    items, classes = batch
    logits, _ = model(items)
    return F.cross_entropy(logits, classes, reduction="sum"), classes.new_tensor(len(classes))


def train(
    model: nn.Module,
    batches: Iterable,
    loss_fn: _LossFn = sequence_loss,
    *,
    epochs: int,
    lr: float = 1e-3,
    optimizer: torch.optim.Optimizer | None = None,
    schedule: Callable[[float], float] | None = None,
    clip: float | None = 1.0,
    accumulate: int = 1,
    valid: Iterable | None = None,
    patience: int | None = None,
    mixed_precision: str = "no",
    seed: int = 0,
    checkpoint: str | os.PathLike | None = None,
    progress: bool = True,
) -> History:
    """Train a model on whatever device there is, in as many processes as ``torchrun`` starts.

    Each process takes a share of the rows of every batch; loss and gradient are those of the whole. So the number of
    processes does not change the result, beyond rounding and what is random (each process draws its own dropout).
    Ctrl-C ends the training early and leaves the model as it stands, ready for use. With ``checkpoint``, the state
    of everything is written after each epoch, and a later call with the same arguments goes on from there to the
    same numbers.

    Args:
        model: changed in place; afterwards on the device that Accelerate chose, in evaluation mode.
        batches: a DataLoader; its batches hold tensors with the items along the first dimension.
        loss_fn: (model, batch) -> (sum of the losses of the items, number of items); an item is a token, an image.
        epochs: passes over the batches.
        lr: learning rate of Adam.
        optimizer: instead of Adam.
        schedule: factor on the learning rate as a function of the share of the steps done, from 0 to 1.
        clip: largest norm of the gradient of all parameters; None does not clip.
        accumulate: batches in one step of the optimizer, one in memory after the other; an epoch's last step takes
            what is left.
        valid: batches to validate on after each epoch; the model is left with the weights of the best epoch.
        patience: with ``valid``, stop after so many epochs in a row without a better loss.
        mixed_precision: "no", "bf16" or "fp16".
        seed: of dropout and whatever else draws numbers in training.
        checkpoint: file for the state after each epoch; written whole or not at all.
        progress: show a bar with the loss and the items per second.

    Returns:
        The history, one entry for each epoch.

    Raises:
        ValueError: epochs or accumulate less than 1, patience without valid, no batches, or a checkpoint of another
            model.
        FloatingPointError: the loss is not finite any more; the model keeps the weights of before that step.
    """
    if min(epochs, accumulate, len(batches)) < 1:
        raise ValueError(f"got {epochs} epochs, {len(batches)} batches, {accumulate} to a step")
    if patience is not None and valid is None:
        raise ValueError(f"patience {patience} needs valid batches to judge by")
    torch.manual_seed(seed)
    AcceleratorState._reset_state()  # a precision chosen in an earlier call must not bind this one
    accelerator = Accelerator(mixed_precision=mixed_precision)
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    each = -(-len(batches) // accumulate)  # steps of an epoch
    steps = epochs * each
    scheduler = LambdaLR(optimizer, lambda step: schedule(step / steps) if schedule else 1.0)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    run = _Run(accelerator, model, wrapped, optimizer, scheduler, loss_fn, clip, accumulate)
    run.load(checkpoint)
    done, quiet = len(run.history.loss) * each, not (progress and accelerator.is_main_process)
    try:
        with tqdm(total=steps, initial=done, leave=False, mininterval=0.5, disable=quiet) as bar:
            run.fit(batches, valid, epochs, patience, checkpoint, bar)
    except KeyboardInterrupt:
        run.history.interrupted = True
        print(f"Interrupted after {len(run.history.loss)} whole epochs; the model stays as it is.")
    finally:
        accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False).eval()
        # A model with this mark would not be prepared again, for another precision or device.
        vars(model).pop("_is_accelerate_prepared", None)
    return run.history


@dataclass
class _Run:
    """A training in progress. ``model`` is the given one, ``bare``, in the wrapping that several processes need."""

    accelerator: Accelerator
    bare: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: LambdaLR
    loss_fn: _LossFn
    clip: float | None
    accumulate: int
    history: History = field(default_factory=History)
    best_weights: dict[str, Tensor] | None = None

    def fit(self, batches, valid, epochs, patience, checkpoint, bar) -> None:
        """The epochs that are left; at the end the model has the weights of the best."""
        for epoch in range(len(self.history.loss), epochs):
            if self.stale(patience):
                break
            if hasattr(getattr(batches, "batch_sampler", None), "set_epoch"):
                batches.batch_sampler.set_epoch(epoch)
            self.epoch(batches, bar)
            if valid is not None:
                self.validate(valid)
            self.save(checkpoint)
        if self.best_weights is not None:
            self.bare.load_state_dict(self.best_weights)

    def epoch(self, batches: Iterable, bar: tqdm) -> None:
        """One pass over the batches."""
        self.model.train()
        utils.synchronize_rng_states(["torch"])  # so that all processes draw the same order ...
        start, loss_sum, items, batches = time.perf_counter(), 0.0, 0, iter(batches)
        while window := list(islice(batches, self.accumulate)):
            if not items and self.accelerator.process_index:  # ... and then each its own dropout
                torch.manual_seed(int(torch.randint(2**62, ())) + self.accelerator.process_index)
            loss, count = self.step(window)
            loss_sum, items = loss_sum + loss, items + count
            bar.update()
            speed = items / (time.perf_counter() - start)
            bar.set_postfix_str(f"loss {loss / count:.3f}, {speed:,.0f} items/s", refresh=False)
        self.history.loss.append(loss_sum / items)
        self.history.items.append(items)
        self.history.seconds.append(time.perf_counter() - start)

    def step(self, window: list) -> tuple[float, int]:
        """One step of the optimizer: the loss of some batches, summed, and their items, over all processes."""
        loss_sum, items, unit = 0.0, 0, None
        for left, batch in enumerate(window, 1 - len(window)):
            # The mean over all items is the sum over processes and batches, divided by all items. Processes average
            # their gradients, in the last backward pass of a step. Its items are known only then: until then, the
            # first batch's stand in.
            with self.accelerator.no_sync(self.model) if left else nullcontext():
                loss, count = self.share(batch)
                total = self.accelerator.reduce(count)
                unit = total if unit is None else unit
                self.accelerator.backward(loss * self.accelerator.num_processes / unit)
            loss_sum += self.accelerator.reduce(loss.detach()).item()
            items += int(total)
        if not math.isfinite(loss_sum):
            self.optimizer.zero_grad()
            raise FloatingPointError(f"the loss became {loss_sum}: try a smaller lr or clip")
        if len(window) > 1:
            grads = [p.grad for p in self.model.parameters() if p.grad is not None]
            torch._foreach_mul_(grads, int(unit) / items)
        if self.clip is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.scheduler.step()
        return loss_sum, items

    def share(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Loss and items of this process' rows of a batch. They lie apart: neighbours are often of like length."""
        batch = utils.send_to_device(batch, self.accelerator.device)
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        if processes == 1:
            return self.loss_fn(self.model, batch)
        # A process for which no row is left takes the first, and counts it 0 times.
        some = rank < utils.find_batch_size(batch)
        batch = utils.slice_tensors(batch, slice(rank, None, processes) if some else slice(1))
        loss, count = self.loss_fn(self.model, batch)
        return loss * some, count * some

    @torch.no_grad()
    def validate(self, valid: Iterable) -> None:
        """The loss on other batches; the weights are kept if it is the best so far."""
        self.model.eval()
        sums = [[float(part) for part in self.share(batch)] for batch in valid]
        total = torch.tensor(sums, dtype=torch.float64).sum(dim=0)  # of this process
        loss, count = sum(utils.gather_object([total])).tolist()
        self.history.valid_loss.append(loss / count)
        if loss / count == min(self.history.valid_loss):
            self.history.best = len(self.history.valid_loss) - 1
            self.best_weights = {k: v.clone() for k, v in self.bare.state_dict().items()}

    def stale(self, patience: int | None) -> bool:
        """Whether the last ``patience`` epochs have brought no better validation loss."""
        best, losses = self.history.best, self.history.valid_loss
        return None not in (patience, best) and len(losses) - 1 - best >= patience

    def parts(self) -> dict[str, Any]:
        """What has a state_dict and must survive."""
        parts = {"model": self.bare, "optimizer": self.optimizer, "scheduler": self.scheduler}
        scaler = self.accelerator.scaler
        return parts if scaler is None else {**parts, "scaler": scaler}

    def save(self, path: str | os.PathLike | None) -> None:
        """Write everything to a file, whole or not at all."""
        if path is None or not self.accelerator.is_main_process:
            return
        state = {name: part.state_dict() for name, part in self.parts().items()}
        state |= {"history": asdict(self.history), "best_weights": self.best_weights}
        state |= {"rng": torch.get_rng_state(), "cuda_rng": torch.cuda.get_rng_state_all()}
        half = Path(f"{path}.{os.getpid()}.part")
        try:
            torch.save(state, half)
            os.replace(half, path)
        finally:
            half.unlink(missing_ok=True)

    def load(self, path: str | os.PathLike | None) -> None:
        """Go on from a file, if it is there."""
        if path is None or not Path(path).exists():
            return
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            for name, part in self.parts().items():
                part.load_state_dict(state[name])
        except Exception as error:
            raise ValueError(f"{path} is not a checkpoint of this model: {error}") from error
        self.history, self.best_weights = History(**state["history"]), state["best_weights"]
        torch.set_rng_state(state["rng"])
        torch.cuda.set_rng_state_all(state["cuda_rng"])
