"""What every explorer shares: its JavaScript and style sheet, checked traits, a still picture, a sentence in words."""

import io
import math
from pathlib import Path

import anywidget
import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

HERE = Path(__file__).parent


def module(*names: str) -> str:
    """One ES module made of the named ``.mjs`` files beside this one, in that order."""
    return "\n".join((HERE / f"{name}.mjs").read_text(encoding="utf-8") for name in names)


def floats(name: str, values: Tensor, length: int | None = None) -> list[float]:
    """A 1-D tensor as the list of floats that a trait holds; a clear error for anything else."""
    values = torch.as_tensor(values).detach().cpu()
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"{name} must be 1-D and not empty, got shape {tuple(values.shape)}")
    if length is not None and len(values) != length:
        raise ValueError(f"{name} must have length {length}, got {len(values)}")
    if not torch.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinity")
    return [float(v) for v in values]


class Bounded(traitlets.Float):
    """A float trait that stays inside ``[low, high]`` and refuses NaN, quoting the value."""

    def __init__(self, default: float, low: float, high: float) -> None:
        super().__init__(default)
        self.low, self.high = low, high
        self.tag(sync=True)

    def validate(self, obj: object, value: float) -> float:
        """The value as a float inside the bounds, or a TraitError that quotes it."""
        value = super().validate(obj, value)
        if not math.isfinite(value) or not self.low <= value <= self.high:
            raise traitlets.TraitError(
                f"{self.name} must lie between {self.low} and {self.high}, got {value}"
            )
        return value


class Explorer(anywidget.AnyWidget):
    """An interactive figure that works with a kernel and without one.

    A subclass names its JavaScript in ``_esm = module("_plot", ..., "its_own")``, its ``slug`` (the
    name in links, ``#slug?width=0.4``) and ``title``, lists in ``driven`` the traits that the reader
    drives, and writes ``describe`` (what is seen, in one sentence) and ``draw`` (the same picture
    with matplotlib, for print and for places that run no JavaScript).
    """

    _css = (HERE / "_explorer.css").read_text(encoding="utf-8")
    # ipywidgets 7 would show itself through this method and skip the bundle below.
    _ipython_display_ = None

    slug = traitlets.Unicode(read_only=True).tag(sync=True)
    title = traitlets.Unicode(read_only=True).tag(sync=True)
    driven: tuple[str, ...] = ()

    def describe(self) -> str:
        """What the figure shows now, in words."""
        raise NotImplementedError

    def draw(self, figure: Figure) -> None:
        """Draw the figure as it is now into a matplotlib ``figure``."""
        raise NotImplementedError

    def still(self, width: float = 9.0, height: float = 3.8) -> bytes:
        """The figure as it is now, as a PNG picture ``width`` by ``height`` inches large."""
        figure = Figure(figsize=(width, height), layout="constrained")
        self.draw(figure)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=110)
        return file.getvalue()

    def __repr__(self) -> str:
        """Class, the traits that the reader drives, and the sentence: the same on every run."""
        traits = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.driven)
        return f"{type(self).__name__}({traits}): {self.describe()}"

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**kwargs)
        return {**data, "text/plain": repr(self), "image/png": self.still()}, metadata
