"""Explorer 11: where does a place of an image look, and what would a convolution see?"""

from collections.abc import Sequence

import torch
import traitlets
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from attn_utils.explorers._base import Bounded, Explorer, between, checked, fixed, module, shares
from attn_utils.vision import non_local_means


def _grid(what: str, count: int, size: Sequence[int]) -> list[int]:
    """The grid of so many places that ``size`` becomes where squares of a whole number of places are made one."""
    for pool in range(1, min(size) + 1):
        if (size[0] // pool) * (size[1] // pool) == count:
            return [size[0] // pool, size[1] // pool]
    raise ValueError(f"{count} {what} are no grid of squares over {tuple(size)}")


def _checked_weights(weights: Tensor, count: int, size: Sequence[int]) -> tuple:
    """The weights as the page holds them, the grid of places and that of the keys."""
    weights = shares("weights", weights, count, "places", "S")
    if weights.shape[2] < 2:
        raise ValueError("an explorer needs at least 2 keys, got 1")
    grid = _grid("places", weights.shape[1], size)
    return weights, grid, _grid("keys", weights.shape[2], grid)


class PixelAttention(Explorer):
    """The weights of one place of an image, over the image, beside the square that a convolution reads.

    The reader drives ``image``, ``row`` and ``column`` (from 0, of the grid of places), and with non-local means
    ``width`` (0.01 to 0.5) and ``patch`` (1, 3, 5 or 7), too. With weights that are given, the name in links is
    ``pixel-attention-learned``, so that a page has room for one of each kind.

    Args:
        images: (N, C, h, w) in [0, 1], C = 1 or 3.
        weights: (N, places, S), rows sum to 1. The places are a grid over the image, row by row, as large as it or
            coarser; so are the S keys over the places. None: the weights of non-local means, computed in the page.
        names: of the images, for the menu.
        receptive_field: side of the convolution's square in places, odd.
        **traits: starting values: ``image``, ``row`` and ``column`` (by default the first and its middle), ``width``
            and ``patch`` (of non-local means; by default 0.1, in the unit of the image, and 5).

    Raises:
        ValueError: shapes do not fit, or the images or weights are none.
        traitlets.TraitError: a trait's value is outside its range.
    """

    _esm = module("_plot", "pixel_attention")
    slug = fixed("pixel-attention")
    title = fixed("Choose a pixel: which ones look like it, and what would a convolution see?")
    driven = ("image", "row", "column", "width", "patch")

    images, weights, names, grid, keyed = (traitlets.List().tag(sync=True) for _ in range(5))
    field, image, row, column = (traitlets.Int().tag(sync=True) for _ in range(4))
    width = Bounded(0.1, 0.01, 0.5)
    patch = traitlets.Enum([1, 3, 5, 7], default_value=5).tag(sync=True)

    def __init__(
        self,
        images: Tensor,
        weights: Tensor | None = None,
        names: Sequence[str] | None = None,
        receptive_field: int = 5,
        **traits: float,
    ) -> None:
        images = checked("images", images, "N", "C", "h", "w").round(decimals=3)
        grid = images.shape[2:]
        if images.shape[1] not in (1, 3) or images.min() < 0 or images.max() > 1:
            got = f"{images.shape[1]} channels from {images.min():g} to {images.max():g}"
            raise ValueError(f"images must be grey or RGB in [0, 1], got {got}")
        if receptive_field < 1 or receptive_field % 2 == 0:
            raise ValueError(f"receptive_field must be odd and positive, got {receptive_field}")
        names = [f"image {i + 1}" for i in range(len(images))] if names is None else list(names)
        if len(names) != len(images):
            raise ValueError(f"{len(images)} images need as many names, got {names}")
        if weights is not None:
            weights, grid, keyed = _checked_weights(weights, len(images), grid)
        elif min(grid) < 5:
            raise ValueError(f"non-local means need at least 5 x 5 pixels, got {tuple(grid)}")
        held = {"images": images, "weights": [] if weights is None else weights, "names": names}
        held |= {"grid": list(grid), "keyed": list(grid if weights is None else keyed)}
        start = {"row": (grid[0] - 1) // 2, "column": (grid[1] - 1) // 2} | traits
        super().__init__(**held, field=receptive_field, **start)
        if self.weights:
            self.driven = self.driven[:3]
            self.set_trait("slug", "pixel-attention-learned")
            self.set_trait("title", "Where does a place look, and what would a convolution see?")

    @traitlets.validate("image", "row", "column")
    def _in_range(self, proposal) -> int:
        counts = {"image": len(self.images), "row": self.grid[0], "column": self.grid[1]}
        return between(proposal.trait.name, proposal.value, 0, counts[proposal.trait.name] - 1)

    def shown(self) -> Tensor:
        """The weights (S,) that the chosen place gives the keys, in double precision."""
        place = self.row * self.grid[1] + self.column
        if self.weights:
            return torch.tensor(self.weights[self.image][place], dtype=torch.float64)
        image = torch.tensor(self.images[self.image], dtype=torch.float64)
        return non_local_means(image, self.patch, self.width, need_weights=True)[1][place]

    def describe(self) -> str:
        """What the place gives itself, where else it looks most, and how much of that a convolution misses."""
        weights, (rows, columns), k = self.shown(), self.keyed, self.field
        pool, at = self.grid[0] // rows, torch.tensor([self.row, self.column])
        places = pool * torch.cartesian_prod(torch.arange(rows), torch.arange(columns))  # (S, 2)
        reached = ((places <= at + k // 2) & (places + pool > at - k // 2)).all(dim=1)
        own = min(self.row // pool, rows - 1) * columns + min(self.column // pool, columns - 1)
        most = weights.index_fill(0, torch.tensor(own), -1).numpy().argmax()
        named = "row {}, column {}" if pool == 1 else "rows {}–{}, columns {}–{}"
        r, c = (places[most] + 1).tolist()
        there = named.format(*((r, c) if pool == 1 else (r, r + pool - 1, c, c + pool - 1)))
        kernel = f"Width {self.width:.2f}, patches of {self.patch} × {self.patch}: the pixel"
        said = [f"{100 * w:.1f} %" for w in (weights[own], weights[most], weights[~reached].sum())]
        return (
            f"{'The place' if self.weights else kernel} in row {self.row + 1}, column {self.column + 1} gives itself "
            f"{said[0]} of its weight and, elsewhere, most to {there}: {said[1]}. A convolution of {k} × {k} "
            f"would {'' if reached[most] else 'not '}reach it; {said[2]} of the weight lies beyond."
        )

    def draw(self, figure: Figure) -> None:
        """The image under the weights of the place; beside it, lit, what a convolution reads."""
        image = torch.tensor(self.images[self.image]).movedim(0, 2)  # (h, w, C)
        share, (rows, columns) = self.shown().reshape(self.keyed), self.grid
        share = (share / share.max()).numpy()
        down, across = (rows // self.keyed[0] * n + 0.5 for n in self.keyed)
        lit = [
            (torch.arange(n) * places // n - at).abs() <= self.field // 2
            for n, places, at in zip(image.shape, self.grid, (self.row, self.column), strict=False)
        ]
        shade = 0.35 + 0.65 * (lit[0][:, None] & lit[1])[..., None]
        grey = 0.6 * image.mean(dim=2, keepdim=True)
        axes = figure.subplots(1, 2)
        for ax, shown in zip(axes, (grey, image * shade), strict=True):
            ax.imshow(shown.expand(-1, -1, 3).numpy(), extent=(0.5, columns + 0.5, rows + 0.5, 0.5))
            corner = (self.column + 0.5, self.row + 0.5)
            ax.add_patch(Rectangle(corner, 1, 1, fill=False, ec="#ff5e5e", lw=2))
            ax.set(xlabel="column", ylabel="row")
            ax.locator_params(integer=True)  # rows and columns count from 1, as in the sentence
        axes[0].imshow(share, alpha=share, extent=(0.5, across, down, 0.5))
        axes[0].set(xlim=(0.5, columns + 0.5), ylim=(rows + 0.5, 0.5))
