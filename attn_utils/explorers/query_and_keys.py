"""Explorer 4: a query and three keys in the plane, weights, and the output inside the triangle of values."""

import math

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from attn_utils.attention import attention
from attn_utils.explorers._base import Explorer, checked, choice, fixed, module, name_points
from attn_utils.scoring import Cosine, DotProduct

SHORTEST, LONGEST = 0.1, 2.5  # of a vector
NAMES = ("query", "key 1", "key 2", "key 3")


def _gaussian_score(query: Tensor, key: Tensor) -> Tensor:
    """-‖q - k‖² / 2, (L, S): the logarithm of the Gaussian kernel of width 1."""
    return -torch.cdist(query, key).square() / 2


SCORES = {"dot": DotProduct(), "gaussian": _gaussian_score, "cosine": Cosine()}


class QueryAndKeys(Explorer):
    """One query, three keys and their values, all in the plane.

    The reader drives ``points`` (x and y of the query, then of the three keys), ``score`` ("dot",
    "gaussian" or "cosine") and ``moved``, the point that the sliders move.

    Args:
        query: position, shape (2,), as all positions of a length from 0.1 to 2.5.
        key: positions, shape (3, 2).
        value: shape (3, 2).
        **traits: starting values of ``score`` and ``moved``.

    Raises:
        ValueError: a shape does not fit, or a number is not finite.
        traitlets.TraitError: a trait's value is outside its range.
    """

    _esm = module("_plot", "query_and_keys")
    slug = fixed("query-and-keys")
    title = fixed("Drag the query and the keys: what becomes of the output?")
    driven = ("points", "score", "moved")

    points = traitlets.List(traitlets.Float(), minlen=8, maxlen=8).tag(sync=True)
    values = traitlets.List(traitlets.Float(), minlen=6, maxlen=6).tag(sync=True)
    score = choice(*SCORES)
    moved = choice(*NAMES)

    def __init__(self, query: Tensor, key: Tensor, value: Tensor, **traits: str) -> None:
        query, key = checked("query", query, 2), checked("key", key, 3, 2)
        traits["points"] = torch.cat([query, key.flatten()])
        super().__init__(values=checked("value", value, 3, 2).flatten(), **traits)

    @traitlets.validate("points")
    def _of_permitted_length(self, proposal) -> list[float]:
        for name, x, y in zip(NAMES, proposal.value[::2], proposal.value[1::2], strict=True):
            if not SHORTEST - 1e-9 <= math.hypot(x, y) <= LONGEST + 1e-9:
                raise traitlets.TraitError(
                    f"{name} must have a length from {SHORTEST} to {LONGEST}, got {(x, y)}"
                )
        return proposal.value

    def attend(self) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (3,), weights (3,) and output (2,), in double precision."""
        query, key = self.double("points").reshape(4, 2).split([1, 3])
        score = SCORES[self.score]
        output, weights = attention(query, key, self.double("values").reshape(3, 2), score)
        return score(query, key)[0], weights[0], output[0]

    def describe(self) -> str:
        """Scores, weights and output."""
        scores, weights, output = (
            ", ".join(f"{x:.2f}" for x in numbers.tolist()) for numbers in self.attend()
        )
        return f"Scores {scores} become weights {weights}; the output is ({output})."

    def draw(self, figure: Figure) -> None:
        """Query and keys beside the triangle of the values."""
        left, right = figure.subplots(1, 2)
        points, values = self.double("points").reshape(4, 2), self.double("values").reshape(3, 2)
        _, weights, output = self.attend()
        sized = {"s": 40 + 400 * weights, "color": "C0", "alpha": 0.6}
        arrow = {"arrowstyle": "-|>", "color": "C1", "lw": 2}
        left.annotate("", points[0].tolist(), (0, 0), arrowprops=arrow)
        left.scatter(*points[1:].T, **sized)
        name_points(left, points, ("q", "k1", "k2", "k3"))
        left.set(xlim=(-2.7, 2.7), ylim=(-2.7, 2.7), aspect="equal")
        left.set(xlabel="first feature", ylabel="second feature")
        right.fill(*values.T, color="C0", alpha=0.15)
        right.scatter(*values.T, **sized)
        name_points(right, values, [f"v{s}, weight {w:.2f}" for s, w in enumerate(weights, 1)])
        right.plot(*output, "D", color="C1", label="output")
        right.set(xlabel="first feature of a value", ylabel="second feature of a value")
        right.margins(0.25)
        right.legend()
