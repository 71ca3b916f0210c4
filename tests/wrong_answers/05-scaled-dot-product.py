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


def one_query_at_a_time(query, key, value, block):
    rows = [torch.softmax(key @ q / math.sqrt(query.shape[1]), dim=0) @ value for q in query]
    return torch.stack(rows)


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


def all_at_once_by_another_name(query, key, value, block):
    scores = torch.einsum("le,se->ls", query, key) / math.sqrt(query.shape[1])
    return torch.softmax(scores, dim=1).matmul(value)


def not_by_hand(query, key, value, block):
    return torch.nn.functional.scaled_dot_product_attention(query, key, value)


def collects_the_scores(query, key, value, block):
    parts = [query @ k.T / math.sqrt(query.shape[1]) for k in key.split(block)]
    return torch.softmax(torch.cat(parts, dim=1), dim=1) @ value


def running(query, key, value, block, start, shared):
    largest = torch.full((len(query), 1), start)
    total, mixed = torch.zeros(len(query), 1), torch.zeros(len(query), value.shape[1])
    for k, v in zip(key.split(block), value.split(block), strict=True):
        scores = query @ k.T / math.sqrt(query.shape[1])
        new = torch.maximum(largest, scores.amax() if shared else scores.amax(1, keepdim=True))
        shrink, heights = torch.exp(largest - new), torch.exp(scores - new)
        total = shrink * total + heights.sum(dim=1, keepdim=True)
        mixed, largest = shrink * mixed + heights @ v, new
    return mixed / total


def starts_at_zero(query, key, value, block):
    return running(query, key, value, block, 0.0, shared=False)


def one_largest_for_all_queries(query, key, value, block):
    return running(query, key, value, block, -math.inf, shared=True)


def minus_twenty(query, key, value, mask):
    scores = (query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])).masked_fill(~mask, -20.0)
    weights = torch.softmax(scores, dim=-1)
    return weights @ value, weights


def changes_the_key(query, key, value, mask):
    key /= math.sqrt(query.shape[-1])
    return attend(query, key, value, mask, 1.0)


def a_list(length, reach, causal):
    return strictly_inside(length, reach + 1, causal).tolist()


def keeps_small_sums(weights):
    return weights / weights.sum(dim=-1, keepdim=True).clamp(min=0.01)


def softmax_of_open(scores, mask):
    return torch.softmax(scores.masked_fill(~mask, -math.inf), dim=-1).nan_to_num()


def tenth_of(weights, number):
    return torch.special.entr(weights).sum(dim=-1) < 0.1 * number.log()


def by_the_largest_weight(scores, mask):
    return softmax_of_open(scores, mask).amax(dim=-1) > 0.9


def against_all_keys(scores, mask):
    return tenth_of(softmax_of_open(scores, mask), torch.tensor(64.0))


def without_the_mask(scores, mask):
    return tenth_of(torch.softmax(scores, dim=-1), mask.sum(dim=-1))


def weights_above_zero_are_open(scores, mask):
    weights = softmax_of_open(scores, mask)
    return tenth_of(weights, (weights > 0).sum(dim=-1))


def zero_times_minus_infinity(scores, mask):
    weights = softmax_of_open(scores, mask)
    return -(weights * weights.log()).sum(dim=-1) < 0.1 * mask.sum(dim=-1).log()


def flags_a_single_key(scores, mask):
    entropy = torch.special.entr(softmax_of_open(scores, mask)).sum(dim=-1)
    return entropy <= 0.1 * mask.sum(dim=-1).log()


def by_the_size_of_scores(scores, mask):
    return scores.masked_fill(~mask, 0).amax(dim=-1) > 5


def by_the_jacobian(scores, mask):
    a = softmax_of_open(scores, mask)
    return (a.diag_embed() - a[..., :, None] * a[..., None, :]).flatten(-2).norm(dim=-1) < 0.2


def flags_keys_not_queries(scores, mask):
    return softmax_of_open(scores, mask) > 0.9


def one_answer_for_all(scores, mask):
    return tenth_of(softmax_of_open(scores, mask), mask.sum(dim=-1)).any()


WRONG = {
    "check_my_attention": [
        minus_twenty,
        changes_the_key,
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
        a_list,
        strictly_inside,
        past_only_always,
        never_causal,
        the_future_instead,
        numbers_not_booleans,
    ],
    "check_repair": [
        keeps_small_sums,
        divides_by_zero,
        softmax_again,
        over_the_columns,
        shares_the_loss_evenly,
    ],
    "check_saturated": [
        by_the_largest_weight,
        against_all_keys,
        without_the_mask,
        weights_above_zero_are_open,
        zero_times_minus_infinity,
        flags_a_single_key,
        by_the_size_of_scores,
        by_the_jacobian,
        flags_keys_not_queries,
        one_answer_for_all,
    ],
    "check_attention_in_blocks": [
        one_query_at_a_time,
        all_at_once_by_another_name,
        not_by_hand,
        collects_the_scores,
        starts_at_zero,
        one_largest_for_all_queries,
        all_at_once,
        mean_of_the_blocks,
        without_the_largest,
        forgets_to_shrink,
    ],
}
