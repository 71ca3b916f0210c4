"""Plausible wrong answers to the exercises of chapters/09-multi-head-attention.ipynb."""

import math

import torch

from attn_utils.attention import MultiHeadAttention, scaled_dot_product_attention


def split(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def join(heads):
    return heads.transpose(1, 2).flatten(-2)


def view_alone(heads):
    return lambda x: x.reshape(x.shape[0], heads, x.shape[1], -1), join


def view_both_ways(heads):
    def back(y):
        return y.reshape(y.shape[0], y.shape[2], -1)

    return lambda x: x.reshape(x.shape[0], heads, x.shape[1], -1), back


def without_the_swap(heads):
    return lambda x: x.unflatten(-1, (heads, -1)), lambda y: y.flatten(-2)


def interleaved(heads):
    def apart(x):
        return x.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2)

    def back(y):
        return y.permute(0, 2, 3, 1).flatten(-2)

    return apart, back


def joins_without_the_swap(heads):
    return lambda x: split(x, heads), lambda y: y.reshape(y.shape[0], y.shape[2], -1)


def number_of_heads_as_width(heads):
    return lambda x: x.unflatten(-1, (-1, heads)).transpose(1, 2), join


def heads_before_the_batch(heads):
    return lambda x: x.unflatten(-1, (heads, -1)).permute(2, 0, 1, 3), join


def contrast(loud=60.0, shares=(1.0, 1.0), signs=(-1.0, 1.0), bias=True, heads=2, width=12):
    eye, none, wide = torch.eye(8), torch.zeros(8, width), torch.zeros(8, width)
    wide[:, :8] = eye
    first, last = shares
    for_mean = torch.cat([first * wide, none, last * wide])
    for_b = torch.cat([none, wide, none])
    model = MultiHeadAttention(24, heads, kdim=8, vdim=8)
    out = torch.zeros(24, 24)
    out[:8, :8], out[12:20, :8] = signs[0] * eye, signs[1] * eye
    with torch.no_grad():
        model.q_proj.weight.copy_(loud * torch.cat([for_mean, for_b], dim=1).T)
        for proj in (model.k_proj, model.v_proj):
            proj.weight.copy_(torch.cat([wide, wide], dim=1).T)
        model.out_proj.weight.copy_(out.T)
        if bias:
            for proj in (model.q_proj, model.k_proj, model.v_proj, model.out_proj):
                proj.bias.zero_()
    return model


def quiet():
    return contrast(loud=1.0)


def rather_quiet():
    return contrast(loud=15.0)


def only_the_first():
    return contrast(shares=(1.0, 0.0))


def unequal_shares():
    return contrast(shares=(1.0, 0.98))


def other_sign():
    return contrast(signs=(1.0, -1.0))


def adds():
    return contrast(signs=(1.0, 1.0))


def sum_for_mean():
    return contrast(signs=(-2.0, 1.0))


def biases_left():
    torch.manual_seed(3)
    return contrast(bias=False)


def three_heads():
    model = MultiHeadAttention(24, 3, kdim=8, vdim=8)
    eye, blocks = torch.eye(8), torch.zeros(24, 24)
    for i, share in enumerate((-0.5, 1.0, -0.5)):
        blocks[8 * i : 8 * i + 8, :8] = share * eye
    with torch.no_grad():
        model.q_proj.weight.copy_(60 * torch.eye(24))
        model.k_proj.weight.copy_(torch.cat([eye] * 3))
        model.v_proj.weight.copy_(torch.cat([eye] * 3))
        model.out_proj.weight.copy_(blocks.T)
        for proj in (model.q_proj, model.k_proj, model.v_proj, model.out_proj):
            proj.bias.zero_()
    return model


def out_not_transposed():
    model = contrast()
    model.out_proj.weight.data = model.out_proj.weight.data.T.clone()
    return model


def untrained():
    torch.manual_seed(0)
    return MultiHeadAttention(24, 2, kdim=8, vdim=8)


def of_pytorch():
    return torch.nn.MultiheadAttention(24, 2, kdim=8, vdim=8, batch_first=True)


def weights_of(theirs):
    if theirs.in_proj_weight is None:
        return [getattr(theirs, f"{name}_proj_weight") for name in "qkv"]
    return list(theirs.in_proj_weight.chunk(3))


def convert(theirs, order="qkv", transposed=False, biases="all", sizes=True, share=False):
    E, bias = theirs.embed_dim, theirs.in_proj_bias is not None
    options = {"kdim": theirs.kdim, "vdim": theirs.vdim} if sizes else {}
    ours = MultiHeadAttention(E, theirs.num_heads, bias=bias, **options)
    weights = dict(zip(order, weights_of(theirs), strict=True))
    with torch.no_grad():
        for i, name in enumerate("qkv"):
            proj = getattr(ours, f"{name}_proj")
            W = weights[name].T if transposed and weights[name].shape == (E, E) else weights[name]
            if W.shape != proj.weight.shape:
                continue
            proj.weight.copy_(W)
            if bias and biases != "out":
                proj.bias.copy_(theirs.in_proj_bias.chunk(3)[i])
        if share:
            ours.out_proj.weight = theirs.out_proj.weight
        ours.out_proj.weight.data.copy_(theirs.out_proj.weight)
        if bias and biases != "in":
            ours.out_proj.bias.copy_(theirs.out_proj.bias)
    return ours


def another_order(theirs):
    return convert(theirs, order="kqv")


def matrices_transposed(theirs):
    return convert(theirs, transposed=True)


def without_input_biases(theirs):
    return convert(theirs, biases="out")


def without_the_output_bias(theirs):
    return convert(theirs, biases="in")


def forgets_kdim(theirs):
    return convert(theirs, sizes=False)


def shares_the_output(theirs):
    return convert(theirs, share=True)


def frozen(theirs):
    return convert(theirs).requires_grad_(False)


def always_with_bias(theirs):
    ours = MultiHeadAttention(theirs.embed_dim, theirs.num_heads, theirs.kdim, theirs.vdim)
    same = convert(theirs).state_dict()
    ours.load_state_dict({name: same.get(name, 0 * p) for name, p in ours.state_dict().items()})
    return ours


def one_head(theirs):
    ours = MultiHeadAttention(theirs.embed_dim, 1, theirs.kdim, theirs.vdim)
    return ours


def hands_it_back(theirs):
    return theirs


def parts_shared(theirs):
    ours = convert(theirs)
    for name, W in zip("qkv", weights_of(theirs), strict=True):
        getattr(ours, f"{name}_proj").weight.data = W.data
    return ours


def grouped(query, key, value, W_q, W_k, W_v, W_o, spread, count=None, scale=None):
    q = query[:, None] @ W_q
    if scale is not None:
        q = q * scale
    k, v = key[:, None] @ W_k, value[:, None] @ W_v
    output, _ = scaled_dot_product_attention(q, spread(k, len(W_q)), spread(v, len(W_q)))
    floats = k.numel() + v.numel() if count is None else count(k, len(W_q))
    return output.transpose(1, 2).flatten(-2) @ W_o, floats


def in_order(x, heads):
    return x.repeat_interleave(heads // x.shape[1], dim=1)


def in_turn(x, heads):
    return x.repeat(1, heads // x.shape[1], 1, 1)


def repeat_for_repeat_interleave(*args):
    return grouped(*args, spread=in_turn)


def first_group_for_all(*args):
    return grouped(*args, spread=lambda x, heads: x[:, :1].expand(-1, heads, -1, -1))


def mean_of_the_groups(*args):
    return grouped(
        *args, spread=lambda x, heads: x.mean(dim=1, keepdim=True).expand(-1, heads, -1, -1)
    )


def counts_after_repeating(*args):
    return grouped(
        *args, spread=in_order, count=lambda k, heads: 2 * k.numel() // k.shape[1] * heads
    )


def counts_keys_only(*args):
    return grouped(*args, spread=in_order, count=lambda k, heads: k.numel())


def scaled_by_all_features(query, key, value, W_q, W_k, W_v, W_o):
    D, E = W_q.shape[-1], query.shape[-1]
    args = (query, key, value, W_q, W_k, W_v, W_o)
    return grouped(*args, spread=in_order, scale=math.sqrt(D / E))


def joined_without_the_swap(query, key, value, W_q, W_k, W_v, W_o):
    q, k, v = query[:, None] @ W_q, key[:, None] @ W_k, value[:, None] @ W_v
    output, _ = scaled_dot_product_attention(q, in_order(k, len(W_q)), in_order(v, len(W_q)))
    joined = output.reshape(query.shape[0], query.shape[1], -1)
    return joined @ W_o, k.numel() + v.numel()


def without_the_output_projection(query, key, value, W_q, W_k, W_v, W_o):
    identity = torch.eye(len(W_o))
    return grouped(query, key, value, W_q, W_k, W_v, identity, spread=in_order)


WRONG = {
    "check_split_and_join": [
        view_alone,
        view_both_ways,
        without_the_swap,
        interleaved,
        joins_without_the_swap,
        number_of_heads_as_width,
        heads_before_the_batch,
    ],
    "check_contrast": [
        quiet,
        rather_quiet,
        only_the_first,
        unequal_shares,
        other_sign,
        adds,
        sum_for_mean,
        biases_left,
        three_heads,
        out_not_transposed,
        untrained,
        of_pytorch,
    ],
    "check_from_torch": [
        frozen,
        another_order,
        matrices_transposed,
        without_input_biases,
        without_the_output_bias,
        forgets_kdim,
        shares_the_output,
        always_with_bias,
        one_head,
        hands_it_back,
        parts_shared,
    ],
    "check_grouped_query_attention": [
        repeat_for_repeat_interleave,
        first_group_for_all,
        mean_of_the_groups,
        counts_after_repeating,
        counts_keys_only,
        scaled_by_all_features,
        joined_without_the_swap,
        without_the_output_projection,
    ],
}
