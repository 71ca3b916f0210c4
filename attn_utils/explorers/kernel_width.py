"""Explorer 2: the width of the kernel, over the estimate and its heatmap."""

from matplotlib.figure import Figure

from attn_utils.explorers._base import Bounded, choice, fixed, module
from attn_utils.explorers._pooling import PoolingExplorer, effective_keys
from attn_utils.kernels import KERNELS


class KernelWidth(PoolingExplorer):
    """From the nearest neighbour to the plain mean with one slider.

    The reader drives ``width`` and ``kernel``; see ``PoolingExplorer`` for the data.
    """

    _esm = module("_plot", "_pooling", "kernel_width")
    slug = fixed("kernel-width")
    title = fixed("Drag the width: from the nearest neighbour to the plain mean")
    driven = ("width", "kernel")

    width = Bounded(0.5, 0.01, 100.0)
    kernel = choice(*KERNELS)

    def describe(self) -> str:
        """Width and effective number of keys, averaged over the queries."""
        keys = effective_keys(self.pool()[1]).mean().item()
        return (
            f"With the {self.kernel} kernel of width {self.width:.3g} a query listens to about "
            f"{keys:.3g} of {len(self.key)} keys."
        )

    def draw(self, figure: Figure) -> None:
        """The estimate beside the heatmap."""
        left, right = figure.subplots(1, 2)
        self.draw_fit(left)
        self.draw_heatmap(right)
