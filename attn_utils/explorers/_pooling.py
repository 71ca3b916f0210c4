"""Traits and pictures that the three explorers of kernel pooling share."""

import torch
import traitlets
from matplotlib.axes import Axes
from torch import Tensor

from attn_utils.explorers._base import Explorer, checked
from attn_utils.kernels import nadaraya_watson


class PoolingExplorer(Explorer):
    """Keys on a line, their values, and the queries at which the estimate is drawn.

    Args:
        key: positions, shape (S,), S at least 2.
        value: observations, shape (S,).
        truth: the true function at the queries, shape (L,), or None where nobody knows it.
        queries: where to estimate, shape (L,), ascending; by default 61 points over the keys.
        **traits: starting values of the traits named in ``driven``.

    Raises:
        ValueError: a shape does not fit, or a number is not finite.
        traitlets.TraitError: a trait's value is outside its range.
    """

    key = traitlets.List(traitlets.Float()).tag(sync=True)
    value = traitlets.List(traitlets.Float()).tag(sync=True)
    queries = traitlets.List(traitlets.Float()).tag(sync=True)
    truth = traitlets.List(traitlets.Float()).tag(sync=True)

    def __init__(
        self,
        key: Tensor,
        value: Tensor,
        truth: Tensor | None = None,
        queries: Tensor | None = None,
        **traits: float | str,
    ) -> None:
        traits["key"] = key = checked("key", key, "S")
        traits["value"] = checked("value", value, len(key))
        if len(key) < 2:
            raise ValueError(f"an explorer needs at least 2 keys, got {len(key)}")
        if queries is None:
            queries = torch.linspace(key.min().item(), key.max().item(), 61)
        traits["queries"] = checked("queries", queries, "L")
        if truth is not None:
            traits["truth"] = checked("truth", truth, len(queries))
        super().__init__(**traits)

    def pool(self, query: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Estimates (L,) and weights (L, S) at ``query`` (default: the grid), in double precision."""
        query = self.double("queries") if query is None else query
        kernel = getattr(self, "kernel", "gaussian")
        return nadaraya_watson(query, self.double("key"), self.double("value"), kernel, self.width)

    def draw_fit(self, axes: Axes) -> None:
        """Observations, true function and estimate."""
        axes.scatter(self.key, self.value, s=14, facecolors="none", edgecolors="C0")
        if self.truth:
            axes.plot(self.queries, self.truth, "--", color="0.5", label="true function")
        axes.plot(self.queries, self.pool()[0], color="C0", label="estimate")
        axes.set(xlabel="x", ylabel="y")
        axes.legend(frameon=False)

    def draw_heatmap(self, axes: Axes) -> None:
        """Attention weights: rows are queries, the first on top; columns are keys."""
        extent = (-0.5, len(self.key) - 0.5, self.queries[-1], self.queries[0])
        image = axes.imshow(self.pool()[1], aspect="auto", extent=extent)
        axes.set(xlabel="key number (from left to right)", ylabel="query")
        axes.figure.colorbar(image, ax=axes, label="attention weight")


def effective_keys(weights: Tensor) -> Tensor:
    """exp(entropy) of each row of weights (..., S): how many keys it listens to, between 1 and S."""
    return torch.special.entr(weights).sum(-1).exp()
