"""Plausible wrong answers to the exercises of chapters/12-self-attention-cnn.ipynb."""

import math

import torch
import torch.nn.functional as F

from attn_utils.kernels import nadaraya_watson


def without_bytes(batch, h, w, pool):
    return batch * h * w * (h // pool) * (w // pool)


def pools_the_queries_too(batch, h, w, pool):
    return 4 * batch * ((h // pool) * (w // pool)) ** 2


def pools_once(batch, h, w, pool):
    return 4 * batch * (h * w) * (h * w // pool)


def rounds_up(batch, h, w, pool):
    return 4 * batch * (h * w) * math.ceil(h / pool) * math.ceil(w / pool)


def divides_by_the_area(batch, h, w, pool):
    return 4 * batch * (h * w) * (h * w // pool**2)


def square_grids_only(batch, h, w, pool):
    return 4 * batch * h**2 * (h // pool) ** 2


def forgets_the_batch(batch, h, w, pool):
    return 4 * (h * w) * (h // pool) * (w // pool)


def ignores_the_pool(batch, h, w, pool):
    return 4 * batch * (h * w) ** 2


def attend(q, k, v, divisor, size, dim=-1):
    scores = q.flatten(2).transpose(1, 2) @ k.flatten(2) / divisor
    weights = scores.softmax(dim=dim)
    return (weights @ v.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, size), weights


def largest(q, k, v, pool):
    k, v = F.max_pool2d(k, pool), F.max_pool2d(v, pool)
    return attend(q, k, v, math.sqrt(q.shape[1]), q.shape[2:])


def unscaled(q, k, v, pool):
    return attend(q, F.avg_pool2d(k, pool), F.avg_pool2d(v, pool), 1.0, q.shape[2:])


def divided_by_the_channels(q, k, v, pool):
    return attend(q, F.avg_pool2d(k, pool), F.avg_pool2d(v, pool), q.shape[1], q.shape[2:])


def over_the_queries(q, k, v, pool):
    k, v = F.avg_pool2d(k, pool), F.avg_pool2d(v, pool)
    return attend(q, k, v, math.sqrt(q.shape[1]), q.shape[2:], dim=1)


def values_largest(q, k, v, pool):
    k, v = F.avg_pool2d(k, pool), F.max_pool2d(v, pool)
    return attend(q, k, v, math.sqrt(q.shape[1]), q.shape[2:])


def every_second_place(q, k, v, pool):
    k, v = k[..., ::pool, ::pool], v[..., ::pool, ::pool]
    return attend(q, k, v, math.sqrt(q.shape[1]), q.shape[2:])


def never_pooled(q, k, v, pool):
    return attend(q, k, v, math.sqrt(q.shape[1]), q.shape[2:])


def rows_and_columns_swapped(q, k, v, pool):
    k, v = F.avg_pool2d(k, pool).transpose(2, 3), F.avg_pool2d(v, pool)
    return attend(q, k, v, math.sqrt(q.shape[1]), q.shape[2:])


def left_flat(q, k, v, pool):
    mixed, weights = attend(
        q, F.avg_pool2d(k, pool), F.avg_pool2d(v, pool), math.sqrt(q.shape[1]), q.shape[2:]
    )
    return mixed.flatten(2), weights


def grid_of(image, swap=False):
    h, w = image.shape[1:]
    if swap:
        return torch.cartesian_prod(torch.arange(w), torch.arange(h)).flip(1)
    return torch.cartesian_prod(torch.arange(h), torch.arange(w))


def pooled(features, image):
    mean, _ = nadaraya_watson(features, features, image.flatten(1).T)
    return mean.T.reshape(image.shape)


def alike_only(points, image, width, reach):
    return pooled(points / width, image)


def near_only(points, image, width, reach):
    return pooled(grid_of(image) / reach, image)


def column_by_column(points, image, width, reach):
    return pooled(torch.cat([points / width, grid_of(image, swap=True) / reach], dim=1), image)


def one_width_for_both(points, image, width, reach):
    return pooled(torch.cat([points, grid_of(image)], dim=1) / width, image)


def widths_exchanged(points, image, width, reach):
    return pooled(torch.cat([points / reach, grid_of(image) / width], dim=1), image)


def squares_of_the_widths(points, image, width, reach):
    return pooled(torch.cat([points / width**2, grid_of(image) / reach**2], dim=1), image)


def rows_only(points, image, width, reach):
    return pooled(torch.cat([points / width, grid_of(image)[:, :1] / reach], dim=1), image)


def one_after_the_other(points, image, width, reach):
    return near_only(points, alike_only(points, image, width, reach), width, reach)


def changes_them(weights):
    weights.fill_diagonal_(0)
    best = weights.amax(dim=1)
    weights += torch.diag(torch.where(best > 0, best, torch.ones_like(best)))
    return weights / weights.sum(dim=1, keepdim=True)


def nothing_for_oneself(weights):
    others = weights.masked_fill(torch.eye(len(weights), dtype=torch.bool), 0)
    total = others.sum(dim=1, keepdim=True)
    return torch.where(total > 0, others / total.clamp(min=1e-12), weights)


def not_divided(weights):
    eye = torch.eye(len(weights), dtype=torch.bool)
    best = weights.masked_fill(eye, 0).amax(dim=1, keepdim=True)
    return torch.where(eye & (best > 0), best, weights)


def lonely_rows_become_nan(weights):
    eye = torch.eye(len(weights), dtype=torch.bool)
    best = weights.masked_fill(eye, 0).amax(dim=1, keepdim=True)
    changed = torch.where(eye, best, weights)
    return changed / changed.sum(dim=1, keepdim=True)


def largest_of_the_column(weights):
    eye = torch.eye(len(weights), dtype=torch.bool)
    best = weights.masked_fill(eye, 0).amax(dim=0)[:, None]
    changed = torch.where(eye & (weights < 1), best, weights)
    return changed / changed.sum(dim=1, keepdim=True)


def second_largest_of_the_row(weights):
    best = weights.topk(2, dim=1).values[:, 1:]
    own = torch.eye(len(weights), dtype=torch.bool)
    changed = torch.where(own & (best > 0), best, weights)
    return changed / changed.sum(dim=1, keepdim=True)


def mean_of_the_others(weights):
    eye = torch.eye(len(weights), dtype=torch.bool)
    mean = weights.masked_fill(eye, 0).sum(dim=1, keepdim=True) / (len(weights) - 1)
    changed = torch.where(eye & (mean > 0), mean, weights)
    return changed / changed.sum(dim=1, keepdim=True)


def unchanged(weights):
    return weights.clone()


WRONG = {
    "check_map_bytes": [
        without_bytes,
        pools_the_queries_too,
        pools_once,
        rounds_up,
        divides_by_the_area,
        square_grids_only,
        forgets_the_batch,
        ignores_the_pool,
    ],
    "check_pooled_attention": [
        largest,
        unscaled,
        divided_by_the_channels,
        over_the_queries,
        values_largest,
        every_second_place,
        never_pooled,
        rows_and_columns_swapped,
        left_flat,
    ],
    "check_near_and_alike": [
        alike_only,
        near_only,
        column_by_column,
        one_width_for_both,
        widths_exchanged,
        squares_of_the_widths,
        rows_only,
        one_after_the_other,
    ],
    "check_not_yourself_first": [
        changes_them,
        nothing_for_oneself,
        not_divided,
        lonely_rows_become_nan,
        largest_of_the_column,
        mean_of_the_others,
        second_largest_of_the_row,
        unchanged,
    ],
}
