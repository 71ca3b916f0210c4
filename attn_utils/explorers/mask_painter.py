"""Explorer 6: who may attend to whom, and what happens when the mask comes too late."""

from collections.abc import Sequence

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from attn_utils.explorers._base import Explorer, between, checked, choice, fixed, module
from attn_utils.masking import causal_mask, masked_softmax, padding_mask


class MaskPainter(Explorer):
    """A mask over the words of one sentence, and the weights that it leaves.

    The reader drives ``real`` (how many keys are not padding), ``causal`` ("yes" or "no"), ``when`` ("before" or
    "after": when the mask is applied) and ``flipped`` (0 or 1 for each cell, row by row: 1 turns it over).

    Args:
        scores: (L, L), L from 2 to 8.
        words: L names, of queries and keys alike.
        **traits: starting values of the traits named in ``driven``.

    Raises:
        ValueError: a shape does not fit, or a number is not finite.
        traitlets.TraitError: a trait's value is outside its range.
    """

    _esm = module("_plot", "mask_painter")
    slug = fixed("mask-painter")
    title = fixed("Open and close cells: who may attend to whom?")
    driven = ("real", "causal", "when")  # and flipped, too long to be told in words

    scores = traitlets.List().tag(sync=True)
    words = traitlets.List(traitlets.Unicode()).tag(sync=True)
    real = traitlets.Int().tag(sync=True)
    causal = choice("no", "yes")
    flipped = traitlets.List(traitlets.Int()).tag(sync=True)
    when = choice("before", "after")

    def __init__(self, scores: Tensor, words: Sequence[str], **traits: object) -> None:
        size = len(words)
        if not 2 <= size <= 8:
            raise ValueError(f"there must be 2 to 8 words, got {size}")
        start = {"real": size, "flipped": [0] * size**2, **traits}
        scores = checked("scores", scores, size, size)
        super().__init__(scores=scores, words=list(words), **start)

    @traitlets.validate("real")
    def _at_least_one(self, proposal) -> int:
        return between("real", proposal.value, 1, len(self.words))

    @traitlets.validate("flipped")
    def _one_bit_for_each_cell(self, proposal) -> list[int]:
        cells = len(self.words) ** 2
        if len(proposal.value) != cells or not set(proposal.value) <= {0, 1}:
            raise traitlets.TraitError(f"flipped must hold {cells} numbers, 0 or 1")
        return proposal.value

    def mask(self) -> Tensor:
        """(L, L) boolean, True = may attend."""
        size = len(self.words)
        mask = padding_mask(torch.tensor([self.real]), size)[0]  # (1, L)
        if self.causal == "yes":
            mask = mask & causal_mask(size)
        return mask ^ torch.tensor(self.flipped, dtype=torch.bool).reshape(size, size)

    def weights(self) -> Tensor:
        """(L, L), in double precision."""
        if self.when == "before":
            return masked_softmax(self.double("scores"), self.mask())
        return torch.softmax(self.double("scores"), dim=-1) * self.mask()

    def describe(self) -> str:
        """How many pairs are open and what the weights sum to."""
        sums = self.weights().sum(dim=1)
        return (
            f"{int(self.mask().sum())} of {len(self.words) ** 2} pairs are open; the weights of a query "
            f"sum to between {sums.min():.2f} and {sums.max():.2f}."
        )

    def draw(self, figure: Figure) -> None:
        """The mask beside the weights."""
        panels = {"mask (bright: may attend)": self.mask(), "attention weights": self.weights()}
        for ax, (title, matrix) in zip(figure.subplots(1, 2), panels.items(), strict=True):
            image = ax.imshow(matrix, vmin=0, aspect="auto")
            ax.set(title=title, xlabel="key", ylabel="query")
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_ticks(range(len(self.words)), self.words)
        figure.colorbar(image, ax=ax, label="attention weight")
