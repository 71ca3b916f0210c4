"""One training loop for every model of the book, on Hugging Face Accelerate."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
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
    return F.cross_entropy(logits, classes, reduction="sum"), torch.tensor(
        len(classes), device=logits.device
    )


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
    valid: Iterable | None = None,
    patience: int | None = None,
    mixed_precision: str = "no",
    seed: int = 0,
    checkpoint: str | os.PathLike | None = None,
    progress: bool = True,
) -> History:
    """Train a model on whatever device there is.

    Ctrl-C ends the training early and leaves the model as it stands, ready for use. With ``checkpoint``, the state of
    everything is written after each epoch, and a later call with the same arguments goes on from there to the same
    numbers.

    Args:
        model: changed in place; afterwards on the device that Accelerate chose, in evaluation mode.
        batches: a DataLoader.
        loss_fn: (model, batch) -> (sum of the losses of the items, number of items); an item is a token, an image.
        epochs: passes over the batches.
        lr: learning rate of Adam.
        optimizer: instead of Adam.
        schedule: factor on the learning rate as a function of the share of training done, from 0 to 1.
        clip: largest norm of the gradient of all parameters; None does not clip.
        valid: batches to validate on after each epoch; the model is left with the weights of the best epoch.
        patience: with ``valid``, stop after so many epochs in a row without a better loss.
        mixed_precision: "no", "bf16" or "fp16".
        seed: of dropout and whatever else draws numbers in training.
        checkpoint: file for the state after each epoch; written whole or not at all.
        progress: show a bar with the loss and the items per second.

    Returns:
        The history, one entry for each epoch.

    Raises:
        ValueError: epochs less than 1, patience without valid, no batches, or a checkpoint of another model.
        FloatingPointError: the loss is not finite any more; the model keeps the weights of before that step.
    """
    if epochs < 1 or not len(batches):
        raise ValueError(f"nothing to train on: {epochs} epochs, {len(batches)} batches")
    if patience is not None and valid is None:
        raise ValueError(f"patience {patience} needs valid batches to judge by")
    torch.manual_seed(seed)
    AcceleratorState._reset_state()  # a precision chosen in an earlier call must not bind this one
    accelerator = Accelerator(mixed_precision=mixed_precision)
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    steps = epochs * len(batches)
    scheduler = LambdaLR(optimizer, lambda step: schedule(step / steps) if schedule else 1.0)
    model, optimizer, batches, valid = accelerator.prepare(model, optimizer, batches, valid)
    run = _Run(accelerator, model, optimizer, scheduler, loss_fn, clip, History())
    run.load(checkpoint)
    done = len(run.history.loss) * len(batches)
    bar = tqdm(total=steps, initial=done, leave=False, mininterval=0.5, disable=not progress)
    try:
        run.fit(batches, valid, epochs, patience, checkpoint, bar)
    except KeyboardInterrupt:
        run.history.interrupted = True
        print(
            f"Interrupted after {len(run.history.loss)} whole epochs; the model is left as it stands."
        )
    finally:
        bar.close()
        accelerator.unwrap_model(model, keep_fp32_wrapper=False).eval()
    return run.history


@dataclass
class _Run:
    """A training in progress."""

    accelerator: Accelerator
    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: LambdaLR
    loss_fn: _LossFn
    clip: float | None
    history: History
    best_weights: dict[str, Tensor] | None = None

    def fit(self, batches, valid, epochs, patience, checkpoint, bar) -> None:
        """The epochs that are left; at the end the model has the weights of the best."""
        for epoch in range(len(self.history.loss), epochs):
            if self.stale(patience):
                break
            if hasattr(batches, "set_epoch"):  # a plain list has no order to choose
                batches.set_epoch(epoch)
            self.epoch(batches, bar)
            if valid is not None:
                self.validate(valid)
            self.save(checkpoint)
        if self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)

    def epoch(self, batches: Iterable, bar: tqdm) -> None:
        """One pass over the batches."""
        self.model.train()
        start, loss_sum, items = time.perf_counter(), 0.0, 0
        for batch in batches:
            loss, count = self.step(batch)
            loss_sum, items = loss_sum + loss, items + count
            bar.update()
            speed = items / (time.perf_counter() - start)
            bar.set_postfix_str(f"loss {loss / count:.3f}, {speed:,.0f} items/s", refresh=False)
        self.history.loss.append(loss_sum / items)
        self.history.items.append(items)
        self.history.seconds.append(time.perf_counter() - start)

    def step(self, batch: Any) -> tuple[float, int]:
        """One step of the optimizer: the batch's loss, summed, and its items, over all processes."""
        loss, count = self.loss_fn(self.model, batch)
        total = self.accelerator.reduce(count)
        # Processes average their gradients; the loss of the whole batch is the sum over processes / all items.
        self.accelerator.backward(loss * self.accelerator.num_processes / total)
        loss = self.accelerator.reduce(loss.detach()).item()
        if not math.isfinite(loss):
            self.optimizer.zero_grad()
            raise FloatingPointError(f"the loss became {loss}: try a smaller lr or clip")
        if self.clip is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.scheduler.step()
        return loss, int(total)

    @torch.no_grad()
    def validate(self, valid: Iterable) -> None:
        """The loss on other batches; the weights are kept if it is the best so far."""
        self.model.eval()
        sums = [[part.double() for part in self.loss_fn(self.model, batch)] for batch in valid]
        loss, count = self.accelerator.reduce(torch.tensor(sums).sum(dim=0)).tolist()
        self.history.valid_loss.append(loss / count)
        if loss / count == min(self.history.valid_loss):
            self.history.best = len(self.history.valid_loss) - 1
            self.best_weights = copy.deepcopy(self.model.state_dict())

    def stale(self, patience: int | None) -> bool:
        """Whether the last ``patience`` epochs have brought no better validation loss."""
        return (
            patience is not None
            and self.history.best is not None
            and len(self.history.valid_loss) - 1 - self.history.best >= patience
        )

    def parts(self) -> dict[str, Any]:
        """What has a state_dict and must survive."""
        model = self.accelerator.unwrap_model(self.model)
        parts = {"model": model, "optimizer": self.optimizer, "scheduler": self.scheduler}
        return (
            parts
            if self.accelerator.scaler is None
            else {**parts, "scaler": self.accelerator.scaler}
        )

    def save(self, path: str | os.PathLike | None) -> None:
        """Write everything to a file, whole or not at all."""
        if path is None or not self.accelerator.is_main_process:
            return
        state = {name: part.state_dict() for name, part in self.parts().items()}
        state |= {"history": asdict(self.history), "best_weights": self.best_weights}
        state |= {"rng": torch.get_rng_state()}
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
            state = torch.load(path, map_location=self.accelerator.device, weights_only=True)
            for name, part in self.parts().items():
                part.load_state_dict(state[name])
        except Exception as error:
            raise ValueError(f"{path} is not a checkpoint of this model: {error}") from error
        self.history, self.best_weights = History(**state["history"]), state["best_weights"]
        torch.set_rng_state(state["rng"].cpu())
