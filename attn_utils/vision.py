"""Attention over the places of an image.

Shapes: ``B`` images, ``C`` channels, ``h`` rows and ``w`` columns of an image or a grid of features.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attn_utils.attention import scaled_dot_product_attention
from attn_utils.kernels import gaussian, nadaraya_watson
from attn_utils.masking import Dropout
from attn_utils.transformer import TransformerEncoderLayer

_LARGEST = 10.0  # noise takes an image out of [0, 1], but not so far


def non_local_means(
    image: Tensor,
    patch: int = 5,
    width: float = 0.1,
    window: int | None = None,
    need_weights: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Replace each pixel by the mean of the pixels whose surroundings look like its own.

    This is ``nadaraya_watson`` with a Gaussian kernel: key and query of a pixel are the patch around it, its value is
    the pixel. The distance of two patches is the root of their mean squared difference, in which the centre counts
    most: a Gaussian of standard deviation (patch - 1) / 4 pixels. At the border the image is mirrored.

    Args:
        image: (C, h, w), floating, scaled to [0, 1] (noise may leave it a little).
        patch: side of a patch in pixels, odd.
        width: of the kernel, in the unit of the image. scikit-image's ``h`` is √2 times as much.
        window: side of the square of pixels, odd, that each pixel is compared with; needs a few times the memory of
            the image. None compares with all h · w.
        need_weights: return the weights; only without a window.

    Returns:
        The image, denoised, (C, h, w), and the weights (h · w, h · w), rows summing to 1, or None.

    Raises:
        TypeError: the image is not a floating tensor.
        ValueError: a shape, a size or a width that cannot be, values that are not finite or not scaled to [0, 1], or
            weights wanted of a window.

    Source:
        Buades, Coll and Morel (2005), A Non-Local Algorithm for Image Denoising, section 3.
    """
    _check_image(image, patch, width, window)
    offsets = torch.arange(patch, dtype=image.dtype, device=image.device) - patch // 2
    line = gaussian(offsets / (max(patch - 1, 1) / 4))
    line = line / line.sum()  # (p,), how much each row or column of a patch counts
    padded = F.pad(image, [patch // 2] * 4, mode="reflect")  # (C, h + p - 1, w + p - 1)
    if window is not None:
        if need_weights:
            raise ValueError(f"weights are returned without a window only, got window {window}")
        return _in_window(image, padded, line, width, window // 2), None
    patches = F.unfold(padded[None], patch)[0].unflatten(0, (len(image), -1))  # (C, p², h · w)
    share = torch.outer(line, line).flatten() / len(image)  # (p²,)
    points = (patches * share.sqrt()[:, None]).flatten(0, 1).T  # (h · w, C · p²)
    pixels = image.flatten(1).T  # (h · w, C)
    estimate, weights = nadaraya_watson(
        points, points, pixels, "gaussian", width, need_weights=need_weights
    )
    return estimate.T.reshape(image.shape), weights


class SelfAttention2d(nn.Module):
    """Each place of a grid asks all places, and adds the answer to itself.

    Convolutions of size 1 make a query, a key and a value of each place; one more maps the mixed values back.

    Args:
        channels: C of the grid.
        key_channels: of queries and keys; default C / 8, at least 1.
        value_channels: of values; default C / 2, at least 1.
        residual_gate: multiply the answer by one learned number that starts at 0, so that the block starts as the
            identity; False adds the answer as it is.
        pool: keys and values are the largest of squares of so many places a side; 1 keeps all.

    Raises:
        ValueError: a number less than 1.

    Source:
        Wang et al. (2018), Non-local Neural Networks, sections 3.2 and 3.3 (with softmax: "embedded Gaussian"); the
        gate: Zhang et al. (2019), Self-Attention GANs, section 3. Both leave the dot product unscaled.
    """

    def __init__(
        self,
        channels: int,
        key_channels: int | None = None,
        value_channels: int | None = None,
        residual_gate: bool = True,
        pool: int = 1,
    ) -> None:
        super().__init__()
        key_channels = max(1, channels // 8) if key_channels is None else key_channels
        value_channels = max(1, channels // 2) if value_channels is None else value_channels
        if min(channels, key_channels, value_channels, pool) < 1:
            got = f"{channels=}, {key_channels=}, {value_channels=}, {pool=}"
            raise ValueError(f"all sizes must be at least 1, got {got}")
        self.pool = pool
        self.q_proj = nn.Conv2d(channels, key_channels, 1)
        self.k_proj = nn.Conv2d(channels, key_channels, 1)
        self.v_proj = nn.Conv2d(channels, value_channels, 1)
        self.out_proj = nn.Conv2d(value_channels, channels, 1)
        self.gate = nn.Parameter(torch.zeros(())) if residual_gate else None

    def forward(self, x: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        """Attend over the grid.

        Args:
            x: (B, C, h, w), floating.
            need_weights: False never holds the map, in the backward pass either.

        Returns:
            The grid (B, C, h, w) and the weights (B, h · w, S), or None; S = h · w, or ⌊h / pool⌋ · ⌊w / pool⌋.

        Raises:
            ValueError: a shape that does not fit, or a grid smaller than one square of ``pool``.
        """
        _check_grid(x, self.q_proj.in_channels, self.pool)
        pooled = (F.max_pool2d(proj(x), self.pool) for proj in (self.k_proj, self.v_proj))
        q, k, v = (grid.flatten(2).transpose(1, 2) for grid in (self.q_proj(x), *pooled))
        mixed, weights = scaled_dot_product_attention(q, k, v, need_weights=need_weights)
        answer = self.out_proj(mixed.transpose(1, 2).unflatten(2, x.shape[2:]))  # (B, C, h, w)
        return x + (answer if self.gate is None else self.gate * answer), weights


class AttentionCNN(nn.Module):
    """Convolutions with one attention among them, the mean over all places, a linear map to the classes.

    Args:
        in_channels: of the images.
        num_classes: V classes.
        channels: of each 3 x 3 convolution before the attention; from the second on, each halves the grid first.
        attention: False puts two convolutions of as many parameters, with the same residual connection, in place of
            the attention.
        pool: of the attention, as in `SelfAttention2d`.

    Source:
        Wang et al. (2018), section 4, put such blocks between the stages of a convolutional network.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        channels: tuple[int, ...] = (32, 64),
        attention: bool = True,
        pool: int = 1,
    ) -> None:
        super().__init__()
        sizes = zip((in_channels, *channels), channels, strict=False)
        stages = [stage for size in sizes for stage in (nn.MaxPool2d(2), *_stage(*size))]
        self.before = nn.Sequential(*stages[1:])  # the first does not halve
        width = channels[-1]
        self.block = SelfAttention2d(width, pool=pool)
        if not attention:
            self.block = _Local(width, sum(p.numel() for p in self.block.parameters()))
        self.after = nn.Sequential(*_stage(width, width))
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        """Classify images.

        Args:
            x: (B, in_channels, h, w).
            need_weights: return the weights of the attention.

        Returns:
            Logits (B, num_classes) and the weights (B, h' · w', S) over the places of the halved grid, or None.
        """
        x, weights = self.block(self.before(x), need_weights)  # (B, C, h', w')
        return self.head(self.after(x).mean(dim=(2, 3))), weights


class VisionTransformer(nn.Module):
    """Patches as the words of a sentence, read by a Transformer's encoder; a class token answers for the image.

    Args:
        image_size: h and w, multiples of ``patch``.
        patch: side of a patch in pixels.
        in_channels: of the images.
        num_classes: V classes.
        embed_dim: E features.
        num_heads: H, a divisor of embed_dim.
        num_layers: encoder layers, normalised first.
        ffn_dim: features inside the feed-forward networks.
        dropout: as in `TransformerEncoderLayer`, and on the embeddings.

    Raises:
        ValueError: sizes that do not fit.

    Source:
        Dosovitskiy et al. (2021), An Image is Worth 16x16 Words, section 3.1.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        patch: int,
        in_channels: int,
        num_classes: int,
        embed_dim: int = 64,
        num_heads: int = 4,
        num_layers: int = 4,
        ffn_dim: int = 128,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        rows, columns = image_size
        if rows % patch or columns % patch:
            raise ValueError(f"patch {patch} must divide image_size {tuple(image_size)}")
        self.image_size = tuple(image_size)
        self.patches = nn.Conv2d(in_channels, embed_dim, patch, stride=patch)
        self.class_token = nn.Parameter(0.02 * torch.randn(embed_dim))
        places = 1 + (rows // patch) * (columns // patch)
        self.positions = nn.Parameter(0.02 * torch.randn(places, embed_dim))
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            TransformerEncoderLayer(embed_dim, num_heads, ffn_dim, dropout)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(embed_dim)
        self.head = nn.Linear(embed_dim, num_classes)

    def forward(self, x: Tensor, need_weights: bool = False) -> tuple[Tensor, list[Tensor] | None]:
        """Classify images.

        Args:
            x: (B, in_channels, h, w).
            need_weights: return the weights of every layer.

        Returns:
            Logits (B, num_classes) and for each layer the weights (B, H, 1 + n, 1 + n), or None; token 0 is the class
            token, tokens 1 to n are the patches, row by row.

        Raises:
            ValueError: images of another shape.
        """
        wanted = (self.patches.in_channels, *self.image_size)
        if x.shape[1:] != wanted:
            raise ValueError(f"each image must be {wanted}, got a batch {tuple(x.shape)}")
        tokens = self.patches(x).flatten(2).transpose(1, 2)  # (B, n, E)
        tokens = torch.cat([self.class_token.expand(len(x), 1, -1), tokens], dim=1)  # (B, 1 + n, E)
        tokens, maps = self.dropout(tokens + self.positions), []
        for layer in self.layers:
            tokens, weights = layer(tokens, need_weights=need_weights)
            maps.append(weights)
        return self.head(self.norm(tokens[:, 0])), maps if need_weights else None


class _Local(nn.Module):
    """What stands in for an attention: it sees only the places around, with about as many parameters."""

    def __init__(self, channels: int, parameters: int) -> None:
        super().__init__()
        inner = round((parameters - channels) / (10 * channels + 1))
        self.convs = nn.Sequential(
            nn.Conv2d(channels, inner, 3, padding=1), nn.ReLU(), nn.Conv2d(inner, channels, 1)
        )

    def forward(self, x: Tensor, need_weights: bool = False) -> tuple[Tensor, None]:
        return x + self.convs(x), None


def _stage(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]


def _in_window(image: Tensor, padded: Tensor, line: Tensor, width: float, reach: int) -> Tensor:
    """Non-local means over a square: one pass over the whole image for each offset within it."""
    itself = gaussian(image.new_zeros(()))
    total, norm = image * itself, torch.ones_like(image[:1]) * itself
    for dy, dx in _offsets(min(reach, image.shape[1] - 1), min(reach, image.shape[2] - 1)):
        one, other = _overlap(padded, dy, dx)
        squared = (one - other).square().mean(dim=0, keepdim=True)
        squared = F.conv2d(squared, line[None, None, :, None])
        squared = F.conv2d(squared, line[None, None, None, :])  # (1, h - |dy|, w - |dx|)
        weight = gaussian(squared.sqrt() / width)
        # Two pixels weigh the same for each other, so half of the offsets serve for all.
        for grid, values in ((total, image), (norm, torch.ones_like(norm))):
            to_one, to_other = _overlap(grid, dy, dx)
            from_one, from_other = _overlap(values, dy, dx)
            to_one += weight * from_other
            to_other += weight * from_one
    return total / norm


def _offsets(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Half of the steps to other pixels, so many rows and columns away at most; the other half are their opposites."""
    yield from ((0, dx) for dx in range(1, columns + 1))
    yield from ((dy, dx) for dy in range(1, rows + 1) for dx in range(-columns, columns + 1))


def _overlap(grid: Tensor, dy: int, dx: int) -> tuple[Tensor, Tensor]:
    """The places of a grid (…, h, w) that have another (dy, dx) away, and those others; dy is at least 0."""
    rows, columns = grid.shape[-2] - dy, grid.shape[-1] - abs(dx)
    left, right = max(0, -dx), max(0, dx)
    one = grid[..., :rows, left : left + columns]
    return one, grid[..., dy:, right : right + columns]


def _check_image(image: Tensor, patch: int, width: float, window: int | None) -> None:
    if not isinstance(image, Tensor) or not image.is_floating_point():
        raise TypeError(
            f"image must be a floating tensor, got {getattr(image, 'dtype', type(image).__name__)}"
        )
    for name, side in (("patch", patch), ("window", 1 if window is None else window)):
        if side < 1 or side % 2 == 0:
            raise ValueError(f"{name} must be odd and at least 1, got {side}")
    if image.ndim != 3 or min(image.shape) < 1 or min(image.shape[1:]) <= patch // 2:
        raise ValueError(
            f"image must be (C, h, w) with h and w more than half of patch {patch}, got {tuple(image.shape)}"
        )
    if not width > 0:
        raise ValueError(f"width must be positive, got {width}")
    low, high = image.min().item(), image.max().item()
    if not -_LARGEST <= low <= high <= _LARGEST:
        raise ValueError(
            f"image must be finite and scaled to [0, 1], got values from {low:g} to {high:g}"
        )


def _check_grid(x: Tensor, channels: int, pool: int) -> None:
    if x.ndim != 4 or x.shape[1] != channels:
        raise ValueError(f"the grid must be (B, {channels}, h, w), got {tuple(x.shape)}")
    if min(x.shape[2:]) < pool:
        raise ValueError(f"a grid {tuple(x.shape[2:])} has no square of pool {pool}")
