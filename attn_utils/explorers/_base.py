"""What every explorer shares: its JavaScript and style sheet, checked traits, a still picture, a sentence in words."""

import io
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

import anywidget
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

HERE = Path(__file__).parent


def module(*names: str) -> str:
    """One ES module made of the named ``.mjs`` files beside this one, in that order."""
    return "\n".join((HERE / f"{name}.mjs").read_text(encoding="utf-8") for name in names)


def checked(name: str, values: Tensor, *shape: int | str) -> Tensor:
    """The values in double precision, or a ValueError unless they are finite and of this shape, a letter any length."""
    values = torch.as_tensor(values, dtype=torch.float64).detach().cpu()
    got = tuple(values.shape)
    if got != tuple(n if isinstance(m, str) else m for n, m in zip_longest(got, shape)) or 0 in got:
        wanted = str(shape).replace("'", "")
        raise ValueError(f"{name} must have shape {wanted}, got {got}; no length may be 0")
    if not values.isfinite().all():
        raise ValueError(f"{name} holds NaN or infinity")
    return values


def shares(name: str, values: Tensor, *shape: int | str) -> Tensor:
    """Weights as the page holds them, or a ValueError unless they are ``checked`` and each row sums to 1, or to 0."""
    values = checked(name, values, *shape)
    sums = values.sum(dim=-1)
    if values.min() < 0 or torch.minimum(sums, (sums - 1).abs()).max() > 1e-3:
        got = f"sums from {sums.min():g} to {sums.max():g}, the least weight is {values.min():g}"
        raise ValueError(f"rows of {name} must be weights that sum to 1 or to 0, got {got}")
    return values.round(decimals=4)  # four decimals keep the page light


def fixed(text: str) -> traitlets.Unicode:
    """A text that the page needs and that nobody changes."""
    return traitlets.Unicode(text, read_only=True).tag(sync=True)


def choice(*options: str) -> traitlets.Enum:
    """One of the options, the first to begin with."""
    return traitlets.Enum(options, default_value=options[0]).tag(sync=True)


def between(name: str, value: float, low: float, high: float) -> float:
    """The value, or a TraitError that quotes it unless it lies in ``[low, high]``; NaN does not."""
    if not low <= value <= high:
        raise traitlets.TraitError(f"{name} must lie between {low:g} and {high:g}, got {value}")
    return value


class Bounded(traitlets.Float):
    """A float that stays in ``[low, high]``. Bounds that depend on the data: ``traitlets.validate`` and ``between``."""

    def __init__(self, default: float, low: float, high: float) -> None:
        super().__init__(default)
        self.low, self.high = low, high
        self.tag(sync=True)

    def validate(self, obj: object, value: float) -> float:
        """The value as a float inside the bounds, or a TraitError that quotes it."""
        return between(self.name, super().validate(obj, value), self.low, self.high)


def name_points(axes: Axes, points: Tensor, names: Iterable[str]) -> None:
    """Write a name beside each of the points (n, 2)."""
    for point, name in zip(points.tolist(), names, strict=True):
        axes.annotate(name, point, xytext=(9, 9), textcoords="offset points")


class Explorer(anywidget.AnyWidget):
    """An interactive figure that works with a kernel and without one.

    A subclass names its JavaScript in ``_esm = module("_plot", ..., "its_own")``, its ``slug`` (the
    name in links, ``#slug?width=0.4``) and ``title`` with ``fixed``, lists in ``driven`` the traits that the
    reader drives, and writes ``describe`` (what is seen, in one sentence) and ``draw`` (the same picture
    with matplotlib, for print and for places that run no JavaScript).

    Args:
        **traits: starting values. The page takes lists: tensors become such, and ``double`` gives them back.
    """

    _css = (HERE / "_explorer.css").read_text(encoding="utf-8")
    # ipywidgets 7 would show itself through this method and skip the bundle below.
    _ipython_display_ = None
    driven: tuple[str, ...] = ()

    def __init__(self, **traits: object) -> None:
        lists = {name: x.tolist() if isinstance(x, Tensor) else x for name, x in traits.items()}
        super().__init__(**lists)

    def double(self, name: str) -> Tensor:
        """The numbers of a trait in double precision."""
        return torch.tensor(getattr(self, name), dtype=torch.float64)

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
        figure.savefig(file, format="png", dpi=220)
        return file.getvalue()

    def __repr__(self) -> str:
        """Class, the traits that the reader drives, and the sentence: the same on every run."""
        traits = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.driven)
        return f"{type(self).__name__}({traits}): {self.describe()}"

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**kwargs)
        return {**data, "text/plain": repr(self), "image/png": self.still()}, metadata
