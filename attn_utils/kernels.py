"""Kernels, attention pooling with them (Nadaraya–Watson), and ways to find the width.

Shapes: ``L`` queries, ``S`` keys, ``d`` features of a point, ``v`` features of a value.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Heights = Callable[[Tensor], Tensor]  # of scaled distances
Kernel = str | Heights

# How many weights may exist at once when nobody asks for the whole matrix: 2 MiB in float32.
_CHUNK = 2**19


def gaussian(u: Tensor) -> Tensor:
    """The bell: exp(-u²/2) / √(2π).

    Args:
        u: scaled distances, of any shape, floating.

    Returns:
        Heights, of the shape of u: symmetric, positive, area 1.
    """
    return torch.exp(-u.square() / 2) / math.sqrt(2 * math.pi)


def boxcar(u: Tensor) -> Tensor:
    """The rectangle: ½ where ``|u| < 1``, else 0.

    Args:
        u: scaled distances, of any shape, floating.

    Returns:
        Heights, of the shape of u: symmetric, non-negative, area 1.
    """
    return (u.abs() < 1).to(u.dtype) / 2


def epanechnikov(u: Tensor) -> Tensor:
    """The parabola: ¾ (1 - u²) where ``|u| < 1``, else 0.

    Args:
        u: scaled distances, of any shape, floating.

    Returns:
        Heights, of the shape of u: symmetric, non-negative, area 1.

    Source:
        Epanechnikov (1969), Non-Parametric Estimation of a Multivariate Probability Density.
    """
    return 0.75 * (1 - u.square()).clamp(min=0)


def triangular(u: Tensor) -> Tensor:
    """The tent: ``1 - |u|`` where ``|u| < 1``, else 0.

    Args:
        u: scaled distances, of any shape, floating.

    Returns:
        Heights, of the shape of u: symmetric, non-negative, area 1.
    """
    return (1 - u.abs()).clamp(min=0)


def constant(u: Tensor) -> Tensor:
    """1 everywhere: not a density, but its weights give the plain mean.

    Args:
        u: scaled distances, of any shape, floating.

    Returns:
        Heights, of the shape of u: all 1; the area is infinite.
    """
    return torch.ones_like(u)


KERNELS: dict[str, Heights] = {
    kernel.__name__: kernel for kernel in (gaussian, boxcar, epanechnikov, triangular, constant)
}
_COMPACT = (boxcar, epanechnikov, triangular)  # 0 from |u| = 1 on


def nadaraya_watson(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kernel: Kernel = "gaussian",
    width: float | Tensor = 1.0,
    empty: str = "nearest",
    need_weights: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """Answer each query by the mean of the values, weighted by how close their keys are.

    The weight of key s for query l is kernel(‖query_l - key_s‖ / width), divided by its sum over the keys.

    Args:
        query: (L,) or (L, d), float32 or float64.
        key: (S,) or (S, d), in the same unit and of the same dtype.
        value: (S,) or (S, v), of the same dtype.
        kernel: a name from ``KERNELS``, or a function of the scaled distances u (L, S) to heights (L, S).
        width: in the unit of the keys: a number, a scalar tensor, (S,) for one width per key or (L, 1)
            for one per query. A width per key scales the distance only: there is no further factor 1 / width.
        empty: what a query gets when every weight is 0, as with a compact kernel and no key in reach:
            "nearest" (the nearest key, shared between equally near ones), "nan", or "raise".
        need_weights: False returns None in place of the weights and never holds an L x S matrix, in the
            backward pass either: the Gaussian runs as one fused attention call where that is exact enough,
            everything else in chunks of queries.

    Returns:
        The estimate, (L,) or (L, v), and the weights (L, S): non-negative, each row sums to 1.

    Raises:
        TypeError: an input is not a tensor, or not float32 or float64, or dtypes differ.
        ValueError: shapes do not fit, keys are missing, a number is not finite, a width is not positive,
            a name is unknown, or ``empty="raise"`` and a query has no key in reach.

    Source:
        Nadaraya (1964), On Estimating Regression; Watson (1964), Smooth Regression Analysis.
    """
    query, key, values = _points(query=query, key=key, value=value)  # (L, d), (S, d), (S, v)
    width = _width(width, len(query), key)
    kernel = _kernel(kernel)
    if empty not in ("nearest", "nan", "raise"):
        raise ValueError(f'empty must be "nearest", "nan" or "raise", got {empty!r}')
    pool = functools.partial(_pool, key, values, kernel, empty)
    weights = None
    if need_weights:
        estimate, weights = pool(query, width)
    elif kernel is gaussian and (dtype := _fused_dtype(query, key, values, width)):
        estimate = _pool_fused(query, key, values, width, dtype)
    else:
        estimate = _in_chunks(pool, query, width, max(1, _CHUNK // len(key)))
    if empty == "raise":
        _check_reach(estimate, query, key, width)
    return estimate.reshape(len(query), *value.shape[1:]), weights


def leave_one_out_error(
    key: Tensor, value: Tensor, kernel: Kernel = "gaussian", width: float | Tensor = 1.0
) -> Tensor:
    """Mean squared error of each value estimated from all the others.

    Args:
        key: (S,) or (S, d), S at least 2.
        value: (S,) or (S, v).
        kernel: as in ``nadaraya_watson``. A key with no other in reach is estimated by its nearest other key.
        width: a number, a scalar tensor, (S,) per key or (S, 1) per query; the error is differentiable in it.

    Returns:
        A scalar tensor, at least 0. It is computed from an S x S matrix.

    Raises:
        TypeError, ValueError: as ``nadaraya_watson``, or fewer than 2 keys.

    Source:
        Stone (1974), Cross-Validatory Choice; Clark (1975), A Calibration Curve for Radiocarbon Dates.
    """
    key, value = _points(key=key, value=value)  # (S, d), (S, v)
    if len(key) < 2:
        raise ValueError(f"leaving one out needs at least 2 keys, got {len(key)}")
    width = _width(width, len(key), key)
    itself = torch.eye(len(key), dtype=torch.bool, device=key.device)
    weights, _ = _weights(_distance(key, key), width, _kernel(kernel), absent=itself)
    return (weights @ value - value).square().mean()


def choose_width(
    key: Tensor,
    value: Tensor,
    kernel: Kernel = "gaussian",
    widths: Sequence[float] | Tensor | None = None,
) -> float:
    """The width with the smallest leave-one-out error.

    Args:
        key: (S,) or (S, d), S at least 2.
        value: (S,) or (S, v).
        kernel: as in ``nadaraya_watson``.
        widths: candidates. Default: 100 on a log scale, from a tenth of the median distance between
            nearest neighbours to twice the largest distance.

    Returns:
        One of the candidates; the smaller one if two are equally good.

    Raises:
        TypeError, ValueError: as ``leave_one_out_error``; the candidates are not a row of positive finite
            numbers, or there is none; without candidates, all keys coincide.
    """
    grid = _default_widths(*_points(key=key)) if widths is None else _grid(widths)
    with torch.no_grad():
        return min(grid, key=lambda width: leave_one_out_error(key, value, kernel, width).item())


def local_widths(key: Tensor, width: float, alpha: float = 0.5) -> Tensor:
    """A width for each key: narrower where keys are dense, wider where they are sparse.

    Each is width · (f(key) / g)^(-alpha), where f is the Gaussian kernel density estimate with the given
    width (the pilot) and g the geometric mean of f over the keys.

    Args:
        key: (S,) or (S, d).
        width: pilot width and geometric mean of the result, in the unit of the keys.
        alpha: 0 gives the same width to all; 0.5 is Abramson's square root law.

    Returns:
        (S,) positive widths whose geometric mean is ``width``.

    Raises:
        TypeError, ValueError: as ``nadaraya_watson``, or alpha is not finite.

    Source:
        Abramson (1982), On Bandwidth Variation in Kernel Estimates; Silverman (1986), section 5.3.
    """
    (key,) = _points(key=key)
    width = _width(width, len(key), key)
    if width.ndim:
        raise ValueError(f"the pilot width must be one number, got shape {tuple(width.shape)}")
    if not math.isfinite(alpha):
        raise ValueError(f"alpha must be finite, got {alpha}")
    scores = -(_distance(key, key) / width).square() / 2  # (S, S)
    # The kernel's constants cancel between f and g; in log space nothing underflows.
    log_density = torch.logsumexp(scores, dim=1)  # (S,)
    return width * torch.exp(-alpha * (log_density - log_density.mean()))


def knn_widths(query: Tensor, key: Tensor, k: int) -> Tensor:
    """A width for each query: the distance to its k-th nearest key.

    A query that is itself a key counts itself first; pass k + 1 to count others only.

    Args:
        query: (L,) or (L, d).
        key: (S,) or (S, d).
        k: from 1 to S.

    Returns:
        (L, 1) positive widths.

    Raises:
        TypeError, ValueError: as ``nadaraya_watson``; k is out of range; the k-th nearest key of a query
            coincides with it, so that its width would be 0.
    """
    query, key = _points(query=query, key=key)  # (L, d), (S, d)
    if not isinstance(k, int) or not 1 <= k <= len(key):
        raise ValueError(f"k must be a whole number from 1 to {len(key)} (the keys), got {k!r}")
    width = _distance(query, key).kthvalue(k, dim=1, keepdim=True).values  # (L, 1)
    if len(zero := (width[:, 0] == 0).nonzero()):
        which = f"query number {zero[0].item()}"
        raise ValueError(f"the {k} nearest keys of {which} coincide with it; take a larger k")
    return width


def _distance(query: Tensor, key: Tensor) -> Tensor:
    """Euclidean distances (L, S) between points (L, d) and (S, d)."""
    if key.shape[1] == 1:
        return (query - key.T).abs()
    # By way of a matrix product it would be faster, and cancel for points close together.
    return torch.cdist(query, key, compute_mode="donot_use_mm_for_euclid_dist")


def _hide(x: Tensor, absent: Tensor | None, instead: float) -> Tensor:
    """x (L, S) with another number at the keys that are absent."""
    return x if absent is None else x.masked_fill(absent, instead)


def _weights(
    distance: Tensor, width: Tensor, kernel: Heights, absent: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Weights (L, S) from distances (L, S), and which rows have no key in reach (L, 1).

    Those rows listen to the nearest key. Keys marked in ``absent`` (L, S) get weight 0.
    """
    if kernel is gaussian:
        return _gaussian_weights(distance, width, absent), distance.new_zeros(len(distance), 1) > 0
    # Beyond reach, further away changes nothing: no overflow, no 0 · ∞ in the gradients.
    near = torch.minimum(distance, 2 * width.detach()) if kernel in _COMPACT else distance
    u = near / width  # (L, S)
    height = kernel(u)
    if height.shape != u.shape:
        raise ValueError(f"kernel made {tuple(height.shape)} of distances {tuple(u.shape)}")
    height = _hide(height, absent, 0)
    total = height.sum(dim=1, keepdim=True)  # (L, 1)
    if len(bad := total[~total.isfinite()]):
        raise ValueError(f"kernel gave heights whose sum over the keys is {bad[0].item()}")
    lonely = total.abs() < torch.finfo(total.dtype).tiny
    if lonely.any():  # the nearest keys take all, before there is a 0/0
        reach = _hide(distance.detach(), absent, math.inf)
        nearest = (reach == reach.amin(dim=1, keepdim=True)).to(height.dtype)
        height = torch.where(lonely, nearest, height)
        total = height.sum(dim=1, keepdim=True)
    return height / total, lonely


def _gaussian_weights(distance: Tensor, width: Tensor, absent: Tensor | None) -> Tensor:
    """softmax(-u²/2) over the keys, u = distance / width, at any width, with finite gradients.

    Far from all keys the squares overflow and no longer tell the nearest key from the next. So the scores
    are taken relative to the nearest key's, as a product. Two more steps change no weight; they keep
    0 · ∞ out of the gradients: once the nearest key is so many widths away that it takes all, the width need
    not shrink further, and a key 60 widths beyond the nearest has weight 0 and need not move further away.
    """
    limits = torch.finfo(distance.dtype)
    with torch.no_grad():
        nearest = _hide(distance / width, absent, math.inf).amin(dim=1, keepdim=True)  # (L, 1)
        nearest = nearest.clamp(max=limits.max)
        # Distances differ by at least eps, relatively: beyond this u, that is 800 in u²/2.
        widen = (nearest / (40 / math.sqrt(limits.eps))).clamp(min=1)  # (L, 1)
        nearest = nearest / widen
    width = width * widen
    u = torch.minimum(distance, (nearest + 60) * width.detach()) / width  # (L, S)
    scores = -(u - nearest) * (u + nearest) / 2
    return torch.softmax(_hide(scores, absent, -math.inf), dim=1)


def _pool(
    key: Tensor, value: Tensor, kernel: Heights, empty: str, query: Tensor, width: Tensor
) -> tuple[Tensor, Tensor]:
    """Estimate (L, v) and weights (L, S); NaN in rows with no key in reach, unless they take the nearest."""
    weights, lonely = _weights(_distance(query, key), width, kernel)
    estimate = weights @ value
    if empty == "nearest":
        return estimate, weights
    # Filled in afterwards: NaN weights would make the values' gradient NaN, even under a loss that skips them.
    return estimate.masked_fill(lonely, math.nan), weights.masked_fill(lonely, math.nan)


def _in_chunks(pool: Callable, query: Tensor, width: Tensor, rows: int) -> Tensor:
    """The estimate (L, v) of ``pool``, a few queries at a time, so that only their weights exist at once."""
    queries = query.split(rows)
    widths = width.split(rows) if width.ndim == 2 else [width] * len(queries)
    return torch.cat([_recomputed(pool, q, w)[0] for q, w in zip(queries, widths, strict=True)])


def _recomputed(function: Callable, *args: Tensor) -> Tensor | tuple[Tensor, ...]:
    """``function(*args)``, computed once more in the backward pass: what it holds meanwhile is not kept until then."""
    return checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False)


def _fused_dtype(query: Tensor, key: Tensor, value: Tensor, width: Tensor) -> torch.dtype | None:
    """The dtype in which the fused call keeps five digits, or None where there is none.

    It computes u² as a difference of numbers as large as (radius / width)², so it loses that many digits.
    Over several features it adds up as many rounding errors as there are keys.
    """
    # Other devices have kernels that hold the matrix for some dtypes and sizes; chunks never do.
    if width.ndim == 1 or len(query) == 0 or query.device.type != "cpu":
        return None
    centre = key.detach().mean(dim=0)
    radius = max((x.detach() - centre).norm(dim=1).max() for x in (query, key))
    loss = (radius / width.detach().min()).square().item()
    if max(key.shape[1] + (not _bias_apart(key, width)), value.shape[1]) > 1:
        loss = max(loss, len(key) / 150)
    dtypes = (d for d in (key.dtype, torch.float64) if loss * torch.finfo(d).eps < 5e-6)
    return next(dtypes, None)


def _pool_fused(
    query: Tensor, key: Tensor, value: Tensor, width: Tensor, dtype: torch.dtype
) -> Tensor:
    """Gaussian pooling as dot-product attention, (L, v).

    -‖q - k‖²/2h² = q·k/h² - ‖k‖²/2h² - ‖q‖²/2h². The last term is the same for all keys, so the softmax drops it.
    """
    q, k, v = (t.to(dtype) for t in (query, key, value))
    scale = width.to(dtype).square().reciprocal()  # () or (L, 1)
    # Far from 0 the squares would cancel.
    centre = k.detach().mean(dim=0)
    q, k = (q - centre) * scale, k - centre  # (L, d), (S, d)
    bias = -k.square().sum(dim=1, keepdim=True) / 2  # (S, 1), still to be scaled
    if _bias_apart(key, width):
        mask = (bias * scale).T.expand(len(q), -1)  # (L, S), in the memory of (1, S)
    else:
        q, k, mask = torch.cat([q, scale.expand(len(q), 1)], 1), torch.cat([k, bias], 1), None
    # The kernel that holds no matrix wants query, key and value of one number of features, in order.
    features = max(k.shape[1], v.shape[1])
    q, k, v = (F.pad(t, (0, features - t.shape[1])).contiguous()[None, None] for t in (q, k, v))
    output = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)[0, 0]
    return output[:, : value.shape[1]].to(value.dtype)


def _bias_apart(key: Tensor, width: Tensor) -> bool:
    """Whether -‖k‖²/2h² can be added to the scores; else it is one more feature of the product.

    With one feature the call is three times as fast as with two. But it adds the same numbers for every query,
    and gives them no gradient.
    """
    wanted = torch.is_grad_enabled() and (key.requires_grad or width.requires_grad)
    return width.ndim == 0 and not wanted


def _points(**tensors: Tensor) -> list[Tensor]:
    """Query, key and value, as named, each as (n, d), after checking them and that they fit together."""
    for name, x in tensors.items():
        _check_points(name, x)
    columns = {name: x[:, None] if x.ndim == 1 else x for name, x in tensors.items()}
    key = tensors["key"]
    for name, x in tensors.items():
        if x.dtype != key.dtype:
            raise TypeError(f"{name} is {x.dtype} but key is {key.dtype}")
        dim, what = (0, "lengths") if name == "value" else (1, "features")
        if columns[name].shape[dim] != columns["key"].shape[dim]:
            raise ValueError(f"{what} of {name} {tuple(x.shape)} and key {tuple(key.shape)} differ")
    return list(columns.values())


def _check_points(name: str, x: Tensor) -> None:
    """Points must be floating, finite, (n,) or (n, d), and not empty where they are keys."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}")
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name} must be float32 or float64, got {x.dtype}")
    if x.ndim not in (1, 2):
        raise ValueError(f"{name} must have shape (n,) or (n, d), got {tuple(x.shape)}")
    if 0 in x.shape[1:] or (name == "key" and len(x) == 0):
        raise ValueError(f"{name} is empty: shape {tuple(x.shape)}")
    if len(bad := (~x.isfinite()).nonzero()):
        raise ValueError(f"{name} holds NaN or infinity at index {bad[0].tolist()}")


def _check_reach(estimate: Tensor, query: Tensor, key: Tensor, width: Tensor) -> None:
    """Raise if the estimate (L, v) is NaN for a query (L, d)."""
    if len(lonely := query[estimate.isnan().any(dim=1)]):
        away = _distance(lonely[:1], key).min().item()
        raise ValueError(
            f"{len(lonely)} of {len(query)} queries have no key in reach; the nearest key of the"
            f" first is {away:g} away, the widths go up to {width.max().item():g}"
        )


def _width(width: float | Tensor, queries: int, key: Tensor) -> Tensor:
    """The width as a tensor: scalar, (S,) or (L, 1)."""
    if isinstance(width, Tensor) and not width.is_floating_point():
        raise TypeError(f"width must be floating, got {width.dtype}")
    try:
        width = torch.as_tensor(width, dtype=key.dtype, device=key.device)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"width must be a number or a tensor, got {width!r}") from None
    if width.shape not in ((), (len(key),), (queries, 1)):
        raise ValueError(
            f"width must be one number, ({len(key)},) for one per key or ({queries}, 1) for one per query,"
            f" got shape {tuple(width.shape)}"
        )
    if len(bad := width[~((width > 0) & width.isfinite())]):
        raise ValueError(f"width must be positive and finite, got {bad[0].item()} (in {key.dtype})")
    return width


def _kernel(kernel: Kernel) -> Heights:
    """The kernel function of a name; a function passes through."""
    if callable(kernel):
        return kernel
    if kernel not in list(KERNELS):
        raise ValueError(f"unknown kernel {kernel!r}; known are {', '.join(KERNELS)}")
    return KERNELS[kernel]


def _default_widths(key: Tensor) -> list[float]:
    """100 widths, evenly on a log scale, from very local to nearly the plain mean."""
    distance = _distance(key, key).detach()
    nearest = distance.masked_fill(distance == 0, math.inf).amin(dim=1)
    if not nearest.isfinite().any():
        raise ValueError("all keys coincide, so no width is better than another")
    low, high = nearest.median() / 10, 2 * distance.max()
    return torch.logspace(math.log10(low), math.log10(high), 100).tolist()


def _grid(widths: Sequence[float] | Tensor) -> list[float]:
    """Candidates from narrow to wide."""
    grid = torch.as_tensor(widths, dtype=torch.float64)
    if grid.ndim != 1 or len(grid) == 0:
        raise ValueError(f"widths must be a row of numbers, one at least, got {widths!r}")
    return grid.sort().values.tolist()
