"""Attention over images against plain loops, scikit-image and the attention of the other chapters; bad input."""

from __future__ import annotations

import itertools
import math
import struct

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from attn_utils.attention import scaled_dot_product_attention
from attn_utils.data import digits
from attn_utils.kernels import nadaraya_watson
from attn_utils.training import classification_loss
from attn_utils.vision import AttentionCNN, SelfAttention2d, VisionTransformer, non_local_means

BOTH = pytest.mark.parametrize("need_weights", [True, False], ids=["explicit", "fused"])


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def picture(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# ---- Non-local means ----------------------------------------------------------------------------


def mirrored(i, n):
    """The pixel that stands for number i of n where a border is a mirror."""
    return -i if i < 0 else 2 * (n - 1) - i if i >= n else i


def fast_exp(x):
    """scikit-image's exp, after Schraudolph (1999): up to 4 % off."""
    return struct.unpack("<d", struct.pack("<ii", 0, int(1512775.3951951856938 * x) + 1072632447))[
        0
    ]


def by_loops(image, patch, width, window=None, shortcuts=False):
    """The image and the weights (h * w, h * w), one pixel at a time; with scikit-image's shortcuts or without."""
    h, w = image.shape[1:]
    half, pixels = patch // 2, list(itertools.product(range(h), range(w)))
    reach, exp = math.inf if window is None else window // 2, fast_exp if shortcuts else math.exp
    spread = (patch - 1) / 4 or 1
    steps = list(itertools.product(range(-half, half + 1), repeat=2))
    counts = [math.exp(-(dy**2 + dx**2) / (2 * spread**2)) for dy, dx in steps]
    colours, weights = image.permute(1, 2, 0).tolist(), torch.zeros(h * w, h * w).double()
    for (i, (y, x)), (j, (v, u)) in itertools.product(enumerate(pixels), repeat=2):
        if max(abs(y - v), abs(x - u)) > reach:
            continue
        exponent = 0.0
        for count, (dy, dx) in zip(counts, steps, strict=True):
            if shortcuts and dx == -half and exponent > 5:
                exponent = math.inf
                break
            one = colours[mirrored(y + dy, h)][mirrored(x + dx, w)]
            other = colours[mirrored(v + dy, h)][mirrored(u + dx, w)]
            squared = sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) / len(one)
            exponent += count / sum(counts) * squared / (2 * width**2)
        weights[i, j] = 0 if exponent == math.inf else exp(-exponent)
    weights = weights / weights.sum(dim=1, keepdim=True)
    return (image.flatten(1) @ weights.T).reshape(image.shape), weights


CASES = [
    ((1, 3, 5), 1, None),
    ((1, 4, 6), 3, None),
    ((3, 5, 3), 3, None),
    ((2, 3, 4), 5, None),
    ((1, 6, 4), 3, 3),
    ((3, 3, 6), 3, 5),
    ((1, 4, 3), 5, 3),
    ((3, 3, 4), 1, 3),
    ((1, 5, 4), 3, 99),
    ((1, 1, 4), 1, 3),
    ((1, 4, 5), 3, 1),
]


@pytest.mark.parametrize(("shape", "patch", "window"), CASES, ids=str)
@pytest.mark.parametrize("width", [0.05, 0.3])
def test_non_local_means_equals_loops(shape, patch, window, width):
    image = picture(*shape)
    before = image.clone()
    expected, weights = by_loops(image, patch, width, window)
    denoised, nothing = non_local_means(image, patch, width, window)
    assert nothing is None
    assert torch.equal(image, before), "the image was changed in place"
    torch.testing.assert_close(denoised, expected, atol=1e-9, rtol=0)
    single, _ = non_local_means(image.float(), patch, width, window)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, atol=2e-4, rtol=0)
    if window is None:
        denoised, got = non_local_means(image, patch, width, need_weights=True)
        torch.testing.assert_close(denoised, expected, atol=1e-9, rtol=0)
        torch.testing.assert_close(got, weights, atol=1e-9, rtol=0)


def test_non_local_means_is_kernel_pooling_of_patches():
    image = picture(1, 5, 6)
    flat = F.unfold(F.pad(image[None], [0] * 4), 1)[0].T  # (30, 1): patches of one pixel
    expected, weights = nadaraya_watson(flat, flat, flat, width=0.2)
    denoised, got = non_local_means(image, 1, 0.2, need_weights=True)
    torch.testing.assert_close(denoised.flatten(), expected.flatten())
    torch.testing.assert_close(got, weights)


def test_weights_of_non_local_means():
    _, weights = non_local_means(picture(3, 5, 7), 3, 0.2, need_weights=True)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(35).double())
    assert (weights.diagonal() == weights.amax(dim=1)).all(), "no pixel is more like it than itself"
    heights = weights / weights.diagonal()[:, None]
    torch.testing.assert_close(heights, heights.T)


@pytest.mark.parametrize("window", [None, 3, 99])
def test_a_constant_image_and_extreme_widths(window):
    even = torch.full((3, 5, 6), 0.3)
    torch.testing.assert_close(non_local_means(even, 3, 0.1, window)[0], even)
    image = picture(2, 5, 6)
    narrow, _ = non_local_means(image, 3, 1e-6, window)
    torch.testing.assert_close(narrow, image)
    wide, _ = non_local_means(image, 3, 1e6, window)
    if window == 3:
        ones = F.pad(torch.ones(1, 1, 5, 6).double(), [1] * 4)
        totals = F.avg_pool2d(F.pad(image, [1] * 4)[None], 3, 1) / F.avg_pool2d(ones, 3, 1)
        torch.testing.assert_close(wide, totals[0])
    else:
        torch.testing.assert_close(wide, image.mean(dim=(1, 2), keepdim=True).expand_as(image))


def test_a_window_over_everything_is_no_window():
    image = picture(3, 7, 10)
    everything, _ = non_local_means(image, 3, 0.2)
    for window in (19, 41):
        torch.testing.assert_close(non_local_means(image, 3, 0.2, window)[0], everything)
    assert (non_local_means(image, 3, 0.2, 17)[0] - everything).abs().max() > 1e-5


def scikit_image(image, patch, window, width):
    """Its slow mode, the exact one."""
    restoration = pytest.importorskip("skimage.restoration")
    grey = len(image) == 1
    plain = image[0] if grey else image.permute(1, 2, 0)
    denoised = restoration.denoise_nl_means(
        plain.numpy(), patch, window // 2, math.sqrt(2) * width, fast_mode=False, channel_axis=None if grey else 2
    )  # fmt: skip
    return torch.tensor(denoised)[None] if grey else torch.tensor(denoised).permute(2, 0, 1)


@pytest.mark.parametrize(
    ("shape", "patch", "window"), [((1, 7, 9), 5, 7), ((3, 8, 6), 3, 5), ((1, 4, 6), 3, 13)]
)
@pytest.mark.parametrize("width", [0.1, 0.4])
def test_scikit_image_agrees(shape, patch, window, width):
    """It approximates exp and gives up where a patch is far: both shortcuts together are the whole difference."""
    image = picture(*shape)
    ours, _ = non_local_means(image, patch, width, window)
    theirs = scikit_image(image, patch, window, width)
    torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0)
    assert (ours - image).abs().max() > 0.04
    with_shortcuts, _ = by_loops(image, patch, width, window, shortcuts=True)
    torch.testing.assert_close(with_shortcuts, theirs, atol=1e-6, rtol=0)
    without, _ = by_loops(image, patch, width, window)
    torch.testing.assert_close(without, ours, atol=1e-9, rtol=0)


zeros = torch.zeros


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize(
    ("image", "options", "error", "message"),
    [
        (zeros(1, 4, 5, dtype=torch.uint8), {}, TypeError, "floating tensor, got torch.uint8"),
        ([[0.0]], {}, TypeError, "floating tensor, got list"),
        (zeros(1, 4, 5).numpy(), {}, TypeError, "floating tensor, got float32"),
        (zeros(4, 5), {}, ValueError, r"\(C, h, w\) .* got \(4, 5\)"),
        (zeros(1, 1, 4, 5), {}, ValueError, r"got \(1, 1, 4, 5\)"),
        (zeros(0, 4, 5), {}, ValueError, r"got \(0, 4, 5\)"),
        (zeros(1, 2, 9), {"patch": 5}, ValueError, r"half of patch 5, got \(1, 2, 9\)"),
        (zeros(1, 9, 2), {"patch": 5}, ValueError, r"half of patch 5, got \(1, 9, 2\)"),
        (zeros(1, 4, 5), {"patch": 2}, ValueError, "patch must be odd .* got 2"),
        (zeros(1, 4, 5), {"patch": -1}, ValueError, "patch must be odd .* got -1"),
        (zeros(1, 4, 5), {"width": 0.0}, ValueError, "width must be positive, got 0.0"),
        (zeros(1, 4, 5), {"width": -1.0}, ValueError, "got -1.0"),
        (zeros(1, 4, 5), {"width": math.nan}, ValueError, "width .* got nan"),
        (torch.full((1, 4, 5), torch.nan), {}, ValueError, "finite .* from nan to nan"),
        (torch.full((1, 4, 5), torch.inf), {}, ValueError, "from inf to inf"),
        (torch.full((1, 4, 5), 255.0), {}, ValueError, r"\[0, 1\], got values from 255 to 255"),
        (torch.full((1, 4, 5), -255.0), {}, ValueError, "got values from -255 to -255"),
        (torch.full((1, 4, 5), 10.1), {}, ValueError, "got values from 10.1 to 10.1"),
        (torch.full((1, 4, 5), -10.1), {}, ValueError, "got values from -10.1 to -10.1"),
    ],
)  # fmt: skip
def test_non_local_means_refuses(image, options, error, message, window):
    with pytest.raises(error, match=message):
        non_local_means(image, **{"patch": 3, **options}, window=window)


def test_non_local_means_unless_told_otherwise():
    image = picture(1, 7, 6)
    expected, _ = non_local_means(image, 5, 0.1)
    denoised, nothing = non_local_means(image)
    assert torch.equal(denoised, expected)
    assert nothing is None


@pytest.mark.parametrize("window", [2, 0, -3])
def test_non_local_means_refuses_a_window(window):
    with pytest.raises(ValueError, match=f"window must be odd and at least 1, got {window}"):
        non_local_means(zeros(1, 4, 5), 3, window=window)
    with pytest.raises(ValueError, match="without a window only, got window 3"):
        non_local_means(zeros(1, 4, 5), 3, window=3, need_weights=True)


def test_non_local_means_takes_noise_beyond_the_range():
    noisy = draw(1, 6, 6)
    assert noisy.min() < 0 < 1 < noisy.max()
    assert non_local_means(noisy, 3, 0.5)[0].isfinite().all()
    extreme = torch.tensor([-10.0, 10.0]).expand(1, 3, 2)
    assert non_local_means(extreme, 3, 0.5)[0].isfinite().all()


# ---- Self-attention over a grid -----------------------------------------------------------------

SHAPES = [
    ((2, 6, 3, 5), {"key_channels": 2, "value_channels": 4}),
    ((2, 6, 5, 3), {"key_channels": 4, "value_channels": 2, "residual_gate": False}),
    ((1, 8, 4, 7), {"pool": 2}),
    ((3, 5, 5, 7), {"pool": 2, "key_channels": 3, "value_channels": 7, "residual_gate": False}),
    ((2, 3, 1, 4), {}),
    ((1, 4, 6, 9), {"pool": 3, "key_channels": 4, "value_channels": 4}),
]
each_shape = pytest.mark.parametrize(("shape", "options"), SHAPES, ids=str)


def block(shape, options, seed=0, gate=0.7):
    """A block in double precision whose gate is open, and a grid."""
    torch.manual_seed(seed)
    made = SelfAttention2d(shape[1], **options).double()
    if made.gate is not None:
        nn.init.constant_(made.gate, gate)
    return made, draw(*shape, seed=seed)


def linear(conv, vector):
    """A convolution of size 1 at one place."""
    return conv.weight[:, :, 0, 0] @ vector + conv.bias


def grid_by_loops(made, x):
    """The grid and the weights, one place at a time."""
    y, maps = x.clone(), []
    gate = 1.0 if made.gate is None else made.gate
    h, w, pool = *x.shape[2:], made.pool
    for b, image in enumerate(x):
        squares = [
            [(pool * r + i, pool * c + j) for i, j in itertools.product(range(pool), repeat=2)]
            for r, c in itertools.product(range(h // pool), range(w // pool))
        ]
        keys, values = (
            [torch.stack([linear(proj, image[:, r, c]) for r, c in square]).amax(0) for square in squares]
            for proj in (made.k_proj, made.v_proj)
        )  # fmt: skip
        rows = []
        for r, c in itertools.product(range(h), range(w)):
            query = linear(made.q_proj, image[:, r, c])
            scores = torch.stack([query @ key for key in keys]) / len(query) ** 0.5
            rows.append(scores.exp() / scores.exp().sum())
            mixed = sum(p * value for p, value in zip(rows[-1], values, strict=True))
            y[b, :, r, c] = image[:, r, c] + gate * linear(made.out_proj, mixed)
        maps.append(torch.stack(rows))
    return y, torch.stack(maps)


@each_shape
def test_grid_equals_loops(shape, options):
    made, x = block(shape, options)
    with torch.no_grad():
        expected, weights = grid_by_loops(made, x)
        y, got = made(x, need_weights=True)
        fused, nothing = made(x)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(got, weights)
    torch.testing.assert_close(fused, expected)
    assert nothing is None


@BOTH
@each_shape
def test_grid_is_attention_over_its_places(shape, options, need_weights):
    made, x = block(shape, options)
    q = made.q_proj(x)
    k, v = (F.max_pool2d(proj(x), made.pool) for proj in (made.k_proj, made.v_proj))
    mixed, weights = scaled_dot_product_attention(*(grid.flatten(2).mT for grid in (q, k, v)))
    mixed = mixed.mT.reshape(len(x), -1, *x.shape[2:])
    gate = 1 if made.gate is None else made.gate
    y, got = made(x, need_weights)
    torch.testing.assert_close(y, x + gate * made.out_proj(mixed))
    if need_weights:
        torch.testing.assert_close(got, weights)


def test_the_place_in_row_r_and_column_c_is_number_r_times_w_plus_c():
    made, x = block((1, 4, 3, 5), {"key_channels": 1, "value_channels": 1})
    with torch.no_grad():
        for proj in (made.q_proj, made.k_proj):
            proj.weight.fill_(1)
            proj.bias.zero_()
        x = torch.zeros_like(x)
        x[0, :, 1, 4] = 5  # a query and a key that find each other
        _, weights = made(x, need_weights=True)
    assert weights[0, 1 * 5 + 4].argmax() == 1 * 5 + 4
    assert weights[0, 9, 9] > 0.99
    torch.testing.assert_close(weights[0, 0], torch.full((15,), 1 / 15).double())


@each_shape
def test_both_paths_have_the_same_gradients(shape, options):
    made, x = block(shape, options, seed=1)
    towards = draw(*shape, seed=2)

    def gradients(need_weights):
        image = x.clone().requires_grad_()
        y, _ = made(image, need_weights)
        return [y, *torch.autograd.grad(y, [image, *made.parameters()], towards)]

    for one, other in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(one, other)


def test_gradients_by_differences():
    made, x = block((2, 3, 2, 3), {"key_channels": 2})
    assert torch.autograd.gradcheck(lambda grid: made(grid)[0], x.requires_grad_())


@BOTH
@pytest.mark.parametrize("pool", [1, 2])
def test_permuting_places_permutes_the_answers(need_weights, pool):
    """Attention knows no places: squares (single places without pooling) may be shuffled."""
    made, x = block((2, 6, 4, 6), {"pool": pool})
    order = torch.randperm(24 // pool**2, generator=torch.Generator().manual_seed(0))
    size = {"kernel_size": pool, "stride": pool}

    def shuffle(grid):
        return F.fold(F.unfold(grid, **size)[..., order], (4, 6), **size)

    with torch.no_grad():
        y, weights = made(x, need_weights)
        shuffled, moved = made(shuffle(x), need_weights)
    torch.testing.assert_close(shuffled, shuffle(y))
    if need_weights and pool == 1:
        torch.testing.assert_close(moved, weights[:, order][..., order])


@BOTH
def test_images_of_a_batch_do_not_see_each_other(need_weights):
    made, x = block((3, 6, 4, 3), {})
    y, _ = made(x, need_weights)
    for one, alone in zip(x, y, strict=True):
        torch.testing.assert_close(made(one[None], need_weights)[0][0], alone)


@BOTH
def test_a_closed_gate_is_the_identity_and_only_the_gate_learns(need_weights):
    torch.manual_seed(0)
    made, x = SelfAttention2d(8), draw(2, 8, 4, 5, dtype=torch.float32)
    y, _ = made(x, need_weights)
    assert torch.equal(y, x)
    (y * draw(2, 8, 4, 5, seed=1, dtype=torch.float32)).sum().backward()
    for name, parameter in made.named_parameters():
        assert (parameter.grad.abs().max() > 1e-3) == (name == "gate"), name


@BOTH
def test_without_a_gate_everything_learns(need_weights):
    torch.manual_seed(0)
    made, x = SelfAttention2d(8, residual_gate=False), draw(2, 8, 4, 5, dtype=torch.float32)
    assert made.gate is None
    assert "gate" not in dict(made.named_parameters())
    y, _ = made(x, need_weights)
    assert (y - x).abs().max() > 1e-3
    (y * draw(2, 8, 4, 5, seed=1, dtype=torch.float32)).sum().backward()
    for name, parameter in made.named_parameters():
        # A bias of the keys adds the same to all scores of a query: the softmax does not notice.
        assert (parameter.grad.abs().max() > 1e-4) == (name != "k_proj.bias"), name


def test_default_sizes():
    def sizes(made):
        return [p.out_channels for p in (made.q_proj, made.k_proj, made.v_proj, made.out_proj)]

    assert sizes(SelfAttention2d(64)) == [8, 8, 32, 64]
    assert sizes(SelfAttention2d(3)) == [1, 1, 1, 3]
    assert sizes(SelfAttention2d(64, 5, 7)) == [5, 5, 7, 64]


@BOTH
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_dtypes(dtype, need_weights):
    made, x = block((1, 8, 3, 4), {})
    y, weights = made.to(dtype)(x.to(dtype), need_weights)
    assert y.dtype == dtype
    assert y.shape == x.shape
    assert weights is None or weights.dtype == dtype


def saved_bytes(side, need_weights):
    """What the forward pass keeps for the backward pass."""
    made, sizes = SelfAttention2d(8), {}
    x = torch.randn(1, 8, side, 2 * side)

    def note(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        y, _ = made(x, need_weights)
    assert y.requires_grad
    return sum(sizes.values())


def test_what_is_kept_grows_with_the_places_not_with_their_square():
    small, large = (saved_bytes(side, need_weights=False) for side in (32, 64))
    assert large / small < 4.5
    small, large = (saved_bytes(side, need_weights=True) for side in (32, 64))
    assert large / small > 12


class Largest(TorchDispatchMode):
    """Notes the largest tensor that anything makes, forward and backward."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for x in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(x, torch.Tensor):
                self.size = max(self.size, x.untyped_storage().nbytes())
        return made


@pytest.mark.parametrize("shape", [(1, 16, 48, 96), (80, 8, 16, 16)], ids=str)
def test_the_map_is_never_made(shape):
    """One large map of 85 MB, or many small ones of 21 MB together."""
    largest = {}
    for need_weights in (True, False):
        with Largest() as seen:
            y, _ = SelfAttention2d(shape[1])(torch.randn(shape), need_weights)
            y.square().sum().backward()
        largest[need_weights] = seen.size
    assert largest[True] == 4 * shape[0] * (shape[2] * shape[3]) ** 2
    assert largest[False] < 3e6


@pytest.mark.parametrize("sizes", [(0,), (4, 0), (4, None, 0), (4, None, None, True, 0)])
def test_grid_refuses_sizes(sizes):
    with pytest.raises(ValueError, match="at least 1, got .*=0"):
        SelfAttention2d(*sizes)


@BOTH
@pytest.mark.parametrize(("shape", "message"), [
    ((2, 3, 4, 4), r"\(B, 4, h, w\), got \(2, 3, 4, 4\)"),
    ((4, 4, 4), r"got \(4, 4, 4\)"),
    ((2, 4, 1, 8), r"\(1, 8\) has no square of pool 2"),
    ((2, 4, 8, 0), r"\(8, 0\) has no square of pool 2"),
])  # fmt: skip
def test_grid_refuses_shapes(shape, message, need_weights):
    with pytest.raises(ValueError, match=message):
        SelfAttention2d(4, pool=2)(zeros(shape), need_weights)


# ---- A convolutional network with and without it ------------------------------------------------


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    "channels", [(8,), (16,), (32,), (16, 32), (32, 64), (24, 40, 56), (64, 128)]
)
def test_as_many_parameters_without_attention(channels):
    with_it, without = (AttentionCNN(3, 10, channels, attention=a) for a in (True, False))
    assert count(without) == pytest.approx(count(with_it), rel=0.02)
    assert not any(isinstance(m, SelfAttention2d) for m in without.modules())
    assert sum(isinstance(m, SelfAttention2d) for m in with_it.modules()) == 1


def test_the_stand_in_has_about_the_parameters_of_the_attention():
    for width in (32, 48, 64, 128):
        with_it, without = (AttentionCNN(3, 10, (width,), attention=a) for a in (True, False))
        assert count(without.block) == pytest.approx(count(with_it.block), rel=0.12)


def test_the_stand_in_is_never_empty():
    for width in range(1, 40):
        assert AttentionCNN(1, 2, (width,), attention=False).block.convs[0].out_channels >= 1


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize(("channels", "size", "grid"), [
    ((8, 16), (8, 12), (4, 6)), ((8, 16), (9, 7), (4, 3)), ((8,), (5, 6), (5, 6)),
    ((4, 8, 16), (13, 32), (3, 8)), ((8, 16), (2, 2), (1, 1)),
])  # fmt: skip
def test_shapes_of_the_network(attention, channels, size, grid):
    torch.manual_seed(0)
    net = AttentionCNN(3, 5, channels, attention)
    x = torch.rand(2, 3, *size)
    logits, weights = net(x, need_weights=True)
    assert logits.shape == (2, 5)
    assert net.before(x).shape == (2, channels[-1], *grid)
    places = grid[0] * grid[1]
    assert (weights.shape == (2, places, places)) if attention else weights is None
    assert net(x)[1] is None


@pytest.mark.parametrize("attention", [True, False])
def test_the_network_is_its_parts(attention):
    torch.manual_seed(0)
    net, x = AttentionCNN(3, 5, (4, 8), attention).eval(), torch.rand(2, 3, 9, 8)
    stage = ["Conv2d", "BatchNorm2d", "ReLU"]
    assert [type(m).__name__ for m in net.before] == [*stage, "MaxPool2d", *stage]
    assert [type(m).__name__ for m in net.after] == stage
    if attention:
        nn.init.constant_(net.block.gate, 1.0)
    grid, _ = net.block(net.before(x))
    torch.testing.assert_close(net(x)[0], net.head(net.after(grid).mean(dim=3).mean(dim=2)))


def test_pooled_keys_of_the_network():
    net = AttentionCNN(1, 5, (4, 8), pool=2)
    _, weights = net(torch.rand(2, 1, 12, 20), need_weights=True)
    assert weights.shape == (2, 6 * 10, 3 * 5)


@pytest.mark.parametrize("attention", [True, False])
def test_gradient_reaches_every_parameter(attention):
    torch.manual_seed(0)
    net = AttentionCNN(1, 5, (4, 8), attention)
    if attention:
        nn.init.constant_(net.block.gate, 1.0)
    total, number = classification_loss(net, (torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 4])))
    (total / number).backward()
    silent = {name for name, p in net.named_parameters() if p.grad.abs().max() < 1e-8}
    # A norm removes what a bias before it adds; the softmax what a bias of the keys adds.
    assert {name for name in silent if not name.endswith(".bias")} == set()


def test_what_a_far_pixel_can_change():
    """One convolution behind it, a place sees its surroundings; with attention, everything."""
    torch.manual_seed(0)
    far = {}
    for attention in (True, False):
        net = AttentionCNN(1, 5, (8,), attention).double().eval()
        if attention:
            nn.init.constant_(net.block.gate, 1.0)
        one = picture(1, 1, 15, 20)
        other = one.clone()
        other[..., 0, 0] = 5
        reached = [net.block(net.before(x))[0] for x in (one, other)]
        far[attention] = (reached[0] - reached[1])[0, :, 10:, 10:].abs().max().item()
    assert far[False] == 0
    assert far[True] > 1e-6


def test_the_stand_in_is_residual():
    net = AttentionCNN(1, 5, (8,), attention=False)
    with torch.no_grad():
        for parameter in net.block.parameters():
            parameter.zero_()
    grid = draw(1, 8, 5, 6, dtype=torch.float32)
    assert torch.equal(net.block(grid)[0], grid)


# ---- Patches as words ---------------------------------------------------------------------------


def vit(**options):
    torch.manual_seed(0)
    sizes = {"image_size": (4, 6), "patch": 2, "in_channels": 3, "num_classes": 5}
    sizes |= {"embed_dim": 12, "num_heads": 3, "num_layers": 2, "ffn_dim": 20}
    made = VisionTransformer(**sizes | options).double().eval()
    nn.init.normal_(made.positions)  # as far apart as after training
    nn.init.normal_(made.class_token)
    return made


def cut(images, patch):
    """(B, n, C · p²), row by row, by slicing."""
    rows, columns = (range(0, side, patch) for side in images.shape[2:])
    return torch.stack(
        [images[:, :, r : r + patch, c : c + patch].flatten(1) for r in rows for c in columns],
        dim=1,
    )


def test_a_vision_transformer_unless_told_otherwise():
    torch.manual_seed(0)
    made = VisionTransformer((32, 32), 4, 3, 10)
    first = made.layers[0]
    assert (len(made.layers), first.self_attn.num_heads, first.ffn[0].out_features) == (4, 4, 128)
    assert made.positions.shape == (65, 64)
    assert {m.p for m in made.modules() if isinstance(m, nn.Dropout)} == {0}
    for learned in (made.positions, made.class_token):
        assert learned.std().item() == pytest.approx(0.02, rel=0.2)
        assert learned.abs().max() < 0.1


def test_patches_are_cut_row_by_row():
    made, x = vit(), draw(2, 3, 4, 6)
    seen = []
    made.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    made(x)
    by_hand = cut(x, 2) @ made.patches.weight.flatten(1).T + made.patches.bias
    by_hand = torch.cat([made.class_token.expand(2, 1, 12), by_hand], dim=1) + made.positions
    torch.testing.assert_close(seen[0], by_hand)


def test_the_whole_is_what_its_parts_give():
    made, x = vit(), draw(2, 3, 4, 6)
    tokens = cut(x, 2) @ made.patches.weight.flatten(1).T + made.patches.bias
    tokens = torch.cat([made.class_token.expand(2, 1, 12), tokens], dim=1) + made.positions
    maps = []
    for one in made.layers:
        tokens, weights = one(tokens, need_weights=True)
        maps.append(weights)
    logits, got = made(x, need_weights=True)
    torch.testing.assert_close(logits, made.head(made.norm(tokens[:, 0])))
    assert len(got) == 2
    for one, other in zip(got, maps, strict=True):
        torch.testing.assert_close(one, other)


def test_patches_permuted_with_their_positions():
    made, x = vit(), draw(2, 3, 4, 6)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    moved = F.fold(F.unfold(x, 2, stride=2)[..., order], (4, 6), 2, stride=2)
    with torch.no_grad():
        logits, _ = made(x)
        alone, _ = made(moved)
        made.positions[1:] = made.positions[1:][order]
        together, _ = made(moved)
    torch.testing.assert_close(together, logits)
    assert (alone - logits).abs().max() > 1e-3, "without their positions it does matter"


def test_maps_of_the_vision_transformer():
    made = vit()
    logits, maps = made(draw(2, 3, 4, 6), need_weights=True)
    assert logits.shape == (2, 5)
    assert [tuple(m.shape) for m in maps] == [(2, 3, 7, 7)] * 2
    for weights in maps:
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, 7).double())
    fused, nothing = made(draw(2, 3, 4, 6))
    torch.testing.assert_close(fused, logits)
    assert nothing is None


def test_gradient_reaches_every_parameter_of_the_vision_transformer():
    made = vit()
    made(draw(4, 3, 4, 6))[0].square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_dropout_of_the_vision_transformer_in_training_only():
    made, x = vit(dropout=0.5), draw(1, 3, 4, 6)
    assert torch.equal(made(x)[0], made(x)[0])
    made.train()
    assert not torch.equal(made(x)[0], made(x)[0])
    made.layers = nn.ModuleList()
    assert not torch.equal(made(x)[0], made(x)[0]), "the embeddings are dropped, too"
    made = vit(dropout=0.5).train()
    made.dropout = nn.Identity()
    assert not torch.equal(made(x)[0], made(x)[0]), "the layers drop, too"


@pytest.mark.parametrize("size", [(5, 6), (4, 7)])
def test_patches_must_tile_the_image(size):
    with pytest.raises(
        ValueError, match=rf"patch 2 must divide image_size \({size[0]}, {size[1]}\)"
    ):
        vit(image_size=size)


@pytest.mark.parametrize("shape", [(2, 3, 6, 4), (2, 1, 4, 6), (3, 4, 6), (2, 3, 8, 12)])
def test_the_vision_transformer_refuses_other_images(shape):
    with pytest.raises(ValueError, match=r"\(3, 4, 6\), got a batch \("):
        vit()(zeros(shape, dtype=torch.float64))


# ---- Data and loss ------------------------------------------------------------------------------


def test_digits_are_split():
    from sklearn.datasets import load_digits

    training, test = digits()
    assert (len(training), len(test)) == (1348, 449)
    image, label = training[0]
    assert (image.shape, image.dtype, label.dtype) == ((1, 8, 8), torch.float32, torch.int64)
    everything = torch.cat([part.tensors[0] for part in (training, test)])
    assert (everything.min(), everything.max()) == (0, 1)
    labels = torch.cat([part.tensors[1] for part in (training, test)])
    bundle = load_digits()
    wanted = sorted(zip(bundle.data.tolist(), bundle.target.tolist(), strict=True))
    got = sorted(zip((16 * everything).flatten(1).tolist(), labels.tolist(), strict=True))
    assert got == wanted, "each image once, with its class"


def test_the_split_is_the_seeds():
    (one, _), (same, _), (other, _) = digits(), digits(), digits(seed=1)
    assert torch.equal(one.tensors[0], same.tensors[0])
    assert not torch.equal(one.tensors[0], other.tensors[0])
    state = torch.get_rng_state()
    digits()
    assert torch.equal(torch.get_rng_state(), state)


def test_classification_loss():
    logits = draw(3, 4)
    classes = torch.tensor([0, 3, 1])
    total, number = classification_loss(lambda items: (items, None), (logits, classes))
    by_hand = sum(-math.log(row.softmax(0)[c]) for row, c in zip(logits, classes, strict=True))
    assert total.item() == pytest.approx(by_hand)
    assert number == 3
    assert total.shape == number.shape == ()
