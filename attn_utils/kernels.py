"""Kernels, attention pooling with them (Nadaraya–Watson), and ways to find the width.

Shapes: ``L`` queries, ``S`` keys, ``d`` features of a point, ``v`` features of a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Kernel = str | Callable[[Tensor], Tensor]

# How many weights a chunk may hold when nobody asks for the whole matrix: 1 MiB in float32.
_CHUNK = 2**18


def gaussian(u: Tensor) -> Tensor:
    """The bell: exp(-u²/2) / √(2π).

    Args:
        u: scaled distances, of any shape, floating.

    Returns:
        Heights, of the shape of u: symmetric, positive, area 1.
    """
    return torch.exp(-u.square() / 2) / math.sqrt(2 * math.pi)


def boxcar(u: Tensor) -> Tensor:
    """The rectangle: ½ where |u| < 1, else 0.

    Args:
        u: scaled distances, of any shape, floating.

    Returns:
        Heights, of the shape of u: symmetric, non-negative, area 1.
    """
    return (u.abs() < 1).to(u.dtype) / 2


def epanechnikov(u: Tensor) -> Tensor:
    """The parabola: ¾ (1 - u²) where |u| < 1, else 0.

    Args:
        u: scaled distances, of any shape, floating.

    Returns:
        Heights, of the shape of u: symmetric, non-negative, area 1.

    Source:
        Epanechnikov (1969), Non-Parametric Estimation of a Multivariate Probability Density.
    """
    return 0.75 * (1 - u.square()).clamp(min=0)


def triangular(u: Tensor) -> Tensor:
    """The tent: 1 - |u| where |u| < 1, else 0.

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


KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "gaussian": gaussian,
    "boxcar": boxcar,
    "epanechnikov": epanechnikov,
    "triangular": triangular,
    "constant": constant,
}


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
        value: (S,) or (S, v).
        kernel: a name from ``KERNELS``, or a function of the scaled distance u (L, S).
        width: in the unit of the keys: a number, a scalar tensor, (S,) for one width per key or (L, 1)
            for one per query. A width per key scales the distance only; the kernel is not divided by it.
        empty: what a query gets when every weight is 0, as with a compact kernel and no key in reach:
            "nearest" (the nearest key, shared between equally near ones), "nan", or "raise".
        need_weights: False returns None in place of the weights and never holds an L x S matrix:
            the Gaussian runs as one fused attention call, the others in chunks of queries. The fused call
            adds up in the inputs' dtype: over 100,000 keys float32 keeps four digits, float64 all.

    Returns:
        The estimate, (L,) or (L, v), and the weights (L, S): non-negative, each row sums to 1.

    Raises:
        TypeError: an input is not a tensor, or not float32 or float64, or dtypes differ.
        ValueError: shapes do not fit, keys are missing, a number is not finite, a width is not positive,
            a name is unknown, or ``empty="raise"`` and a query has no key in reach.

    Source:
        Nadaraya (1964), On Estimating Regression; Watson (1964), Smooth Regression Analysis.
    """
    query, key = _points("query", query), _points("key", key)
    value = _values(value, key)
    if query.shape[1] != key.shape[1] or query.dtype != key.dtype:
        raise _mismatch("query", query, "key", key)
    width = _width(width, len(query), key)
    kernel = _kernel(kernel)
    if empty not in ("nearest", "nan", "raise"):
        raise ValueError(f'empty must be "nearest", "nan" or "raise", got {empty!r}')
    if need_weights:
        weights = _weights(_distance(query, key), width, kernel, empty)
        return weights @ value, weights
    if kernel is gaussian and (dtype := _fused_dtype(query, key, width)):
        return _pool_fused(query, key, value, width, dtype), None
    return _pool_in_chunks(query, key, value, width, kernel, empty), None


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
        A scalar tensor, at least 0.

    Raises:
        TypeError, ValueError: as ``nadaraya_watson``, or fewer than 2 keys.

    Source:
        Stone (1974), Cross-Validatory Choice; Clark (1975), A Calibration Curve for Radiocarbon Dates.
    """
    key = _points("key", key)
    value = _values(value, key)
    if len(key) < 2:
        raise ValueError(f"leaving one out needs at least 2 keys, got {len(key)}")
    width = _width(width, len(key), key)
    itself = torch.eye(len(key), dtype=torch.bool, device=key.device)
    weights = _weights(_distance(key, key), width, _kernel(kernel), "nearest", absent=itself)
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
        TypeError, ValueError: as ``leave_one_out_error``, or no candidates, or all keys coincide.
    """
    if widths is None:
        distance = _distance(_points("key", key), _points("key", key)).detach()
        nearest = distance.masked_fill(distance == 0, math.inf).amin(dim=1)
        if not torch.isfinite(nearest).any():
            raise ValueError("all keys coincide, so no width is better than another")
        low, high = nearest.median().clamp(max=distance.max()) / 10, 2 * distance.max()
        widths = torch.logspace(math.log10(low), math.log10(high), 100)
    widths = sorted(float(width) for width in widths)
    if not widths:
        raise ValueError("widths is empty: there is nothing to choose from")
    with torch.no_grad():
        return min(widths, key=lambda width: leave_one_out_error(key, value, kernel, width).item())


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
    key = _points("key", key)
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
    query, key = _points("query", query), _points("key", key)
    if query.shape[1] != key.shape[1] or query.dtype != key.dtype:
        raise _mismatch("query", query, "key", key)
    if not isinstance(k, int) or not 1 <= k <= len(key):
        raise ValueError(f"k must be a whole number from 1 to {len(key)} (the keys), got {k!r}")
    width = _distance(query, key).kthvalue(k, dim=1, keepdim=True).values  # (L, 1)
    if (width == 0).any():
        first = (width == 0).flatten().nonzero()[0].item()
        raise ValueError(
            f"the {k} nearest keys of query number {first} coincide with it; take a larger k"
        )
    return width


def _distance(query: Tensor, key: Tensor) -> Tensor:
    """Euclidean distances (L, S) between points (L, d) and (S, d)."""
    if key.shape[1] == 1:
        return (query - key.T).abs()
    # Without the matrix product that is faster, and cancels for points close together.
    return torch.cdist(query, key, compute_mode="donot_use_mm_for_euclid_dist")


def _weights(
    distance: Tensor,
    width: Tensor,
    kernel: Callable[[Tensor], Tensor],
    empty: str,
    absent: Tensor | None = None,
) -> Tensor:
    """Attention weights (L, S) from distances (L, S); keys marked in ``absent`` (L, S) get weight 0."""

    def without_absent(x: Tensor, instead: float) -> Tensor:
        return x if absent is None else x.masked_fill(absent, instead)

    u = distance / width  # (L, S)
    if kernel is gaussian:
        nearest = without_absent(u.detach(), math.inf).amin(dim=1, keepdim=True)  # (L, 1)
        if not torch.isfinite(nearest).all():
            raise ValueError(
                f"distance / width overflows {u.dtype} at width {width.min().item():g}"
            )
        # -u²/2 up to a constant per row, as a product: the nearest key gets exactly 0, nothing underflows.
        scores = -(u - nearest) * (u + nearest) / 2
        return torch.softmax(without_absent(scores, -math.inf), dim=1)
    closeness = without_absent(kernel(u), 0)
    total = closeness.sum(dim=1, keepdim=True)  # (L, 1)
    lonely = total == 0
    weights = closeness / total.masked_fill(lonely, 1)
    if not lonely.any():
        return weights
    reach = without_absent(distance.detach(), math.inf)
    nearest = reach.amin(dim=1, keepdim=True)
    if empty == "raise":
        raise ValueError(
            f"{int(lonely.sum())} of {len(distance)} queries have no key in reach; the nearest key of the"
            f" first is {nearest[lonely][0].item():g} away, the widths go up to {width.max().item():g}"
        )
    share = (reach == nearest).to(weights.dtype)
    answer = share / share.sum(dim=1, keepdim=True) if empty == "nearest" else math.nan
    return torch.where(lonely, answer, weights)


def _pool_in_chunks(query, key, value, width, kernel, empty) -> Tensor:
    """The estimate, a few queries at a time, so that no more than _CHUNK weights exist at once."""

    def pool(query: Tensor, width: Tensor) -> Tensor:
        return _weights(_distance(query, key), width, kernel, empty) @ value

    rows = max(1, _CHUNK // len(key))
    estimate = value.new_empty(len(query), *value.shape[1:])
    for start in range(0, len(query), rows):
        part = slice(start, start + rows)
        arguments = query[part], width[part] if width.ndim == 2 else width
        # Recomputing a chunk in the backward pass is what keeps all chunks from being held until then.
        estimate[part] = checkpoint(pool, *arguments, use_reentrant=False)
    return estimate


def _fused_dtype(query: Tensor, key: Tensor, width: Tensor) -> torch.dtype | None:
    """The dtype in which the fused call keeps five digits, or None if none does.

    The call computes u² as a difference of numbers as large as (radius / width)², so it loses that many digits.
    """
    if width.ndim == 1 or len(query) == 0:
        return None
    points = torch.cat([query, key]).detach()
    magnitude = ((points - key.detach().mean(dim=0)).norm(dim=1).max() / width.detach().min()) ** 2
    for dtype in (query.dtype, torch.float64):
        if magnitude * torch.finfo(dtype).eps < 5e-6:
            return dtype
    return None


def _pool_fused(
    query: Tensor, key: Tensor, value: Tensor, width: Tensor, dtype: torch.dtype
) -> Tensor:
    """Gaussian pooling as dot-product attention: -‖q - k‖²/2h² = (q·k - ‖k‖²/2) / h² + a constant per query."""
    q, k, v = (t.to(dtype) for t in (query, key, value.reshape(len(key), -1)))
    centre = k.detach().mean(dim=0)
    q, k = q - centre, k - centre
    q = torch.cat([q, torch.ones_like(q[:, :1])], dim=1) / width.to(dtype) ** 2  # (L, d + 1)
    k = torch.cat([k, -k.square().sum(dim=1, keepdim=True) / 2], dim=1)  # (S, d + 1)
    # The kernel that holds no matrix wants query, key and value of one width: fill up with zeros.
    features = max(k.shape[1], v.shape[1])
    q, k, v = (F.pad(t, (0, features - t.shape[1]))[None, None] for t in (q, k, v))
    output = F.scaled_dot_product_attention(q, k, v, scale=1.0)[0, 0]  # (L, features)
    output = output[:, : value[0].numel()].to(value.dtype)
    return output.reshape(len(query), *value.shape[1:])


def _points(name: str, x: Tensor) -> Tensor:
    """Points as (n, d), after checking that they are floating, finite, and not empty where they are keys."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}")
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name} must be float32 or float64, got {x.dtype}")
    if x.ndim not in (1, 2):
        raise ValueError(f"{name} must have shape (n,) or (n, d), got {tuple(x.shape)}")
    if (x.ndim == 2 and x.shape[1] == 0) or (name == "key" and len(x) == 0):
        raise ValueError(f"{name} is empty: shape {tuple(x.shape)}")
    if not torch.isfinite(x).all():
        raise ValueError(f"{name} holds NaN or infinity at index {_first_bad(x)}")
    return x[:, None] if x.ndim == 1 else x


def _values(value: Tensor, key: Tensor) -> Tensor:
    """Values (S,) or (S, v), after checking that there is one for each key."""
    _points("value", value)
    if len(value) != len(key) or value.dtype != key.dtype:
        raise _mismatch("value", value, "key", key)
    return value


def _mismatch(name: str, x: Tensor, other: str, y: Tensor) -> Exception:
    """The error for two tensors that do not fit together."""
    if x.dtype != y.dtype:
        return TypeError(f"{name} is {x.dtype} but {other} is {y.dtype}")
    what = "features" if name == "query" else "lengths"
    return ValueError(f"{what} of {name} {tuple(x.shape)} and {other} {tuple(y.shape)} differ")


def _first_bad(x: Tensor) -> list[int]:
    """Index of the first entry that is not finite."""
    return (~torch.isfinite(x)).nonzero()[0].tolist()


def _width(width: float | Tensor, queries: int, key: Tensor) -> Tensor:
    """The width as a tensor: scalar, (S,) or (L, 1)."""
    if isinstance(width, Tensor) and not width.is_floating_point():
        raise TypeError(f"width must be floating, got {width.dtype}")
    width = torch.as_tensor(width, dtype=key.dtype, device=key.device)
    if width.shape not in ((), (len(key),), (queries, 1)):
        raise ValueError(
            f"width must be one number, ({len(key)},) for one per key or ({queries}, 1) for one per query,"
            f" got shape {tuple(width.shape)}"
        )
    bad = ~((width > 0) & torch.isfinite(width))
    if bad.any():
        raise ValueError(f"width must be positive and finite, got {width[bad].flatten()[0].item()}")
    return width


def _kernel(kernel: Kernel) -> Callable[[Tensor], Tensor]:
    """The kernel function of a name; a function passes through."""
    if callable(kernel):
        return kernel
    if kernel not in KERNELS:
        raise ValueError(f"unknown kernel {kernel!r}; known are {', '.join(KERNELS)}")
    return KERNELS[kernel]
