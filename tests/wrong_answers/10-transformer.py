"""Plausible wrong answers to the exercises of chapters/10-transformer.ipynb."""

import torch


def masks(src_lens, S, L, causal=torch.tril, flip=False, cross_causal=False):
    real = torch.arange(S) < src_lens[:, None, None]
    past = causal(torch.ones(L, L, dtype=torch.bool))
    if flip:
        return ~real, ~past, ~real
    return real, past, past if cross_causal else real


def closed_instead_of_open(src_lens, S, L):
    return masks(src_lens, S, L, flip=True)


def only_the_future(src_lens, S, L):
    return masks(src_lens, S, L, causal=torch.triu)


def strictly_the_past(src_lens, S, L):
    return masks(src_lens, S, L, causal=lambda x: x.tril(-1))


def causal_cross_attention(src_lens, S, L):
    return masks(src_lens, S, L, cross_causal=True)


def rows_instead_of_columns(src_lens, S, L):
    real, past, _ = masks(src_lens, S, L)
    return real.transpose(1, 2).expand(-1, S, S), past, real


def encoder_without_padding(src_lens, S, L):
    real, past, cross = masks(src_lens, S, L)
    return torch.ones_like(real), past, cross


def causal_encoder(src_lens, S, L):
    real, past, cross = masks(src_lens, S, L)
    return real & torch.ones(S, S, dtype=torch.bool).tril(), past, cross


def zeros_and_ones(src_lens, S, L):
    return [mask.float() for mask in masks(src_lens, S, L)]


def the_layer_itself(layer, x, mask):
    return layer(x, mask)[0]


def the_switch_and_the_layer(layer, x, mask):
    layer.norm_first = False
    return layer(x, mask)[0]


def the_switch_and_the_parts_of_the_layer(layer, x, mask):
    layer.norm_first = False
    return layer._feed_forward(layer._after(0, x, layer.self_attn(x, x, x, mask)[0]))


def the_switch_and_its_feed_forward(layer, x, mask):
    layer.norm_first = False
    return layer._feed_forward(layer.norms[0](x + attended(layer, x, mask)))


def attended(layer, x, mask):
    return layer.self_attn(x, x, x, mask)[0]


def pre_norm(layer, x, mask):
    x = x + attended(layer, layer.norms[0](x), mask)
    return x + layer.ffn(layer.norms[1](x))


def norm_before_the_addition(layer, x, mask):
    x = x + layer.norms[0](attended(layer, x, mask))
    return x + layer.norms[1](layer.ffn(x))


def no_residual(layer, x, mask):
    x = layer.norms[0](attended(layer, x, mask))
    return layer.norms[1](layer.ffn(x))


def one_norm_twice(layer, x, mask):
    x = layer.norms[0](x + attended(layer, x, mask))
    return layer.norms[0](x + layer.ffn(x))


def no_mask(layer, x, mask):
    x = layer.norms[0](x + attended(layer, x, None))
    return layer.norms[1](x + layer.ffn(x))


def norm_at_the_end_only(layer, x, mask):
    x = x + attended(layer, x, mask)
    return layer.norms[1](x + layer.ffn(x))


def feed_forward_of_the_input(layer, x, mask):
    y = layer.norms[0](x + attended(layer, x, mask))
    return layer.norms[1](y + layer.ffn(x))


def in_place(layer, x, mask):
    x += attended(layer, x, mask)
    x = layer.norms[0](x)
    return layer.norms[1](x + layer.ffn(x))


def differences(model, src, src_lens, tgt_in, place):
    changed = tgt_in.clone()
    changed[:, place] = (changed[:, place] + 1) % 20
    return (model(src, src_lens, tgt_in)[0] - model(src, src_lens, changed)[0]).abs()


def one_mode_only(model, src, src_lens, tgt_in):
    places = range(1, tgt_in.shape[1])
    return any(differences(model, src, src_lens, tgt_in, p)[:, :p].max() > 1e-5 for p in places)


def evaluation_only(model, src, src_lens, tgt_in):
    was = model.training
    model.eval()
    found = one_mode_only(model, src, src_lens, tgt_in)
    model.train(was)
    return found


def both_modes(model, look):
    was, found = model.training, False
    for mode in (True, False):
        model.train(mode)
        found = found or bool(look())
    model.train(was)
    return found


def any_change(model, src, src_lens, tgt_in):
    return both_modes(model, lambda: differences(model, src, src_lens, tgt_in, 3).max() > 1e-5)


def own_logit_counts(model, src, src_lens, tgt_in):
    return both_modes(
        model, lambda: differences(model, src, src_lens, tgt_in, 3)[:, :4].max() > 1e-5
    )


def one_place_only(model, src, src_lens, tgt_in):
    return both_modes(
        model, lambda: differences(model, src, src_lens, tgt_in, 3)[:, :3].max() > 1e-5
    )


def coarse(model, src, src_lens, tgt_in):
    places = range(1, tgt_in.shape[1])
    return both_modes(
        model,
        lambda: any(
            differences(model, src, src_lens, tgt_in, p)[:, :p].max() > 0.1 for p in places
        ),
    )


def last_token_only(model, src, src_lens, tgt_in):
    return both_modes(
        model, lambda: differences(model, src, src_lens, tgt_in, -1)[:, :-1].max() > 1e-5
    )


def first_place_only(model, src, src_lens, tgt_in):
    places = range(1, tgt_in.shape[1])
    return both_modes(
        model,
        lambda: any(
            differences(model, src, src_lens, tgt_in, p)[:, 0].max() > 1e-5 for p in places
        ),
    )


def first_sentence_only(model, src, src_lens, tgt_in):
    places = range(1, tgt_in.shape[1])
    return both_modes(
        model,
        lambda: any(
            differences(model, src, src_lens, tgt_in, p)[0, :p].max() > 1e-5 for p in places
        ),
    )


def forgets_the_mode(model, src, src_lens, tgt_in):
    found = both_modes(model, lambda: one_mode_only(model, src, src_lens, tgt_in))
    model.eval()
    return found


def one_token_for_all(model, src, src_lens, tgt_in, token=6):
    def look():
        for place in range(1, tgt_in.shape[1]):
            changed = tgt_in.clone()
            changed[:, place] = token
            apart = model(src, src_lens, tgt_in)[0] - model(src, src_lens, changed)[0]
            if apart[:, :place].abs().max() > 1e-5:
                return True
        return False

    return both_modes(model, look)


def the_last_word_of_the_vocabulary(model, src, src_lens, tgt_in):
    return one_token_for_all(model, src, src_lens, tgt_in, 19)


def never(model, src, src_lens, tgt_in):
    return False


def joined(attn, x, k, v):
    new_k, new_v = attn.prepare(x, x)
    return torch.cat([k, new_k], dim=2), torch.cat([v, new_v], dim=2)


def not_itself(attn, x, k, v):
    longer = joined(attn, x, k, v)
    return attn.attend(x, k, v)[0] if k.shape[2] else x * 0, *longer


def only_itself(attn, x, k, v):
    return attn.attend(x, *attn.prepare(x, x))[0], *joined(attn, x, k, v)


def cache_stays(attn, x, k, v):
    return attn.attend(x, *joined(attn, x, k, v))[0], k, v


def newest_in_front(attn, x, k, v):
    new_k, new_v = attn.prepare(x, x)
    longer = torch.cat([new_k, k], dim=2), torch.cat([v, new_v], dim=2)
    return attn.attend(x, *longer)[0], *longer


def both_newest_in_front(attn, x, k, v):
    new_k, new_v = attn.prepare(x, x)
    longer = torch.cat([new_k, k], dim=2), torch.cat([new_v, v], dim=2)
    return attn.attend(x, *longer)[0], *longer


def with_weights(attn, x, k, v):
    longer = joined(attn, x, k, v)
    return attn.attend(x, *longer)[1], *longer


def keys_for_values(attn, x, k, v):
    new_k, _ = attn.prepare(x, x)
    longer = torch.cat([k, new_k], dim=2), torch.cat([v, new_k], dim=2)
    return attn.attend(x, *longer)[0], *longer


WRONG = {
    "check_three_masks": [
        closed_instead_of_open, only_the_future, strictly_the_past, causal_cross_attention,
        rows_instead_of_columns, encoder_without_padding, causal_encoder, zeros_and_ones,
    ],
    "check_post_norm_layer": [
        pre_norm, norm_before_the_addition, no_residual, one_norm_twice, no_mask,
        norm_at_the_end_only, feed_forward_of_the_input, in_place, the_layer_itself,
        the_switch_and_the_layer, the_switch_and_the_parts_of_the_layer,
        the_switch_and_its_feed_forward,
    ],
    "check_leaks": [
        one_mode_only, evaluation_only, any_change, own_logit_counts, one_place_only, coarse,
        last_token_only, first_place_only, first_sentence_only,
        forgets_the_mode, never, one_token_for_all, the_last_word_of_the_vocabulary,
    ],
    "check_cached_attention": [
        not_itself, only_itself, cache_stays, newest_in_front, both_newest_in_front,
        with_weights, keys_for_values,
    ],
}  # fmt: skip
