"""Plausible wrong answers to the exercises of chapters/07-seq2seq-attention.ipynb."""

import torch


def step(state, h, mask, W_c, scale=1.0, closed=-torch.inf, swap=False, act=torch.tanh):
    weights = torch.softmax((h @ state * scale).masked_fill(~mask, closed), dim=0)
    both = [weights @ h, state]
    return act(W_c @ torch.cat(both[::-1] if swap else both)), weights


def unmasked(state, h, mask, W_c):
    return step(state, h, mask | True, W_c)


def scaled(state, h, mask, W_c):
    return step(state, h, mask, W_c, scale=len(state) ** -0.5)


def state_first(state, h, mask, W_c):
    return step(state, h, mask, W_c, swap=True)


def without_tanh(state, h, mask, W_c):
    return step(state, h, mask, W_c, act=lambda x: x)


def masked_afterwards(state, h, mask, W_c):
    weights = torch.softmax(h @ state, dim=0) * mask
    return torch.tanh(W_c @ torch.cat([weights @ h, state])), weights


def local(weights, places, width, exponent=2, half=2, share=True):
    distance = (torch.arange(weights.shape[1]) - places[:, None]).abs()
    near = weights * torch.exp(-(distance**exponent) / (half * width**exponent))
    return near / near.sum(dim=1, keepdim=True) if share else near


def not_divided(weights, places, width):
    return local(weights, places, width, share=False)


def without_the_two(weights, places, width):
    return local(weights, places, width, half=1)


def not_squared(weights, places, width):
    return local(weights, places, width, exponent=1)


def counts_from_one(weights, places, width):
    return local(weights, places - 1, width)


def gaussian_alone(weights, places, width):
    return local(torch.ones_like(weights), places, width)


def changes_the_weights(weights, places, width):
    weights *= torch.exp(
        -((torch.arange(weights.shape[1]) - places[:, None]) ** 2) / (2 * width**2)
    )
    weights /= weights.sum(dim=1, keepdim=True)
    return weights


def rows_only(weights):
    return sorted((int(i), j) for j, i in enumerate(weights.argmax(dim=1)))


def columns_only(weights):
    return sorted((i, int(j)) for i, j in enumerate(weights.argmax(dim=0)))


def target_first(weights):
    of_column = weights.argmax(dim=0)
    return sorted((j, int(i)) for j, i in enumerate(weights.argmax(dim=1)) if of_column[i] == j)


def either(weights):
    return sorted(set(rows_only(weights)) | set(columns_only(weights)))


def copies_end_of_sentence(said, weights, source):
    words = [*source, "<eos>"]
    best = weights.argmax(dim=1).tolist()
    return [words[i] if word == "<unk>" else word for word, i in zip(said, best, strict=True)]


def same_place(said, weights, source):
    return [source[i] if word == "<unk>" else word for i, word in enumerate(said)]


def replaces_all(said, weights, source):
    return [source[i] for i in weights[:, : len(source)].argmax(dim=1).tolist()]


def changes_what_was_given(said, weights, source):
    best = weights[:, : len(source)].argmax(dim=1).tolist()
    for j, word in enumerate(said):
        if word == "<unk>":
            said[j] = source[best[j]]
    return said


def first_so_many(state, h, mask, W_c):
    return step(state, h, torch.arange(len(mask)) < mask.sum(), W_c)


def always_six(weights, places, width):
    distance = torch.arange(6) - places[:, None]
    near = weights[:, :6] * torch.exp(-(distance**2) / (2 * width**2))
    return near / near.sum(dim=1, keepdim=True)


def drops_the_last_column(said, weights, source):
    best = weights[:, :-1].argmax(dim=1).tolist()
    return [source[i] if word == "<unk>" else word for word, i in zip(said, best, strict=True)]


def each_word_once(said, weights, source):
    weights, words = weights[:, : len(source)].clone(), list(said)
    for j, word in enumerate(words):
        if word == "<unk>":
            best = int(weights[j].argmax())
            words[j] = source[best]
            weights[:, best] = -1
    return words


WRONG = {
    "check_luong_step": [
        first_so_many,
        unmasked,
        scaled,
        state_first,
        without_tanh,
        masked_afterwards,
    ],
    "check_local_weights": [
        always_six,
        not_divided,
        without_the_two,
        not_squared,
        counts_from_one,
        gaussian_alone,
        changes_the_weights,
    ],
    "check_mutual_alignment": [rows_only, columns_only, target_first, either],
    "check_replace_unknown": [
        drops_the_last_column,
        each_word_once,
        copies_end_of_sentence,
        same_place,
        replaces_all,
        changes_what_was_given,
    ],
}
