"""Plausible wrong answers to the exercises of chapters/08-self-attention-and-position.ipynb."""

import math

import torch


def hot(ids, W):
    return (ids[:, None] == torch.arange(len(W))).to(W)


def counts_from_one(ids, W):
    one_hot = (ids[:, None] == torch.arange(1, len(W) + 1)).to(W)
    return one_hot, one_hot @ W


def words_as_columns(ids, W):
    one_hot = hot(ids, W)
    return one_hot.T, one_hot @ W


def booleans(ids, W):
    return ids[:, None] == torch.arange(len(W)), W[ids]


def up_to_the_word(ids, W):
    one_hot = (ids[:, None] >= torch.arange(len(W))).to(W)
    return one_hot, one_hot @ W


def product_with_the_wrong_end(ids, W):
    one_hot = hot(ids, W)
    return one_hot, one_hot @ W.flip(0)


def bag_of_words(ids, W):
    one_hot = hot(ids, W)
    return one_hot, (one_hot @ W).sum(dim=0).expand(len(ids), -1)


def encode(positions, E, *, exponent=1.0, base=10_000, swap=False, halves=False, first=0):
    """The solution, with one thing that may be wrong."""
    speeds = base ** (-exponent * torch.arange(0, E, 2) / E)
    angles = (positions + first)[..., None] * speeds
    both = [angles.cos(), angles.sin()] if swap else [angles.sin(), angles.cos()]
    if halves:
        return torch.cat(both, dim=-1)[..., :E]
    return torch.stack(both, dim=-1).flatten(-2)[..., :E]


def sine_and_cosine_swapped(positions, E):
    return encode(positions, E, swap=True)


def exponent_doubled(positions, E):
    return encode(positions, E, exponent=2.0)


def exponent_halved(positions, E):
    return encode(positions, E, exponent=0.5)


def halves_side_by_side(positions, E):
    return encode(positions, E, halves=True)


def positions_from_one(positions, E):
    return encode(positions, E, first=1)


def only_the_distance_from_0(positions, E):
    return encode(positions.abs(), E)


def base_of_a_thousand(positions, E):
    return encode(positions, E, base=1000)


def speed_of_each_column(positions, E):
    column = torch.arange(E)
    angles = positions[..., None] * 10_000 ** (-column / E)
    return torch.where(column % 2 == 0, angles.sin(), angles.cos())


def multiplied_by_the_wavelength(positions, E):
    speeds = 10_000 ** (torch.arange(0, E, 2) / E)
    angles = positions[..., None] * speeds
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)[..., :E]


def whole_positions_only(positions, E):
    return encode(positions.long(), E)


def position_of_the_place(positions, E):
    return encode(torch.arange(positions.numel()).reshape(positions.shape), E)


def one_column_too_many_for_odd(positions, E):
    return encode(positions, E + E % 2)


def odd_divided_by_the_even_number(positions, E):
    return encode(positions, E + E % 2)[..., :E]


def drops_the_last_column(positions, E):
    return encode(positions, E)[..., : E - E % 2]


def interleaved(d, E):
    angles = d * 10_000 ** (-torch.arange(0, E, 2) / E)
    blocks = [torch.tensor([[a.cos(), a.sin()], [-a.sin(), a.cos()]]) for a in angles]
    return torch.block_diag(*blocks)


def four(d, E, top, bottom, exponent=1.0):
    angles = d * 10_000 ** (-exponent * torch.arange(0, E, 2) / E)
    block = {"s": angles.sin().diag(), "c": angles.cos().diag(), "-s": -angles.sin().diag()}
    rows = [torch.cat([block[name] for name in row], dim=1) for row in (top, bottom)]
    return torch.cat(rows)


def backwards(d, E):
    return four(d, E, ("c", "-s"), ("s", "c"))


def no_minus(d, E):
    return four(d, E, ("c", "s"), ("s", "c"))


def sine_on_the_diagonal(d, E):
    return four(d, E, ("s", "c"), ("c", "-s"))


def twice_the_exponent(d, E):
    return four(d, E, ("c", "s"), ("-s", "c"), exponent=2.0)


def one_angle_for_all(d, E):
    eye = torch.eye(E // 2)
    c, s = math.cos(d) * eye, math.sin(d) * eye
    return torch.cat([torch.cat([c, s], dim=1), torch.cat([-s, c], dim=1)])


def always_by_one(d, E):
    return four(1, E, ("c", "s"), ("-s", "c"))


def rows_rolled(d, E):
    return torch.eye(E).roll(d, dims=1)


def biased(query, key, bias, flip=False, scale=True, clamp=True):
    reach = len(bias) // 2
    ahead = torch.arange(key.shape[-2]) - torch.arange(query.shape[-2])[:, None]
    ahead = -ahead if flip else ahead
    index = ahead.clamp(-reach, reach) + reach if clamp else (ahead + reach) % len(bias)
    scores = query @ key.transpose(-2, -1)
    return (scores / math.sqrt(query.shape[-1]) if scale else scores) + bias[index]


def sign_of_the_distance(query, key, bias):
    return biased(query, key, bias, flip=True)


def not_scaled(query, key, bias):
    return biased(query, key, bias, scale=False)


def bias_scaled_too(query, key, bias):
    return biased(query, key, bias, scale=False) / math.sqrt(query.shape[-1])


def not_limited(query, key, bias):
    return biased(query, key, bias, clamp=False)


def same_before_and_after(query, key, bias):
    reach = len(bias) // 2
    ahead = torch.arange(key.shape[-2]) - torch.arange(query.shape[-2])[:, None]
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    return scores + bias[ahead.abs().clamp(max=reach) + reach]


def nothing_beyond_the_reach(query, key, bias):
    reach = len(bias) // 2
    ahead = torch.arange(key.shape[-2]) - torch.arange(query.shape[-2])[:, None]
    plain = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    return plain + bias[ahead.clamp(-reach, reach) + reach] * (ahead.abs() <= reach)


def softmax_already(query, key, bias):
    return torch.softmax(biased(query, key, bias), dim=-1)


def bias_of_the_key_alone(query, key, bias):
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    return scores + bias[torch.arange(key.shape[-2]).clamp(max=len(bias) - 1)]


WRONG = {
    "check_lookup": [
        counts_from_one,
        words_as_columns,
        booleans,
        up_to_the_word,
        product_with_the_wrong_end,
        bag_of_words,
    ],
    "check_encode": [
        only_the_distance_from_0,
        sine_and_cosine_swapped,
        exponent_doubled,
        exponent_halved,
        halves_side_by_side,
        positions_from_one,
        base_of_a_thousand,
        speed_of_each_column,
        multiplied_by_the_wavelength,
        whole_positions_only,
        position_of_the_place,
        one_column_too_many_for_odd,
        odd_divided_by_the_even_number,
        drops_the_last_column,
    ],
    "check_shift_matrix": [
        interleaved,
        backwards,
        no_minus,
        sine_on_the_diagonal,
        twice_the_exponent,
        one_angle_for_all,
        always_by_one,
        rows_rolled,
    ],
    "check_scores_with_bias": [
        sign_of_the_distance,
        not_scaled,
        bias_scaled_too,
        not_limited,
        same_before_and_after,
        nothing_beyond_the_reach,
        softmax_already,
        bias_of_the_key_alone,
    ],
}
