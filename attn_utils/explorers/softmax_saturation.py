"""Explorer 5: what the number of features, the scaling and a temperature do to the softmax."""

import math

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from attn_utils.explorers._base import Bounded, Explorer, module

DIMS = [2**i for i in range(11)]


class SoftmaxSaturation(Explorer):
    """Weights of one query over its keys, and how decided they are as the number of features grows.

    The reader drives ``d`` (the number of features, a power of 2 up to 1024), ``temperature`` and
    ``scaled`` ("yes" or "no": whether scores are divided by √d).

    Args:
        query: (draws, 1024), one query a draw.
        key: (draws, S, 1024). With d features the first d count.
        **traits: starting values of the traits named in ``driven``.

    Raises:
        ValueError: a shape does not fit, or a number is not finite.
        traitlets.TraitError: a trait's value is outside its range.
    """

    _esm = module("_plot", "softmax_saturation")
    slug = traitlets.Unicode("softmax-saturation", read_only=True).tag(sync=True)
    title = traitlets.Unicode(
        "Add features: when does the softmax stop listening?", read_only=True
    ).tag(sync=True)
    driven = ("d", "temperature", "scaled")

    dims = traitlets.List(traitlets.Int(), default_value=DIMS).tag(sync=True)
    scores = traitlets.List().tag(sync=True)
    d = traitlets.Enum(DIMS, default_value=64).tag(sync=True)
    temperature = Bounded(1.0, 0.1, 10.0)
    scaled = traitlets.Enum(["yes", "no"], default_value="no").tag(sync=True)

    def __init__(self, query: Tensor, key: Tensor, **traits: float | str) -> None:
        shapes = tuple(query.shape), tuple(key.shape)
        fits = query.ndim == 2 and key.ndim == 3 and (len(query), DIMS[-1]) == shapes[0]
        if not fits or shapes[1][::2] != shapes[0] or len(query) == 0 or key.shape[1] < 2:
            raise ValueError(
                f"query must be (draws, {DIMS[-1]}) and key (draws, S, {DIMS[-1]}) with S at least 2, got {shapes}"
            )
        products = (query[:, None] * key).cumsum(dim=-1)  # (draws, S, 1024)
        scores = products[..., [d - 1 for d in DIMS]].permute(2, 0, 1)  # (dims, draws, S)
        if not torch.isfinite(scores).all():
            raise ValueError("query or key holds NaN or infinity")
        # Three decimals keep the page light.
        super().__init__(scores=scores.double().round(decimals=3).tolist(), **traits)

    def measure(self, d: int) -> dict[str, float]:
        """Medians over the draws of the largest weight, the entropy and the Jacobian's norm."""
        divisor = self.temperature * (math.sqrt(d) if self.scaled == "yes" else 1)
        scores = torch.tensor(self.scores[DIMS.index(d)], dtype=torch.float64)  # (draws, S)
        weights = torch.softmax(scores / divisor, dim=1)
        jacobian = weights.diag_embed() - weights[:, :, None] * weights[:, None]  # (draws, S, S)
        return {
            "largest": weights.amax(dim=1).quantile(0.5).item(),
            "entropy": torch.special.entr(weights).sum(dim=1).quantile(0.5).item(),
            "jacobian": jacobian.flatten(1).norm(dim=1).quantile(0.5).item(),
        }

    def describe(self) -> str:
        """The three medians."""
        now = self.measure(self.d)
        return (
            f"over {len(self.scores[0])} draws the median of the largest weight is {now['largest']:.3g}, "
            f"of the entropy {now['entropy']:.3g}, of the Jacobian's norm {now['jacobian']:.3g}."
        )

    def draw(self, figure: Figure) -> None:
        """The weights of the first draw beside the medians against d."""
        left, right = figure.subplots(1, 2)
        divisor = self.temperature * (math.sqrt(self.d) if self.scaled == "yes" else 1)
        weights = torch.softmax(torch.tensor(self.scores[DIMS.index(self.d)][0]) / divisor, dim=0)
        left.bar(range(1, len(weights) + 1), weights)
        left.set(xlabel="key", ylabel="weight", ylim=(0, 1))
        all_dims = [self.measure(d) for d in DIMS]
        right.semilogx(DIMS, [m["largest"] for m in all_dims], base=2, label="largest weight")
        right.semilogx(
            DIMS, [m["jacobian"] for m in all_dims], base=2, label="norm of the Jacobian"
        )
        right.axvline(self.d, color="0.5")
        right.set(xlabel="features d", ylabel="median over the draws", ylim=(0, 1))
        right.legend()
