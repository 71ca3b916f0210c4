"""Explorer 5: what the number of features, the scaling and a temperature do to the softmax."""

import math

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from attn_utils.explorers._base import Bounded, Explorer, checked, choice, fixed, module

DIMS = [2**i for i in range(11)]


class SoftmaxSaturation(Explorer):
    """Weights of one query over its keys, and how decided they are as the number of features grows.

    The reader drives ``d`` (the number of features, a power of 2 up to 1024), ``temperature`` and
    ``scaled`` ("yes" or "no": whether scores are divided by √d).

    Args:
        query: (draws, 1024), one query a draw.
        key: (draws, S, 1024), S at least 2. With d features the first d count.
        **traits: starting values of the traits named in ``driven``.

    Raises:
        ValueError: a shape does not fit, or a number is not finite.
        traitlets.TraitError: a trait's value is outside its range.
    """

    _esm = module("_plot", "softmax_saturation")
    slug = fixed("softmax-saturation")
    title = fixed("Add features: when does the softmax stop listening?")
    driven = ("d", "temperature", "scaled")

    dims = traitlets.List(traitlets.Int(), default_value=DIMS).tag(sync=True)
    scores = traitlets.List().tag(sync=True)
    d = traitlets.Enum(DIMS, default_value=64).tag(sync=True)
    temperature = Bounded(1.0, 0.1, 10.0)
    scaled = choice("no", "yes")

    def __init__(self, query: Tensor, key: Tensor, **traits: float | str) -> None:
        query = checked("query", query, "draws", DIMS[-1])
        key = checked("key", key, len(query), "S", DIMS[-1])
        if key.shape[1] < 2:
            raise ValueError(f"an explorer needs at least 2 keys, got {key.shape[1]}")
        products = (query[:, None] * key).cumsum(dim=-1)  # (draws, S, 1024)
        scores = products[..., [d - 1 for d in DIMS]].permute(2, 0, 1)  # (dims, draws, S)
        # Three decimals keep the page light.
        super().__init__(scores=scores.round(decimals=3), **traits)

    def weights(self, d: int) -> Tensor:
        """(draws, S) with ``d`` features, in double precision."""
        divisor = self.temperature * (math.sqrt(d) if self.scaled == "yes" else 1)
        return torch.softmax(self.double("scores")[DIMS.index(d)] / divisor, dim=1)

    def measure(self, d: int) -> dict[str, float]:
        """Medians over the draws of the largest weight, the entropy and the Jacobian's norm."""
        weights = self.weights(d)
        jacobian = weights.diag_embed() - weights[:, :, None] * weights[:, None]  # (draws, S, S)
        numbers = {
            "largest": weights.amax(dim=1),
            "entropy": torch.special.entr(weights).sum(dim=1),
            "jacobian": jacobian.flatten(1).norm(dim=1),
        }
        return {name: x.quantile(0.5).item() for name, x in numbers.items()}

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
        weights = self.weights(self.d)[0]
        left.bar(range(1, len(weights) + 1), weights)
        left.set(xlabel="key", ylabel="weight", ylim=(0, 1))
        medians = [self.measure(d) for d in DIMS]
        for name, label in (("largest", "largest weight"), ("jacobian", "norm of the Jacobian")):
            right.semilogx(DIMS, [m[name] for m in medians], base=2, label=label)
        right.axvline(self.d, color="0.5")
        right.set(xlabel="features d", ylabel="median over the draws", ylim=(0, 1))
        right.legend()
