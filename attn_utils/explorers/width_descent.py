"""Explorer 3: gradient descent rolls the width down its own loss curve."""

import torch
from matplotlib.figure import Figure

from attn_utils.explorers._base import Bounded, choice, fixed, module
from attn_utils.explorers._pooling import PoolingExplorer
from attn_utils.kernels import leave_one_out_error, nadaraya_watson


class WidthDescent(PoolingExplorer):
    """Play or step the width down the leave-one-out error, or down the training error, where it runs to 0.

    The reader drives ``width``, ``rate`` (learning rate in log width) and ``loss``; the kernel is Gaussian.
    See ``PoolingExplorer`` for the data.
    """

    _esm = module("_plot", "_pooling", "width_descent")
    slug = fixed("width-descent")
    title = fixed("Let the width roll downhill")
    driven = ("width", "rate", "loss")

    width = Bounded(2.0, 0.01, 10.0)
    rate = Bounded(0.5, 0.05, 2.0)
    loss = choice("leave-one-out", "training")

    def error(self, width: float) -> float:
        """The loss at ``width``: mean squared error, with or without leaving each key out of its own estimate."""
        key, value = self.double("key"), self.double("value")
        if self.loss == "leave-one-out":
            return leave_one_out_error(key, value, width=width).item()
        estimate, _ = nadaraya_watson(key, key, value, width=width)
        return (estimate - value).square().mean().item()

    def describe(self) -> str:
        """Width and loss."""
        return f"At width {self.width:.3g} the {self.loss} error is {self.error(self.width):.3g}."

    def draw(self, figure: Figure) -> None:
        """The loss curve with the current width beside the estimate."""
        left, right = figure.subplots(1, 2)
        grid = torch.logspace(-2, 1, 121).tolist()
        left.semilogx(grid, [self.error(width) for width in grid])
        left.plot(self.width, self.error(self.width), "o", color="C1")
        left.set(xlabel="width (log scale)", ylabel=f"{self.loss} error")
        self.draw_fit(right)
