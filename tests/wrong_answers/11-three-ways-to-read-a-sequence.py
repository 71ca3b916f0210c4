"""Plausible wrong answers to the exercises of chapters/11-three-ways-to-read-a-sequence.ipynb."""

import torch
import torch.nn.functional as F


def bill_with(kind, n, d, k, matrices=None, pairs=2, steps=None, kept=None):
    """The right bill, but for what is given."""
    right = {"LSTM": 8, "convolution": k, "attention": 4} | (matrices or {})
    waits = {"LSTM": n, "convolution": 1, "attention": 1} | (steps or {})
    remembered = {"LSTM": 2, "convolution": k - 1, "attention": 2 * n} | (kept or {})
    operations = right[kind] * n * d * d + (kind == "attention") * pairs * n * n * d
    return operations, waits[kind], remembered[kind] * d


def orders_of_growth_only(kind, n, d, k):
    return bill_with(kind, n, d, k, matrices={"LSTM": 1, "attention": 0}, pairs=1)


def attention_without_its_maps(kind, n, d, k):
    return bill_with(kind, n, d, k, matrices={"attention": 0})


def attention_without_the_output_map(kind, n, d, k):
    return bill_with(kind, n, d, k, matrices={"attention": 3})


def scores_only(kind, n, d, k):
    return bill_with(kind, n, d, k, pairs=1)


def half_saved_by_the_mask(kind, n, d, k):
    operations, *rest = bill_with(kind, n, d, k)
    return operations - (kind == "attention") * n * (n - 1) * d, *rest


def one_matrix_for_each_gate(kind, n, d, k):
    return bill_with(kind, n, d, k, matrices={"LSTM": 4})


def flops_not_operations(kind, n, d, k):
    operations, *rest = bill_with(kind, n, d, k)
    return 2 * operations, *rest


def convolution_waits_for_its_taps(kind, n, d, k):
    return bill_with(kind, n, d, k, steps={"convolution": k})


def attention_waits_too(kind, n, d, k):
    return bill_with(kind, n, d, k, steps={"attention": n})


def forgets_the_memory_of_the_lstm(kind, n, d, k):
    return bill_with(kind, n, d, k, kept={"LSTM": 1})


def keys_only(kind, n, d, k):
    return bill_with(kind, n, d, k, kept={"attention": n})


def remembers_the_newest_input_too(kind, n, d, k):
    return bill_with(kind, n, d, k, kept={"convolution": k})


def no_holes(layers):
    return list(range(1 + sum((k - 1) * D for k, D in layers)))


def one_place_too_many(layers):
    return list(range(2 + sum((k - 1) * D for k, D in layers)))


def each_layer_alone(layers):
    return sorted({0} | {j * D for k, D in layers for j in range(k)})


def last_layer_only(layers):
    return [j * layers[-1][1] for j in range(layers[-1][0])] if layers else [0]


def kernel_one_wider(layers):
    return grown([(k + 1, D) for k, D in layers])


def ignores_the_dilation(layers):
    return grown([(k, 1) for k, _ in layers])


def swaps_size_and_dilation(layers):
    return grown([(D, k) for k, D in layers])


def forgets_its_own_place(layers):
    return grown(layers)[1:]


def with_repeats(layers):
    read = [0]
    for k, D in layers:
        read = [distance + j * D for distance in read for j in range(k)]
    return sorted(read)


def grown(layers):
    read = {0}
    for k, D in layers:
        read = {distance + j * D for distance in read for j in range(k)}
    return sorted(read)


def step(x_t, memory, W, b, dilation, most=None, every=None):
    """The right step, but for what is given."""
    span = (len(W) - 1) * dilation
    most = span if most is None else most
    window = torch.cat([memory, x_t])
    padded = F.pad(window, (0, 0, max(span + 1 - len(window), 0), 0))
    taps = padded.flip(0)[:: every or dilation][: len(W)]
    y = b + torch.einsum("kd,kde->e", taps, W)
    return y[None], window[max(len(window) - most, 0) :]


def remembers_everything(x_t, memory, W, b, dilation):
    return step(x_t, memory, W, b, dilation, most=10**6)


def remembers_one_too_many(x_t, memory, W, b, dilation):
    return step(x_t, memory, W, b, dilation, most=(len(W) - 1) * dilation + 1)


def remembers_k_inputs_only(x_t, memory, W, b, dilation):
    return step(x_t, memory, W, b, dilation, most=len(W) - 1)


def reversed_step(x_t, memory, W, b, dilation):
    return step(x_t, memory, W.flip(0), b, dilation)


def without_gaps(x_t, memory, W, b, dilation):
    return step(x_t, memory, W, b, dilation, every=1)


def forgets_the_bias(x_t, memory, W, b, dilation):
    return step(x_t, memory, W, 0 * b, dilation)


def all_but_the_first_slice(x_t, memory, W, b, dilation):
    """window[-0:] keeps everything when k is 1."""
    y, _ = step(x_t, memory, W, b, dilation)
    return y, torch.cat([memory, x_t])[-(len(W) - 1) * dilation :]


def a_flat_output(x_t, memory, W, b, dilation):
    y, memory = step(x_t, memory, W, b, dilation)
    return y[0], memory


def a_set(layers):
    read = {0}
    for k, r in layers:
        read = {distance + j * r for distance in read for j in range(k)}
    return read


def loop(a, b):
    states, h = [], torch.zeros_like(b[0])
    for a_t, b_t in zip(a, b, strict=True):
        h = a_t * h + b_t
        states.append(h)
    return torch.stack(states)


def loop_over_numbers(a, b):
    states, h = [], [0.0] * b.shape[1]
    for a_t, b_t in zip(a.tolist(), b.tolist(), strict=True):
        h = [x * y + z for x, y, z in zip(a_t, h, b_t, strict=True)]
        states.append(h)
    return torch.tensor(states)


def only_the_last_32_steps(a, b):
    gap = 1
    while gap < min(len(a), 32):
        earlier_a = F.pad(a[:-gap], (0, 0, gap, 0), value=1.0)
        earlier_b = F.pad(b[:-gap], (0, 0, gap, 0))
        a, b = a * earlier_a, a * earlier_b + b
        gap *= 2
    return b


def divides_by_products(a, b):
    product = a.cumprod(dim=0)
    return product * (b / product).cumsum(dim=0)


def clamps_before_dividing(a, b):
    product = a.cumprod(dim=0).clamp(min=1e-30)
    return product * (b / product).cumsum(dim=0)


def clamps_in_double_precision(a, b):
    product = a.double().clamp(min=1e-12).cumprod(dim=0)
    return (product * (b / product).cumsum(dim=0)).float()


def clamps_in_double_precision_with_signs(a, b):
    product = torch.where(a.abs() < 1e-12, 1e-12, a.double()).cumprod(dim=0)
    return (product * (b / product).cumsum(dim=0)).float()


def all_pairs(a, b):
    n = len(a)
    factors = torch.zeros(n, n, a.shape[1])
    later = torch.ones(n, n).tril()[..., None] > 0
    spread = torch.where(later.transpose(0, 1), torch.ones(()), a[:, None].expand(n, n, -1))
    factors = torch.where(later, spread.cumprod(dim=0), 0)
    return (factors * b).sum(dim=1)


def right_in_place(a, b):
    a, b, gap = a.clone(), b.clone(), 1
    while gap < len(a):
        b[gap:] = b[gap:] + a[gap:] * b[:-gap].clone()
        a[gap:] = a[gap:] * a[:-gap].clone()
        gap *= 2
    return b


def right_without_half_of_the_gradient(a, b):
    gap = 1
    while gap < len(a):
        before_a, before_b = F.pad(a, (0, 0, gap, 0), value=1.0), F.pad(b, (0, 0, gap, 0))
        b = b + a * before_b[: len(b)].detach()
        a, gap = a * before_a[: len(a)].detach(), 2 * gap
    return b


def one_round_only(a, b):
    return b + F.pad(a[1:] * b[:-1], (0, 0, 1, 0))


def one_round_too_few(a, b):
    gap = 1
    while 2 * gap < len(a):
        a, b, gap = (*combined(a, b, gap), 2 * gap)
    return b


def combined(a, b, gap, fill=1.0):
    earlier_a = F.pad(a[:-gap], (0, 0, gap, 0), value=fill)
    earlier_b = F.pad(b[:-gap], (0, 0, gap, 0))
    return a * earlier_a, a * earlier_b + b


def factors_not_combined(a, b):
    gap = 1
    while gap < len(a):
        b, gap = combined(a, b, gap)[1], 2 * gap
    return b


def gap_grows_by_one(a, b):
    for gap in range(1, len(a)):
        a, b = combined(a, b, gap)
    return b


def the_factor_of_the_wrong_place(a, b):
    gap = 1
    while gap < len(a):
        earlier_a = F.pad(a[:-gap], (0, 0, gap, 0), value=1.0)
        earlier_b = F.pad(b[:-gap], (0, 0, gap, 0))
        a, b, gap = a * earlier_a, earlier_a * earlier_b + b, 2 * gap
    return b


def a_sum_without_factors(a, b):
    return b.cumsum(dim=0)


def in_place(a, b):
    gap = 1
    while gap < len(a):
        new_a, new_b = combined(a, b, gap)
        a.copy_(new_a)
        b.copy_(new_b)
        gap *= 2
    return b


WRONG = {
    "check_bill": [
        orders_of_growth_only,
        attention_without_its_maps,
        attention_without_the_output_map,
        scores_only,
        half_saved_by_the_mask,
        one_matrix_for_each_gate,
        flops_not_operations,
        convolution_waits_for_its_taps,
        attention_waits_too,
        forgets_the_memory_of_the_lstm,
        keys_only,
        remembers_the_newest_input_too,
    ],
    "check_distances_read": [
        no_holes,
        one_place_too_many,
        each_layer_alone,
        last_layer_only,
        kernel_one_wider,
        ignores_the_dilation,
        swaps_size_and_dilation,
        forgets_its_own_place,
        with_repeats,
        a_set,
    ],
    "check_dilated_step": [
        remembers_everything,
        remembers_one_too_many,
        remembers_k_inputs_only,
        reversed_step,
        without_gaps,
        forgets_the_bias,
        all_but_the_first_slice,
        a_flat_output,
    ],
    "check_linear_recurrence": [
        right_in_place,
        right_without_half_of_the_gradient,
        loop,
        loop_over_numbers,
        only_the_last_32_steps,
        divides_by_products,
        clamps_before_dividing,
        clamps_in_double_precision,
        clamps_in_double_precision_with_signs,
        all_pairs,
        one_round_only,
        one_round_too_few,
        factors_not_combined,
        gap_grows_by_one,
        the_factor_of_the_wrong_place,
        a_sum_without_factors,
        in_place,
    ],
}
