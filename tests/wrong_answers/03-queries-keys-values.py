"""Plausible wrong answers to the exercises of chapters/03-queries-keys-values.ipynb."""

import math

import torch


def over_the_queries(query, key, value):
    weights = torch.softmax(query @ key.T, dim=0)
    return weights @ value, weights


def scaled_unasked(query, key, value):
    weights = torch.softmax(query @ key.T / math.sqrt(query.shape[1]), dim=1)
    return weights @ value, weights


def written_out(query, key, value):
    height = (query @ key.T).exp()
    weights = height / height.sum(dim=1, keepdim=True)
    return weights @ value, weights


def only_the_best(query, key, value):
    weights = torch.nn.functional.one_hot((query @ key.T).argmax(dim=1), len(key)).float()
    return weights @ value, weights


def divided_without_exp(query, key, value):
    scores = query @ key.T
    weights = scores / scores.sum(dim=1, keepdim=True)
    return weights @ value, weights


def weights_transposed_for_the_output(query, key, value):
    weights = torch.softmax(query @ key.T, dim=1)
    return weights.T @ value, weights


def ones(x):
    return torch.ones(len(x), 1)


def only_the_width(query, key, width):
    return query / width, key / width


def penalty_without_half(query, key, width):
    q, k = query / width, key / width
    return torch.cat([q, ones(q)], 1), torch.cat([k, -k.square().sum(1, keepdim=True)], 1)


def penalty_with_wrong_sign(query, key, width):
    q, k = query / width, key / width
    return torch.cat([q, ones(q)], 1), torch.cat([k, k.square().sum(1, keepdim=True) / 2], 1)


def penalty_without_width(query, key, width):
    penalty = -key.square().sum(1, keepdim=True) / 2
    return torch.cat([query / width, ones(query)], 1), torch.cat([key / width, penalty], 1)


def keys_made_equally_long(query, key, width):
    return query / width, torch.nn.functional.normalize(key, dim=1) / width


def width_squared_on_both_sides(query, key, width):
    penalty = -key.square().sum(1, keepdim=True) / (2 * width**2)
    return torch.cat([query / width**2, ones(query)], 1), torch.cat([key / width**2, penalty], 1)


def counts_the_right_key_too(weight, S, rest):
    return (1 - rest) / math.log(S * weight / (1 - weight))


def forgets_the_rest(weight, S, rest):
    return 1 / math.log((S - 1) * weight / (1 - weight))


def upside_down(weight, S, rest):
    return math.log((S - 1) * weight / (1 - weight)) / (1 - rest)


def without_odds(weight, S, rest):
    return (1 - rest) / math.log((S - 1) * weight)


def no_way_out(query, key, value):
    weights = torch.softmax(query @ key.T, dim=1)
    return weights @ value, weights


def zero_instead_of_one(query, key, value):
    height = (query @ key.T).exp()
    weights = height / (1e-9 + height.sum(dim=1, keepdim=True))
    return weights @ value, weights


def keeps_the_extra_column(query, key, value):
    scores = torch.cat([query @ key.T, torch.zeros(len(query), 1)], dim=1)
    weights = torch.softmax(scores, dim=1)
    return weights[:, :-1] @ value, weights


def normalised_again(query, key, value):
    scores = torch.cat([query @ key.T, torch.zeros(len(query), 1)], dim=1)
    weights = torch.softmax(scores, dim=1)[:, :-1]
    weights = weights / weights.sum(dim=1, keepdim=True)
    return weights @ value, weights


def extra_entry_scores_one(query, key, value):
    scores = torch.cat([query @ key.T, torch.ones(len(query), 1)], dim=1)
    weights = torch.softmax(scores, dim=1)[:, :-1]
    return weights @ value, weights


def exponentials_by_hand(query, key, value):
    heights = (query @ key.T).exp()
    weights = heights / (1 + heights.sum(dim=1, keepdim=True))
    return weights @ value, weights


WRONG = {
    "check_dot_product_attention": [
        over_the_queries,
        scaled_unasked,
        written_out,
        only_the_best,
        divided_without_exp,
        weights_transposed_for_the_output,
    ],
    "check_as_dot_product": [
        only_the_width,
        penalty_without_half,
        penalty_with_wrong_sign,
        penalty_without_width,
        keys_made_equally_long,
        width_squared_on_both_sides,
    ],
    "check_temperature_for": [
        counts_the_right_key_too,
        forgets_the_rest,
        upside_down,
        without_odds,
    ],
    "check_attention_with_a_way_out": [
        exponentials_by_hand,
        no_way_out,
        zero_instead_of_one,
        keeps_the_extra_column,
        normalised_again,
        extra_entry_scores_one,
    ],
}
