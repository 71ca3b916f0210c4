"""Plausible wrong answers to the exercises of chapters/05-scaled-dot-product.ipynb."""

import math

import torch


def attend(query, key, value, mask, scale, dim=-1):
    scores = query @ key.transpose(1, 2) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -math.inf), dim=dim)
    return weights @ value, weights


def unscaled(query, key, value, mask):
    return attend(query, key, value, mask, 1.0)


def divided_by_the_features(query, key, value, mask):
    return attend(query, key, value, mask, 1 / query.shape[-1])


def scaled_by_the_value(query, key, value, mask):
    return attend(query, key, value, mask, value.shape[-1] ** -0.5)


def softmax_over_the_queries(query, key, value, mask):
    return attend(query, key, value, mask, query.shape[-1] ** -0.5, dim=1)


def mask_after_the_softmax(query, key, value, mask):
    scores = query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])
    weights = torch.softmax(scores, dim=-1) * mask
    return weights @ value, weights


def mask_inverted(query, key, value, mask):
    if mask.all():
        mask = ~mask
    return attend(query, key, value, ~mask, query.shape[-1] ** -0.5)


def zero_for_closed_scores(query, key, value, mask):
    scores = query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])
    weights = torch.softmax(scores * mask, dim=-1)
    return weights @ value, weights


def argmax(query, key, value, mask):
    scores = (query @ key.transpose(1, 2)).masked_fill(~mask, -math.inf)
    weights = torch.nn.functional.one_hot(scores.argmax(dim=-1), key.shape[1]).float()
    return weights @ value, weights


def changes_the_query(query, key, value, mask):
    query /= math.sqrt(query.shape[-1])
    return attend(query, key, value, mask, 1.0)


def places(length):
    place = torch.arange(length)
    return place - place[:, None]


def strictly_inside(length, reach, causal):
    ahead = places(length)
    return (ahead.abs() < reach) & (ahead <= 0 if causal else ahead == ahead)


def past_only_always(length, reach, causal):
    ahead = places(length)
    return (ahead.abs() <= reach) & (ahead <= 0)


def never_causal(length, reach, causal):
    return places(length).abs() <= reach


def the_future_instead(length, reach, causal):
    ahead = places(length)
    return (ahead.abs() <= reach) & (ahead >= 0 if causal else ahead == ahead)


def numbers_not_booleans(length, reach, causal):
    ahead = places(length)
    return ((ahead.abs() <= reach) & (ahead <= 0 if causal else ahead == ahead)).float()


def divides_by_zero(weights):
    return weights / weights.sum(dim=-1, keepdim=True)


def softmax_again(weights):
    return torch.softmax(weights.masked_fill(weights == 0, -math.inf), dim=-1).nan_to_num()


def over_the_columns(weights):
    total = weights.sum(dim=-2, keepdim=True)
    return weights / total.masked_fill(total == 0, 1)


def shares_the_loss_evenly(weights):
    open_cells = weights > 0
    lost = 1 - weights.sum(dim=-1, keepdim=True)
    return (weights + lost / open_cells.sum(dim=-1, keepdim=True).clamp(min=1)) * open_cells


def all_at_once(query, key, value, block):
    return torch.softmax(query @ key.T / math.sqrt(query.shape[1]), dim=1) @ value


def mean_of_the_blocks(query, key, value, block):
    parts = zip(key.split(block), value.split(block), strict=True)
    return torch.stack([all_at_once(query, k, v, block) for k, v in parts]).mean(dim=0)


def without_the_largest(query, key, value, block):
    total, mixed = torch.zeros(len(query), 1), torch.zeros(len(query), value.shape[1])
    for k, v in zip(key.split(block), value.split(block), strict=True):
        heights = torch.exp(query @ k.T / math.sqrt(query.shape[1]))
        total, mixed = total + heights.sum(dim=1, keepdim=True), mixed + heights @ v
    return mixed / total


def forgets_to_shrink(query, key, value, block):
    total, mixed = torch.zeros(len(query), 1), torch.zeros(len(query), value.shape[1])
    for k, v in zip(key.split(block), value.split(block), strict=True):
        scores = query @ k.T / math.sqrt(query.shape[1])
        heights = torch.exp(scores - scores.amax(dim=1, keepdim=True))
        total, mixed = total + heights.sum(dim=1, keepdim=True), mixed + heights @ v
    return mixed / total


WRONG = {
    "check_my_attention": [
        unscaled,
        divided_by_the_features,
        scaled_by_the_value,
        softmax_over_the_queries,
        mask_after_the_softmax,
        mask_inverted,
        zero_for_closed_scores,
        argmax,
        changes_the_query,
    ],
    "check_window_mask": [
        strictly_inside,
        past_only_always,
        never_causal,
        the_future_instead,
        numbers_not_booleans,
    ],
    "check_repair": [divides_by_zero, softmax_again, over_the_columns, shares_the_loss_evenly],
    "check_attention_in_blocks": [
        all_at_once,
        mean_of_the_blocks,
        without_the_largest,
        forgets_to_shrink,
    ],
}
