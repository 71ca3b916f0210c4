"""Plausible wrong answers to the exercises of chapters/01-kernel-pooling.ipynb."""

import torch
from torch.nn.functional import one_hot

from attn_utils.kernels import gaussian, nadaraya_watson


def triangular_instead(u):
    return (1 - u.abs()).clamp(min=0)


def not_cut_off(u):
    return 0.75 * (1 - u**2)


def without_three_quarters(u):
    return (1 - u**2).clamp(min=0)


def a_sharper_parabola(u):
    return 1.5 * (1 - (2 * u) ** 2).clamp(min=0)


def always_yes(function):
    return True


def only_the_area(function):
    u = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    return abs(torch.trapezoid(function(u), u).item() - 1) < 0.01


def forgets_the_sign(function):
    u = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    return only_the_area(function) and torch.allclose(function(u), function(-u))


def forgets_the_symmetry(function):
    u = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    return only_the_area(function) and bool((function(u) >= 0).all())


def pool(closeness, value, dim=1):
    weights = closeness / closeness.sum(dim=dim, keepdim=True)
    return weights @ value, weights


def area_not_above_one(function):
    u = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    return torch.trapezoid(function(u), u).item() < 1.01


def mean_zero_for_symmetric(function):
    u = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    mean = torch.trapezoid(u * function(u), u).item()
    return only_the_area(function) and abs(mean) < 1e-3 and bool((function(u) >= 0).all())


def on_whole_numbers_only(function):
    u = torch.linspace(-10, 10, 21, dtype=torch.float64)
    height = function(u)
    return (
        torch.equal(height, height.flip(0))
        and bool((height >= 0).all())
        and only_the_area(function)
    )


def symmetric_at_one_point(function):
    u = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    at_one = function(torch.tensor([-1.0, 1.0], dtype=torch.float64))
    return (
        only_the_area(function)
        and bool((function(u) >= 0).all())
        and torch.allclose(at_one[0], at_one[1])
    )


def squares(query, key):
    return (query[:, None] - key).square().sum(dim=-1)


def city_block_distance(query, key, value, width):
    return pool(gaussian((query[:, None] - key).abs().sum(dim=-1) / width), value)


def normalised_over_queries(query, key, value, width):
    return pool(torch.exp(-squares(query, key) / (2 * width**2)), value, dim=0)


def width_not_squared(query, key, value, width):
    return pool(torch.exp(-squares(query, key) / (2 * width)), value)


def distance_not_squared(query, key, value, width):
    return pool(torch.exp(-squares(query, key).sqrt() / (2 * width)), value)


def first_coordinate_only(query, key, value, width):
    return nadaraya_watson(query[:, 0], key[:, 0], value, width=width)


def weights_right_estimate_a_sum(query, key, value, width):
    _, weights = nadaraya_watson(query, key, value, width=width)
    return weights.sum(dim=1), weights


def label_averaged_and_rounded(query, key, label, classes, width):
    estimate, _ = nadaraya_watson(query, key, label.float(), width=width)
    return one_hot(estimate.round().long(), classes).float()


def a_second_softmax(query, key, label, classes, width):
    p, _ = nadaraya_watson(query, key, one_hot(label, classes).float(), width=width)
    return p.softmax(dim=1)


def nearest_label_only(query, key, label, classes, width):
    nearest = (query[:, None] - key).abs().argmin(dim=1)
    return one_hot(label[nearest], classes).float()


def shares_of_the_classes(query, key, label, classes, width):
    return one_hot(label, classes).float().mean(dim=0).expand(len(query), classes)


def classes_taken_from_the_labels(query, key, label, classes, width):
    return nadaraya_watson(query, key, one_hot(label).float(), width=width)[0]


WRONG = {
    "check_my_epanechnikov": [
        triangular_instead,
        not_cut_off,
        without_three_quarters,
        a_sharper_parabola,
    ],
    "check_is_kernel": [
        always_yes,
        only_the_area,
        forgets_the_sign,
        forgets_the_symmetry,
        area_not_above_one,
        mean_zero_for_symmetric,
        on_whole_numbers_only,
        symmetric_at_one_point,
    ],
    "check_pool_in_the_plane": [
        city_block_distance,
        normalised_over_queries,
        width_not_squared,
        distance_not_squared,
        first_coordinate_only,
        weights_right_estimate_a_sum,
    ],
    "check_class_probabilities": [
        label_averaged_and_rounded,
        a_second_softmax,
        nearest_label_only,
        shares_of_the_classes,
        classes_taken_from_the_labels,
    ],
}
