"""Explorer 2: the width of the kernel, over the estimate and its heatmap."""

import traitlets
from matplotlib.figure import Figure

from attn_utils.explorers._base import Bounded, module
from attn_utils.explorers._pooling import PoolingExplorer, effective_keys, kernel_trait


class KernelWidth(PoolingExplorer):
    """From the nearest neighbour to the plain mean with one slider.

    The reader drives ``width`` and ``kernel``; see ``PoolingExplorer`` for the data.
    """

    _esm = module("_plot", "_pooling", "kernel_width")
    slug = traitlets.Unicode("kernel-width", read_only=True).tag(sync=True)
    title = traitlets.Unicode(
        "Drag the width: from the nearest neighbour to the plain mean", read_only=True
    ).tag(sync=True)
    driven = ("width", "kernel")

    width = Bounded(0.5, 0.01, 100.0)
    kernel = kernel_trait()

    def describe(self) -> str:
        """Width and effective number of keys, averaged over the queries."""
        _, weights = self.pool()
        return (
            f"With the {self.kernel} kernel of width {self.width:.3g} a query listens to about "
            f"{effective_keys(weights).mean().item():.3g} of {len(self.key)} keys."
        )

    def draw(self, figure: Figure) -> None:
        """The estimate beside the heatmap."""
        left, right = figure.subplots(1, 2)
        self.draw_fit(left)
        self.draw_heatmap(right)
