"""Plausible wrong answers to the exercises of chapters/04-scoring-functions.ipynb."""

import torch


def without_tanh(query, key, W_q, W_k, w):
    return ((query @ W_q.T)[:, :, None] + (key @ W_k.T)[:, None]) @ w


def tanh_before_the_sum(query, key, W_q, W_k, w):
    return (torch.tanh(query @ W_q.T)[:, :, None] + torch.tanh(key @ W_k.T)[:, None]) @ w


def rows_are_keys(query, key, W_q, W_k, w):
    return torch.tanh((query @ W_q.T)[:, None] + (key @ W_k.T)[:, :, None]) @ w


def each_query_with_its_own_key(query, key, W_q, W_k, w):
    hidden = torch.tanh(query @ W_q.T + key @ W_k.T) @ w
    return hidden[:, :, None].expand(-1, -1, key.shape[1])


def forgets_the_keys(query, key, W_q, W_k, w):
    return (torch.tanh(query @ W_q.T) @ w)[:, :, None].expand(-1, -1, key.shape[1])


def multiplies_the_matrix_out(query, key, A, B):
    return query @ (A.T @ B) @ key.transpose(1, 2)


def same_map_for_both(query, key, A, B):
    return (query @ A.T) @ (key[..., : query.shape[-1]] @ A.T).transpose(1, 2)


def with_tanh(query, key, A, B):
    return torch.tanh(query @ A.T) @ torch.tanh(key @ B.T).transpose(1, 2)


def scaled_by_rank(query, key, A, B):
    return (query @ A.T) @ (key @ B.T).transpose(1, 2) / len(A)


def transposed_scores(query, key, A, B):
    return (key @ B.T) @ (query @ A.T).transpose(1, 2)


def maps_each_time(score, queries, key):
    return [torch.softmax(score(q, key), dim=-1) for q in queries]


def scores_only(score, queries, key):
    prepared = score.prepare(key)
    return [score.compare(q, prepared) for q in queries]


def over_the_queries(score, queries, key):
    prepared = score.prepare(key)
    return [torch.softmax(score.compare(q, prepared), dim=-2) for q in queries]


def first_query_only(score, queries, key):
    weights = torch.softmax(score.compare(queries[0], score.prepare(key)), dim=-1)
    return [weights for _ in queries]


def ones():
    return (lambda k: torch.stack([k, torch.ones_like(k)], dim=2)), torch.eye(2)


def square_without_sign():
    W = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    return (lambda k: torch.stack([k, k**2], dim=2)), W


def forgets_the_two():
    W = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    return (lambda k: torch.stack([k, k**2], dim=2)), W


def distance_from_zero():
    W = torch.tensor([[2.0, 0.0], [0.0, -1.0]])
    return (lambda k: torch.stack([k, k.abs()], dim=2)), W


WRONG = {
    "check_additive_score": [
        without_tanh,
        tanh_before_the_sum,
        rows_are_keys,
        each_query_with_its_own_key,
        forgets_the_keys,
    ],
    "check_low_rank_score": [
        multiplies_the_matrix_out,
        same_map_for_both,
        with_tanh,
        scaled_by_rank,
        transposed_scores,
    ],
    "check_weights_step_by_step": [maps_each_time, scores_only, over_the_queries, first_query_only],
    "check_nearest_by_general": [
        ones,
        square_without_sign,
        forgets_the_two,
        distance_from_zero,
    ],
}
