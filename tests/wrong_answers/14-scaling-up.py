"""Plausible wrong answers to the exercises of chapters/14-scaling-up.ipynb."""

import math

import torch


def without_layers(B, H, layers, n, size, budget):
    a_pair = B * H * size
    return a_pair * n**2, math.isqrt(budget // a_pair)


def without_heads(B, H, layers, n, size, budget):
    a_pair = B * layers * size
    return a_pair * n**2, math.isqrt(budget // a_pair)


def numbers_not_bytes(B, H, layers, n, size, budget):
    a_pair = B * H * layers
    return a_pair * n**2, math.isqrt(budget // a_pair)


def grows_with_n(B, H, layers, n, size, budget):
    a_token = B * H * layers * size
    return a_token * n, budget // a_token


def half_a_matrix(B, H, layers, n, size, budget):
    a_pair = B * H * layers * size
    return a_pair * n * (n + 1) // 2, math.isqrt(2 * budget // a_pair)


def rounded_by_floats(B, H, layers, n, size, budget):
    a_pair = B * H * layers * size
    return a_pair * n**2, round(math.sqrt(budget / a_pair))


def first_number_alone(B, H, layers, n, size, budget):
    return (B * H * layers * size * n**2,)


def bytes_alone(B, H, layers, n, size, budget):
    return B * H * layers * size * n**2


def states_added(one, other):
    return torch.maximum(one[0], other[0]), one[1] + other[1], one[2] + other[2]


def without_a_base(one, other):
    m = torch.maximum(one[0], other[0])
    a, b = torch.exp(one[0] - m), torch.exp(other[0] - m)
    return m, a * one[1] + b * other[1], a * one[2] + b * other[2]


def no_m_taken_off(one, other):
    m = torch.maximum(one[0], other[0])
    a, b = torch.exp(one[0]), torch.exp(other[0])
    total, mixed = a * one[1] + b * other[1], a * one[2] + b * other[2]
    return m, total / m.exp().clamp(min=1e-30), mixed / m.exp().clamp(min=1e-30)


def only_the_second_shrinks(one, other):
    m = torch.maximum(one[0], other[0])
    b = torch.exp(other[0] - m.masked_fill(m == -math.inf, 0))
    return m, one[1] + b * other[1], one[2] + b * other[2]


def mixture_not_shrunk(one, other):
    m = torch.maximum(one[0], other[0])
    base = m.masked_fill(m == -math.inf, 0)
    a, b = torch.exp(one[0] - base), torch.exp(other[0] - base)
    return m, a * one[1] + b * other[1], one[2] + other[2]


def already_divided(one, other):
    m = torch.maximum(one[0], other[0])
    base = m.masked_fill(m == -math.inf, 0)
    a, b = torch.exp(one[0] - base), torch.exp(other[0] - base)
    total, mixed = a * one[1] + b * other[1], a * one[2] + b * other[2]
    return m, total, mixed / total.masked_fill(total == 0, 1)


def smaller_m(one, other):
    m = torch.minimum(one[0], other[0])
    base = m.masked_fill(m == -math.inf, 0)
    a, b = torch.exp(one[0] - base), torch.exp(other[0] - base)
    return m, a * one[1] + b * other[1], a * one[2] + b * other[2]


def changes_the_first(one, other):
    m = torch.maximum(one[0], other[0])
    base = m.masked_fill(m == -math.inf, 0)
    a, b = torch.exp(one[0] - base), torch.exp(other[0] - base)
    total = one[1].mul_(a).add_(b * other[1])
    return m, total, a * one[2] + b * other[2]


def mean_of_all(gradients, counts):
    return gradients.nan_to_num().mean(dim=0)


def mean_of_those_with_items(gradients, counts):
    some = gradients[counts > 0]
    return some.mean(dim=0) if len(some) else torch.zeros(gradients.shape[1])


def lets_nan_through(gradients, counts):
    return (counts / counts.sum().clamp(min=1)) @ gradients


def sum_without_division(gradients, counts):
    return (counts[:, None] * gradients.nan_to_num()).sum(dim=0)


def divides_by_processes(gradients, counts):
    return (counts[:, None] * gradients.nan_to_num()).sum(dim=0) / len(counts)


def hides_what_diverged(gradients, counts):
    return (counts[:, None] * gradients.nan_to_num()).sum(dim=0) / counts.sum().clamp(min=1)


def hides_single_numbers(gradients, counts):
    gone = gradients.isnan().all(dim=1)  # a row with one NaN passes for sound
    if (gone & (counts > 0)).any():
        return torch.full_like(gradients[0], math.nan)
    return hides_what_diverged(gradients, counts)


def nobody_is_nan(gradients, counts):
    weighted = counts[:, None] * gradients.nan_to_num()
    return weighted.sum(dim=0) / counts.sum()


def weights_by_softmax(gradients, counts):
    weights = counts.float().softmax(dim=0)
    return (weights[:, None] * gradients.nan_to_num()).sum(dim=0)


def overwrites_the_gradients(gradients, counts):
    gradients[counts == 0] = 0
    return (counts / counts.sum().clamp(min=1)) @ gradients


def keeps_a_row(gradients, counts):
    weights = (counts / counts.sum().clamp(min=1))[:, None]
    return (weights * gradients.nan_to_num()).sum(dim=0, keepdim=True)


def tiles(query, key, value, rule, block, skip=True, close=True, scale=True, leave=0):
    """Attention in tiles, with a mistake to choose."""
    places, outputs = torch.arange(len(query)).split(block), []
    for rows in places:
        scores, values = [], []
        for columns in places[leave:]:
            open_pairs = rule(rows[:, None], columns)
            if open_pairs.any() or not skip:
                score = query[rows] @ key[columns].T
                score = score / math.sqrt(query.shape[1]) if scale else score
                scores.append(score.masked_fill(~open_pairs, -math.inf) if close else score)
                values.append(value[columns])
        if not scores:
            outputs.append(torch.zeros(len(rows), value.shape[1]))
            continue
        most = torch.stack([s.amax(1) for s in scores]).amax(0)[:, None]
        most = most.masked_fill(most == -math.inf, 0)
        total = sum((s - most).exp().sum(1, keepdim=True) for s in scores)
        mixed = sum((s - most).exp() @ v for s, v in zip(scores, values, strict=True))
        outputs.append(mixed / total.masked_fill(total == 0, 1))
    return torch.cat(outputs)


def computes_all_tiles(query, key, value, rule, block):
    return tiles(query, key, value, rule, block, skip=False)


def opens_whole_tiles(query, key, value, rule, block):
    return tiles(query, key, value, rule, block, close=False)


def without_scale(query, key, value, rule, block):
    return tiles(query, key, value, rule, block, scale=False)


def forgets_the_first_tile(query, key, value, rule, block):
    return tiles(query, key, value, rule, block, leave=1)


def assumes_a_causal_rule(query, key, value, rule, block):
    return tiles(query, key, value, lambda i, s: s <= i, block)


def whole_matrix(query, key, value, rule, block):
    place = torch.arange(len(query))
    scores = (query @ key.T / math.sqrt(query.shape[1])).masked_fill(
        ~rule(place[:, None], place), -math.inf
    )
    nobody = (scores == -math.inf).all(dim=1, keepdim=True)
    weights = scores.masked_fill(nobody, 0).softmax(dim=1).masked_fill(nobody, 0)
    return weights @ value


def whole_rows(query, key, value, rule, block):
    outputs = []
    place = torch.arange(len(query))
    for rows in place.split(block):
        scores = query[rows] @ key.T / math.sqrt(query.shape[1])
        scores = scores.masked_fill(~rule(rows[:, None], place), -math.inf)
        outputs.append(scores.softmax(dim=1).nan_to_num() @ value)
    return torch.cat(outputs)


def all_answers_of_the_rule(query, key, value, rule, block):
    place = torch.arange(len(query))
    known = rule(place[:, None], place)
    return tiles(query, key, value, lambda i, s: known[i, s], block)


def row_by_row(query, key, value, rule, block):
    outputs = []
    for row, known in zip(query, torch.arange(len(query)), strict=True):
        some = rule(known[None, None], torch.arange(len(key)))[0]
        scores = row[None] @ key[some].T / math.sqrt(query.shape[1])
        outputs.append(scores.softmax(dim=1) @ value[some])
    return torch.cat(outputs)


def nan_for_nobody(query, key, value, rule, block):
    output = tiles(query, key, value, rule, block)
    return output / (output != 0).any(dim=1, keepdim=True)


def largest_score_stays(query, key, value, rule, block):
    places, outputs = torch.arange(len(query)).split(block), []
    for rows in places:
        total, mixed = torch.zeros(len(rows), 1), torch.zeros(len(rows), value.shape[1])
        for columns in places:
            open_pairs = rule(rows[:, None], columns)
            if open_pairs.any():
                scores = query[rows] @ key[columns].T / math.sqrt(query.shape[1])
                heights = scores.exp() * open_pairs
                total = total + heights.sum(dim=1, keepdim=True)
                mixed = mixed + heights @ value[columns]
        outputs.append(mixed / total.masked_fill(total == 0, 1))
    return torch.cat(outputs)


def products_without_a_matrix(query, key, value, rule, block):
    place, outputs = torch.arange(len(query)), []
    for i in range(len(query)):
        keys = place[rule(place[i : i + 1, None], place)[0]]
        scores = (query[i] * key[keys]).sum(dim=1) / math.sqrt(query.shape[1])
        outputs.append((scores.softmax(dim=0)[:, None] * value[keys]).sum(dim=0))
    return torch.stack(outputs)


WRONG = {
    "check_bill": [
        without_layers,
        without_heads,
        numbers_not_bytes,
        grows_with_n,
        half_a_matrix,
        rounded_by_floats,
        first_number_alone,
        bytes_alone,
    ],
    "check_merge": [
        states_added,
        without_a_base,
        no_m_taken_off,
        only_the_second_shrinks,
        mixture_not_shrunk,
        already_divided,
        smaller_m,
        changes_the_first,
    ],
    "check_combine": [
        mean_of_all,
        mean_of_those_with_items,
        lets_nan_through,
        sum_without_division,
        divides_by_processes,
        hides_what_diverged,
        hides_single_numbers,
        nobody_is_nan,
        weights_by_softmax,
        overwrites_the_gradients,
        keeps_a_row,
    ],
    "check_sparse_attention": [
        computes_all_tiles,
        opens_whole_tiles,
        without_scale,
        forgets_the_first_tile,
        assumes_a_causal_rule,
        whole_matrix,
        whole_rows,
        all_answers_of_the_rule,
        row_by_row,
        nan_for_nobody,
        largest_score_stays,
        products_without_a_matrix,
    ],
}
