"""Traits and pictures that the three explorers of kernel pooling share."""

import torch
import traitlets
from matplotlib.axes import Axes
from torch import Tensor

from attn_utils.explorers._base import Explorer, floats
from attn_utils.kernels import KERNELS, nadaraya_watson


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
        keys = floats("key", key)
        if len(keys) < 2:
            raise ValueError(f"an explorer needs at least 2 keys, got {len(keys)}")
        if queries is None:
            queries = torch.linspace(min(keys), max(keys), 61)
        grid = floats("queries", queries)
        super().__init__(
            key=keys,
            value=floats("value", value, len(keys)),
            queries=grid,
            truth=[] if truth is None else floats("truth", truth, len(grid)),
            **traits,
        )

    def pool(self, query: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Estimates (L,) and weights (L, S) at ``query`` (default: the grid), in double precision."""
        key, value = (torch.tensor(t, dtype=torch.float64) for t in (self.key, self.value))
        query = torch.tensor(self.queries, dtype=torch.float64) if query is None else query
        kernel = getattr(self, "kernel", "gaussian")
        return nadaraya_watson(query, key, value, kernel=kernel, width=self.width)

    def draw_fit(self, axes: Axes) -> None:
        """Observations, true function and estimate."""
        estimate, _ = self.pool()
        axes.scatter(self.key, self.value, s=14, facecolors="none", edgecolors="C0")
        if self.truth:
            axes.plot(self.queries, self.truth, "--", color="0.5", label="true function")
        axes.plot(self.queries, estimate, color="C0", label="estimate")
        axes.set(xlabel="x", ylabel="y")
        axes.legend(frameon=False)

    def draw_heatmap(self, axes: Axes) -> None:
        """Attention weights: rows are queries, the first on top; columns are keys."""
        _, weights = self.pool()
        extent = (-0.5, len(self.key) - 0.5, self.queries[-1], self.queries[0])
        image = axes.imshow(weights, aspect="auto", extent=extent, cmap="viridis")
        axes.set(xlabel="key number (from left to right)", ylabel="query")
        axes.figure.colorbar(image, ax=axes, label="attention weight")


def effective_keys(weights: Tensor) -> Tensor:
    """exp(entropy) of each row of weights (..., S): how many keys it listens to, between 1 and S."""
    return torch.special.entr(weights).sum(-1).exp()


def kernel_trait() -> traitlets.Enum:
    """A synced trait that holds the name of a kernel."""
    return traitlets.Enum(list(KERNELS), default_value="gaussian").tag(sync=True)
