"""Plausible wrong answers to the exercises of chapters/02-kernel-width.ipynb."""

import torch

from attn_utils.kernels import knn_widths, leave_one_out_error, nadaraya_watson


def bias_only(weights, f_key, f_query, sigma):
    return (weights @ f_key - f_query).square().mean()


def sigma_not_squared(weights, f_key, f_query, sigma):
    return bias_only(weights, f_key, f_query, sigma) + sigma * weights.square().sum(dim=1).mean()


def sigma_doubled(weights, f_key, f_query, sigma):
    return (
        bias_only(weights, f_key, f_query, sigma) + 2 * sigma * weights.square().sum(dim=1).mean()
    )


def full_noise_in_every_query(weights, f_key, f_query, sigma):
    return bias_only(weights, f_key, f_query, sigma) + sigma**2


def bias_not_squared(weights, f_key, f_query, sigma):
    bias = (weights @ f_key - f_query).abs().mean()
    return bias + sigma**2 * weights.square().sum(dim=1).mean()


def summed_over_queries(weights, f_key, f_query, sigma):
    bias = (weights @ f_key - f_query).square()
    return (bias + sigma**2 * weights.square().sum(dim=1)).sum()


def mean_forgotten(weights, f_key, f_query, sigma):
    bias = (weights @ f_key - f_query).square()
    return bias + sigma**2 * weights.square().sum(dim=1)


def the_library_leaves_out(key, value, width):
    return leave_one_out_error(key, value, width=width)


def one_error_for_each_key(key, value, width):
    estimate, weights = nadaraya_watson(key, key, value, width=width)
    return ((value - estimate) / (1 - weights.diagonal())).square()


def training_error(key, value, width):
    estimate, _ = nadaraya_watson(key, key, value, width=width)
    return (estimate - value).square().mean()


def diagonal_zeroed_but_not_normalised(key, value, width):
    _, weights = nadaraya_watson(key, key, value, width=width)
    weights = weights - torch.diag(weights.diagonal())
    return (weights @ value - value).square().mean()


def denominator_not_squared(key, value, width):
    estimate, weights = nadaraya_watson(key, key, value, width=width)
    return ((value - estimate).square() / (1 - weights.diagonal())).mean()


def mean_diagonal(key, value, width):  # generalised cross-validation: close, not equal
    estimate, weights = nadaraya_watson(key, key, value, width=width)
    return ((value - estimate) / (1 - weights.diagonal().mean())).square().mean()


def sum_instead_of_mean(key, value, width):
    estimate, weights = nadaraya_watson(key, key, value, width=width)
    return ((value - estimate) / (1 - weights.diagonal())).square().sum()


def distances(query, key):
    return (query[:, None] - key).abs()


def the_library_finds_the_neighbours(query, key, value, k):
    return nadaraya_watson(query, key, value, width=knn_widths(query, key, k))[0]


def estimate_and_weights(query, key, value, k):
    width = distances(query, key).kthvalue(k).values[:, None]
    return nadaraya_watson(query, key, value, width=width)


def a_key_at_the_query_left_out(query, key, value, k):
    distance = distances(query, key)
    others = distance.masked_fill(distance == 0, torch.inf)
    width = others.kthvalue(k, dim=1).values[:, None]
    return nadaraya_watson(query, key, value, width=width)[0]


def widths_without_the_second_dimension(query, key, value, k):
    return nadaraya_watson(query, key, value, width=distances(query, key).kthvalue(k).values)[0]


def one_neighbour_too_far(query, key, value, k):
    width = distances(query, key).kthvalue(k + 1).values[:, None]
    return nadaraya_watson(query, key, value, width=width)[0]


def mean_of_the_neighbours(query, key, value, k):
    return value[distances(query, key).topk(k, largest=False).indices].mean(dim=1)


def one_width_for_all(query, key, value, k):
    width = distances(query, key).kthvalue(k).values.mean()
    return nadaraya_watson(query, key, value, width=width)[0]


def widths_of_the_keys(query, key, value, k):
    return nadaraya_watson(query, key, value, width=distances(key, query).kthvalue(k).values)[0]


def slope(key, value, width, keep_diagonal=False, centred=True):
    squares = distances(key, key).square() / width**2
    scores = -squares / 2
    if not keep_diagonal:
        scores = scores.fill_diagonal_(-torch.inf)
    weights = torch.softmax(scores, dim=1)
    estimate = weights @ value
    moves = weights * squares * (value - (estimate[:, None] if centred else 0))
    return (2 * (estimate - value) * moves.sum(dim=1)).mean()


def slope_in_width(key, value, width):
    return slope(key, value, width) / width


def answers_for_itself(key, value, width):
    return slope(key, value, width, keep_diagonal=True)


def estimate_not_subtracted(key, value, width):
    return slope(key, value, width, centred=False)


def wrong_sign(key, value, width):
    return -slope(key, value, width)


def backward_from_the_library(key, value, width):
    log_width = torch.tensor(width).log().requires_grad_()
    leave_one_out_error(key, value, width=log_width.exp()).backward()
    return log_width.grad


def autograd_of_its_own_error(key, value, width):
    log_width = torch.tensor(width).log().requires_grad_()
    squares = (distances(key, key) / log_width.exp()).square()
    weights = torch.softmax(-squares / 2 - torch.diag(torch.full_like(key, torch.inf)), dim=1)
    error = (weights @ value - value).square().mean()
    return torch.autograd.grad(error, log_width)[0]


def finite_differences(key, value, width, step=0.01):
    errors = [leave_one_out_error(key, value, width=width * 10**s) for s in (-step, step)]
    return (errors[1] - errors[0]) / (2 * step * torch.tensor(10.0).log())


def one_slope_for_each_key(key, value, width):
    return torch.stack([slope(key, value, width)] * len(key))


WRONG = {
    "check_expected_error": [
        sigma_doubled,
        bias_only,
        sigma_not_squared,
        full_noise_in_every_query,
        bias_not_squared,
        summed_over_queries,
        mean_forgotten,
    ],
    "check_loo_shortcut": [
        training_error,
        diagonal_zeroed_but_not_normalised,
        denominator_not_squared,
        mean_diagonal,
        sum_instead_of_mean,
        the_library_leaves_out,
        one_error_for_each_key,
    ],
    "check_knn_pool": [
        a_key_at_the_query_left_out,
        widths_without_the_second_dimension,
        one_neighbour_too_far,
        mean_of_the_neighbours,
        one_width_for_all,
        widths_of_the_keys,
        the_library_finds_the_neighbours,
        estimate_and_weights,
    ],
    "check_loo_slope": [
        slope_in_width,
        answers_for_itself,
        estimate_not_subtracted,
        wrong_sign,
        backward_from_the_library,
        autograd_of_its_own_error,
        finite_differences,
        one_slope_for_each_key,
    ],
}
