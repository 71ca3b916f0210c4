"""Explorer 8: the dot product of two encodings knows their distance only; shuffled words, with and without them."""

import itertools
from collections.abc import Sequence

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from attn_utils.attention import attention
from attn_utils.explorers._base import Explorer, checked, choice, fixed, module
from attn_utils.positional import sinusoidal_encoding

DIMS = [8, 16, 24, 32, 48, 64, 96, 128]
ORDERS = list(itertools.permutations(range(5)))


class Positions(Explorer):
    """Two views: two positions and the dot product of their encodings, and a sentence whose words change places.

    The reader drives ``view`` ("distance" or "shuffle"); in the first ``position`` (0 to 49), ``distance`` (0 to 50)
    and ``embed_dim`` (one of ``DIMS``); in the second ``order`` (0 to 119: a permutation of the words, 0 = as
    given, in the order of ``itertools.permutations``) and ``word`` (0 to 4: the one whose output is shown).

    Args:
        words: five.
        features: (5, E), the vector of each word.
        **traits: starting values of the traits named in ``driven``.

    Raises:
        ValueError: the shape does not fit, or a number is not finite.
        traitlets.TraitError: there are not five words, or a trait's value is outside its range.
    """

    _esm = module("_plot", "positions")
    slug = fixed("positions")
    title = fixed("Move two positions, or shuffle the words: what notices?")
    driven = ("view", "position", "distance", "embed_dim", "order", "word")

    words = traitlets.List(traitlets.Unicode(), minlen=5, maxlen=5).tag(sync=True)
    features = traitlets.List().tag(sync=True)
    view = choice("distance", "shuffle")
    position = traitlets.Int(10, min=0, max=49).tag(sync=True)
    distance = traitlets.Int(5, min=0, max=50).tag(sync=True)
    embed_dim = traitlets.Enum(DIMS, default_value=32).tag(sync=True)
    order = traitlets.Int(0, min=0, max=119).tag(sync=True)
    word = traitlets.Int(0, min=0, max=4).tag(sync=True)

    def __init__(self, words: Sequence[str], features: Tensor, **traits: int | str) -> None:
        features = checked("features", features, 5, "E").round(decimals=3)
        super().__init__(words=list(words), features=features, **traits)

    def dots(self) -> Tensor:
        """The dot products of encodings 0 to 50 apart, (51,), in double precision."""
        encodings = sinusoidal_encoding(51, self.embed_dim).double()
        return encodings @ encodings[0]

    def outputs(self, encoded: bool) -> Tensor:
        """What self-attention gives the chosen word in the first order and in the chosen one, (2, E)."""
        places = torch.tensor([ORDERS[0], ORDERS[self.order]])
        x = self.double("features")[places]  # (2, 5, E)
        x = x + sinusoidal_encoding(*x.shape[1:]) if encoded else x
        return attention(x, x, x)[0][places == self.word]

    def describe(self) -> str:
        """The dot product, or how far the output of the word has moved."""
        if self.view == "distance":
            return (
                f"Positions {self.position} and {self.position + self.distance}: the dot product of their encodings is "
                f"{self.dots()[self.distance]:.2f}, as for every pair that is {self.distance} apart; the largest "
                f"possible is {self.embed_dim // 2}."
            )
        without, moved = (torch.dist(*self.outputs(encoded)) for encoded in (False, True))
        return (
            f"The output of “{self.words[self.word]}” has moved by {without:.2f} without encodings and by "
            f"{moved:.2f} with them, against the first order of the words."
        )

    def draw(self, figure: Figure) -> None:
        """The encodings with two positions marked beside the dot products; or the word's outputs."""
        left, right = axes = figure.subplots(1, 2)
        if self.view == "distance":
            image = sinusoidal_encoding(100, self.embed_dim).T.numpy()
            left.imshow(image, aspect="auto")
            left.axvline(self.position, color="#ff5e5e")
            left.axvline(self.position + self.distance, color="white")
            left.set(xlabel="position (red: p, white: p′)", ylabel="column of the encoding")
            right.plot(self.dots(), markevery=[self.distance], marker="D")
            right.set(xlabel="distance", ylabel="dot product")
            return
        for ax, title in zip(axes, ("without encodings", "with encodings"), strict=True):
            first, now = self.outputs(encoded=ax is right)
            ax.plot(first, "--", color="0.5", label="first order")
            ax.plot(now, label="this order")
            ax.set(title=title, xlabel=f"feature of the output of “{self.words[self.word]}”")
        left.legend()
