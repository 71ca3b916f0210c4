"""Explorer 6: who may attend to whom, and what happens when the mask comes too late."""

from collections.abc import Sequence

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from attn_utils.explorers._base import Explorer, floats, module
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
    slug = traitlets.Unicode("mask-painter", read_only=True).tag(sync=True)
    title = traitlets.Unicode("Open and close cells: who may attend to whom?", read_only=True).tag(
        sync=True
    )
    driven = ("real", "causal", "when")  # and flipped, too long to be told in words

    scores = traitlets.List().tag(sync=True)
    words = traitlets.List(traitlets.Unicode()).tag(sync=True)
    real = traitlets.Int().tag(sync=True)
    causal = traitlets.Enum(["no", "yes"], default_value="no").tag(sync=True)
    flipped = traitlets.List(traitlets.Int()).tag(sync=True)
    when = traitlets.Enum(["before", "after"], default_value="before").tag(sync=True)

    def __init__(self, scores: Tensor, words: Sequence[str], **traits: object) -> None:
        size = len(words)
        if not 2 <= size <= 8 or tuple(scores.shape) != (size, size):
            raise ValueError(
                f"scores must be (L, L) for L words, 2 to 8; got {tuple(scores.shape)} for {size} words"
            )
        rows = [floats("scores", row) for row in scores]
        start = {"real": size, "flipped": [0] * size**2, **traits}
        super().__init__(scores=rows, words=list(words), **start)

    @traitlets.validate("real")
    def _at_least_one(self, proposal) -> int:
        if not 1 <= proposal.value <= len(self.words):
            raise traitlets.TraitError(
                f"real must lie between 1 and {len(self.words)}, got {proposal.value}"
            )
        return proposal.value

    @traitlets.validate("flipped")
    def _one_bit_for_each_cell(self, proposal) -> list[int]:
        cells = len(self.words) ** 2
        if len(proposal.value) != cells or not set(proposal.value) <= {0, 1}:
            raise traitlets.TraitError(f"flipped must hold {cells} numbers, 0 or 1")
        return proposal.value

    def mask(self) -> Tensor:
        """(L, L) boolean, True = may attend."""
        size = len(self.words)
        mask = padding_mask(torch.tensor([self.real]), size)[0].expand(size, -1)
        if self.causal == "yes":
            mask = mask & causal_mask(size)
        return mask ^ torch.tensor(self.flipped, dtype=torch.bool).reshape(size, size)

    def weights(self) -> Tensor:
        """(L, L), in double precision."""
        scores = torch.tensor(self.scores, dtype=torch.float64)
        if self.when == "before":
            return masked_softmax(scores, self.mask())
        return torch.softmax(scores, dim=-1) * self.mask()

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
            image = ax.imshow(matrix, cmap="viridis", vmin=0, aspect="auto")
            ax.set(title=title, xlabel="key", ylabel="query")
            ax.set_xticks(range(len(self.words)), self.words)
            ax.set_yticks(range(len(self.words)), self.words)
        figure.colorbar(image, ax=ax, label="attention weight")
