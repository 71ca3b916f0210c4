"""Plausible wrong answers to the exercises of chapters/_template.ipynb."""


def near(query, key, width):
    return ((query[:, None] - key).abs() < width).float()


def not_normalised(query, key, value, width):
    return near(query, key, width) @ value


def normalised_over_queries(query, key, value, width):
    weights = near(query, key, width)
    return (weights / weights.sum(dim=0, keepdim=True).clamp(min=1)) @ value


def width_as_full_width(query, key, value, width):
    weights = near(query, key, width / 2)
    return (weights / weights.sum(dim=1, keepdim=True).clamp(min=1)) @ value


def one_number(query, key, value, width):
    return value.mean()


WRONG = {
    "check_boxcar_pooling": [
        not_normalised,
        normalised_over_queries,
        width_as_full_width,
        one_number,
    ],
}
