"""Explorer 1: drag the query, choose the kernel, see who is listened to."""

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from attn_utils.explorers._base import Bounded, between, choice, fixed, module
from attn_utils.explorers._pooling import PoolingExplorer, effective_keys
from attn_utils.kernels import KERNELS


class KernelPooling(PoolingExplorer):
    """One query over all keys: each key as large as its weight, the estimate, the row of the heatmap.

    The reader drives ``query``, ``width`` and ``kernel``; see ``PoolingExplorer`` for the data.
    """

    _esm = module("_plot", "_pooling", "kernel_pooling")
    slug = fixed("kernel-pooling")
    title = fixed("Drag the query: who is listened to?")
    driven = ("query", "width", "kernel")

    query = traitlets.Float().tag(sync=True)
    width = Bounded(0.5, 0.05, 5.0)
    kernel = choice(*KERNELS)

    @traitlets.default("query")
    def _middle_of_the_axis(self) -> float:
        return (self.queries[0] + self.queries[-1]) / 2

    @traitlets.validate("query")
    def _inside_the_axis(self, proposal) -> float:
        return between("query", proposal.value, self.queries[0], self.queries[-1])

    def answer(self) -> tuple[Tensor, Tensor]:
        """The estimate (1,) at the query and the weights (1, S)."""
        return self.pool(torch.tensor([self.query], dtype=torch.float64))

    def describe(self) -> str:
        """Estimate and effective number of keys at the query."""
        estimate, weights = self.answer()
        return (
            f"At query {self.query:.3g} the {self.kernel} kernel of width {self.width:.3g} estimates "
            f"{estimate.item():.3g} from about {effective_keys(weights).item():.3g} of {len(self.key)} keys."
        )

    def draw(self, figure: Figure) -> None:
        """Keys sized by weight beside the heatmap with the query's row framed."""
        left, right = figure.subplots(1, 2)
        estimate, weights = self.answer()
        self.draw_fit(left)
        sizes = 200 * weights[0] / weights.max()
        left.scatter(self.key, self.value, s=sizes, color="C0", alpha=0.4)
        left.axvline(self.query, color="C1")
        left.plot(self.query, estimate.item(), "D", color="C1")
        self.draw_heatmap(right)
        right.axhline(self.query, color="red")
