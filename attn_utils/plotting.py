"""Figures that every chapter draws the same way: one style, one look for heatmaps."""

import functools
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from IPython import get_ipython
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib_inline.backend_inline import set_matplotlib_formats
from torch import Tensor


def use_book_style() -> None:
    """Set the book's look for all figures that follow: colour-blind palette, readable sizes.

    In notebooks the figures have twice the pixels, for fine screens.
    """
    sns.set_theme(style="ticks", palette="colorblind", font_scale=0.9)
    plt.style.use("attn_utils.book")  # book.mplstyle, beside this file
    if get_ipython():
        set_matplotlib_formats("retina")


def show_heatmaps(
    weights: Tensor | Sequence[Tensor],
    titles: Sequence[str] | None = None,
    xlabel: str = "key",
    ylabel: str = "query",
    xticks: Sequence | None = None,
    yticks: Sequence | None = None,
    panel_size: tuple[float, float] = (2.5, 2.6),
) -> Figure:
    """Draw matrices of attention weights side by side on one colour scale from 0 to the largest weight.

    Args:
        weights: one matrix (L, S), several (n, L, S), a grid of them (rows, columns, L, S), or a list
            of matrices of any sizes. Rows are queries, the first on top; columns are keys.
        titles: one for each matrix, row by row.
        xlabel: name of the columns.
        ylabel: name of the rows.
        xticks: a label for each column (words, positions); default: counting.
        yticks: a label for each row; default: counting.
        panel_size: width and height of one matrix in inches.

    Returns:
        The matplotlib figure.

    Raises:
        ValueError: nothing to draw, a matrix that is not 2-D, weights that are not finite, or labels whose
            number does not fit.
    """
    grid = _as_grid(weights)
    flat = [matrix for row in grid for matrix in row]
    if not flat:
        raise ValueError("there is nothing to draw: the list of matrices is empty")
    if titles is not None and len(titles) != len(flat):
        raise ValueError(f"got {len(titles)} titles for {len(flat)} matrices")
    rows, columns = len(grid), len(grid[0])
    size = (panel_size[0] * columns + 0.8, panel_size[1] * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    largest = max(matrix.max() for matrix in flat)
    for ax, matrix, title in zip(axes.flat, flat, titles or [""] * len(flat), strict=True):
        image = _draw(ax, matrix, largest)
        _label(ax.xaxis, xticks, matrix.shape[1], "xticks")
        _label(ax.yaxis, yticks, matrix.shape[0], "yticks")
        ax.set_title(title)
    for ax in axes[-1]:
        ax.set_xlabel(xlabel)
    for ax in axes[:, 0]:
        ax.set_ylabel(ylabel)
    figure.colorbar(image, ax=axes, label="attention weight", shrink=0.8)
    return figure


def show_alignment(
    weights: Tensor,
    source: Sequence[str],
    target: Sequence[str],
    gold: Sequence[tuple[int, int]] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw which source tokens each target token looks at, with the gold alignment outlined in white.

    Args:
        weights: (L, S). Rows are target tokens (queries), the first on top; columns are source tokens (keys).
        source: S tokens. A space is shown as ␣, and a token that no installed font can write as its position, #3.
        target: L tokens.
        gold: pairs of a source and a target position.
        ax: where to draw; default: a new figure, as large as the tokens need.

    Returns:
        The matplotlib figure.

    Raises:
        ValueError: the weights do not fit the tokens, or are not finite.
    """
    matrix, size = _as_matrix(weights), (len(target), len(source))
    if matrix.shape != size:
        raise ValueError(f"weights must be (target, source) = {size}, got {matrix.shape}")
    if ax is None:
        _, ax = plt.subplots(figsize=(2.8 + 0.26 * size[1], 1.6 + 0.24 * size[0]))
    image = _draw(ax, matrix, matrix.max())
    for s, t in gold or ():
        for ink, width in (("black", 3.5), ("white", 1.5)):
            ax.add_patch(Rectangle((s - 0.42, t - 0.42), 0.84, 0.84, fill=False, ec=ink, lw=width))
    _write_tokens(ax.xaxis, source, "source (keys)")
    _write_tokens(ax.yaxis, target, "target (queries)")
    if sum(len(token) > 2 for token in source) > 1:  # <eos> alone finds room
        ax.tick_params(axis="x", rotation=90)
    ax.figure.colorbar(image, ax=ax, label="attention weight")
    return ax.figure


def _draw(ax: Axes, matrix: np.ndarray, largest: float) -> AxesImage:
    """One matrix in the look of all heatmaps, the brightest colour for the largest weight."""
    sns.despine(ax=ax, left=True, bottom=True)
    return ax.imshow(matrix, vmin=0, vmax=largest or 1, aspect="auto")


def _write_tokens(axis: Axis, tokens: Sequence[str], name: str) -> None:
    """Every token along one axis; `#3` stands for one with letters that no font has."""
    tokens = [token if token.strip() else "␣" for token in tokens]
    fonts, missing = _fonts_for(frozenset("".join(tokens)))
    labels = [f"#{i}" if missing & set(token) else token for i, token in enumerate(tokens)]
    families, size = [*plt.rcParams["font.family"], *fonts], 9 if len(tokens) <= 20 else 7
    axis.set_ticks(range(len(tokens)), labels, fontfamily=families, fontsize=size)
    axis.set_label_text(f"{name}, # = position" if missing else name)


@functools.cache
def _fonts_for(letters: frozenset[str]) -> tuple[list[str], set[str]]:
    """Fonts for the letters that the default font lacks, and the letters that no font has."""

    def without(path: str, letters: frozenset[str]) -> set[str]:
        return letters - set(map(chr, font_manager.get_font(path).get_charmap()))

    fonts, missing = [], without(font_manager.findfont(font_manager.FontProperties()), letters)
    for font in font_manager.fontManager.ttflist if missing else ():
        # The font of last resort has a box for every letter.
        if "Last Resort" not in font.name and (rest := without(font.fname, missing)) != missing:
            fonts, missing = [*fonts, font.name], rest
    return fonts, missing


def _as_grid(weights: Tensor | Sequence[Tensor]) -> list[list[np.ndarray]]:
    """Rows of matrices, whatever of the permitted forms came in."""
    if not isinstance(weights, Tensor):
        return [[_as_matrix(matrix) for matrix in weights]]
    if not 2 <= weights.ndim <= 4:
        raise ValueError(f"weights must have 2 to 4 dimensions, got {tuple(weights.shape)}")
    grid = weights.reshape((1,) * (4 - weights.ndim) + weights.shape)  # (rows, columns, L, S)
    return [[_as_matrix(matrix) for matrix in row] for row in grid]


def _as_matrix(weights: Tensor) -> np.ndarray:
    """Weights (L, S) for matplotlib, after checking that they can be drawn."""
    matrix = torch.as_tensor(weights).detach().float().cpu().numpy()
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"each matrix must be 2-D and not empty, got shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("weights hold NaN or infinity; was a row without any key normalised?")
    return matrix


def _label(axis: Axis, labels: Sequence | None, length: int, name: str) -> None:
    """Write the labels along one axis, thinned where they would run into each other."""
    if labels is None:
        return
    if len(labels) != length:
        raise ValueError(f"{name} has {len(labels)} labels for {length} positions")
    step = max(1, round(length / 8)) if length > 16 else 1
    axis.set_ticks(range(0, length, step), [str(label) for label in labels[::step]])


# Architecture, its query, key and value, and the chapter that builds it.
ROLES = {
    "kernel pooling": ("the place asked about", "the places observed", "what was observed there", "1-2"),
    "Bahdanau's decoder": ("its previous state", "each state of the encoder", "the same states", "7"),
    "Luong's decoder": ("its current state", "each state of the encoder", "the same states", "7"),
    "encoder self-attention": ("each position of a sentence", "all positions of it", "all positions of it", "8-10"),
    "decoder self-attention": ("each position of the output", "the positions up to it", "the positions up to it", "10"),
    "cross-attention": ("each position of the output", "each position of the encoder", "the same positions", "10"),
    "non-local means": ("the patch around a pixel", "the patches around all pixels", "the pixels", "12"),
    "self-attention on images": ("each pixel's features", "all pixels' features", "all pixels' features", "12"),
    "Vision Transformer": ("each patch and the class token", "all of them", "all of them", "13"),
}  # fmt: skip


class RolesTable:
    """Who is query, key and value in every architecture of the book, with one row marked.

    Args:
        here: a name from ``ROLES``: the row to mark; None marks none.

    Raises:
        ValueError: the name is unknown.
    """

    def __init__(self, here: str | None = None) -> None:
        if here is not None and here not in ROLES:
            raise ValueError(f"unknown architecture {here!r}; known are {', '.join(ROLES)}")
        self.here = here

    def __repr__(self) -> str:
        return "\n".join(
            f"{'>' if name == self.here else ' '} {name}: query = {query}; key = {key}; value = {value}"
            for name, (query, key, value, _) in ROLES.items()
        )

    def _repr_html_(self) -> str:
        titles = ("architecture", "query", "key", "value", "chapter")
        head = "".join(f'<th scope="col">{title}</th>' for title in titles)
        rows = ""
        for name, cells in ROLES.items():
            here = name == self.here
            mark = ' aria-current="true" style="font-weight: bold"' if here else ""
            data = "".join(f"<td>{cell}</td>" for cell in cells)
            rows += f'<tr{mark}><th scope="row">{"▸ " * here}{name}</th>{data}</tr>'
        return f'<table class="table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
