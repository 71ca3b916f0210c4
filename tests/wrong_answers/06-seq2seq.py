"""Plausible wrong answers to the exercises of chapters/06-seq2seq.ipynb."""

import math
from collections import Counter

import torch

from attn_utils.data import BOS, EOS, PAD


def tensors(targets, read, say):
    length = max(map(len, targets)) + 1
    rows = [[f(target) for target in targets] for f in (read, say)]
    filled = [[(row + [PAD] * length)[:length] for row in side] for side in rows]
    return torch.tensor(filled[0]), torch.tensor(filled[1])


def not_shifted(targets):
    return tensors(targets, lambda t: [BOS, *t], lambda t: [BOS, *t])


def no_end(targets):
    return tensors(targets, lambda t: [BOS, *t], lambda t: t)


def no_beginning(targets):
    return tensors(targets, lambda t: t, lambda t: [*t, EOS])


def end_at_the_end_of_the_row(targets):
    longest = max(map(len, targets))
    return tensors(targets, lambda t: [BOS, *t], lambda t: t + [PAD] * (longest - len(t)) + [EOS])


def end_is_read_too(targets):
    return tensors(targets, lambda t: [BOS, *t, EOS], lambda t: [*t, EOS])


def last_place(outputs, lens):
    return outputs[:, -1]


def one_too_far(outputs, lens):
    return outputs[torch.arange(len(lens)), lens.clamp(max=outputs.shape[1] - 1)]


def of_the_first(outputs, lens):
    return outputs[:, lens[0] - 1]


def mean_state(outputs, lens):
    return outputs.mean(dim=1)


def draw(logits, temperature, generator, close=True, power=False):
    logits = logits.clone()
    if close:
        logits[:, [PAD, BOS]] = -math.inf
    probabilities = torch.softmax(logits / (1 if power else temperature), dim=-1)
    if power:
        probabilities = probabilities / temperature
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]


def may_say_anything(logits, temperature, generator):
    return draw(logits, temperature, generator, close=False)


def multiplies(logits, temperature, generator):
    return draw(logits, 1 / temperature, generator)


def without_the_temperature(logits, temperature, generator):
    return draw(logits, 1.0, generator)


def divides_probabilities(logits, temperature, generator):
    return draw(logits, temperature, generator, power=True)


def always_the_likeliest(logits, temperature, generator):
    logits = logits.clone()
    logits[:, [PAD, BOS]] = -math.inf
    return logits.argmax(dim=-1)


def in_place(logits, temperature, generator):
    logits[:, [PAD, BOS]] = -math.inf
    return draw(logits, temperature, generator)


def count(words, n):
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def over_corpus(said, references, n, merge):
    pairs = [
        (count(a, n), merge([count(r, n) for r in many]))
        for a, many in zip(said, references, strict=True)
    ]
    return sum((a & b).total() for a, b in pairs) / sum(a.total() for a, _ in pairs)


def adds_the_references(said, references, n):
    return over_corpus(said, references, n, lambda many: sum(many, Counter()))


def first_reference_only(said, references, n):
    return over_corpus(said, references, n, lambda many: many[0])


def unclipped(said, references, n):
    hits = total = 0
    for a, many in zip(said, references, strict=True):
        known = set().union(*[count(r, n) for r in many])
        hits += sum(k for gram, k in count(a, n).items() if gram in known)
        total += count(a, n).total()
    return hits / total


def mean_of_sentences(said, references, n):
    shares = [
        over_corpus([a], [many], n, first_of_all) for a, many in zip(said, references, strict=True)
    ]
    return sum(shares) / len(shares)


def first_of_all(many):
    most = Counter()
    for counts in many:
        most |= counts
    return most


def floating(targets):
    return tuple(x.float() for x in tensors(targets, lambda t: [BOS, *t], lambda t: [*t, EOS]))


def in_32_bits(targets):
    return tuple(x.int() for x in tensors(targets, lambda t: [BOS, *t], lambda t: [*t, EOS]))


def in_bytes(targets):
    return tuple(x.byte() for x in tensors(targets, lambda t: [BOS, *t], lambda t: [*t, EOS]))


def loops(outputs, lens):
    return torch.stack([states[n - 1] for states, n in zip(outputs, lens, strict=True)])


def loops_over_numbers(outputs, lens):
    return torch.stack([outputs[row, n - 1] for row, n in enumerate(lens.tolist())])


def without_a_batch_of_one(logits, temperature, generator):
    logits = logits.clone()
    logits[:, [PAD, BOS]] = -math.inf
    probabilities = torch.softmax(logits / temperature, dim=-1)
    return torch.multinomial(probabilities, 1, generator=generator).squeeze()


def another_generator(logits, temperature, generator):
    return draw(logits, temperature, None)


def probabilities_of_the_first_row(logits, temperature, generator):
    return draw(logits[:1].expand_as(logits), temperature, generator)


def joins_the_words(said, references, n):
    def joined(words):
        return Counter("".join(words[i : i + n]) for i in range(len(words) - n + 1))

    pairs = [
        (joined(a), first_of_all([joined(r) for r in many]))
        for a, many in zip(said, references, strict=True)
    ]
    return sum((a & b).total() for a, b in pairs) / sum(a.total() for a, _ in pairs)


def largest_count_so_far(said, references, n):
    most, hits, total = Counter(), 0, 0
    for a, many in zip(said, references, strict=True):
        for reference in many:
            most |= count(reference, n)
        hits += (count(a, n) & most).total()
        total += count(a, n).total()
    return hits / total


def pools_the_references(said, references, n):
    everything = [reference for many in references for reference in many]
    return over_corpus(said, [everything] * len(said), n, first_of_all)


def pairs_at_most(said, references, n):
    return over_corpus(said, references, min(n, 2), first_of_all)


WRONG = {
    "check_decoder_tensors": [
        floating,
        in_32_bits,
        in_bytes,
        not_shifted,
        no_end,
        no_beginning,
        end_at_the_end_of_the_row,
        end_is_read_too,
    ],
    "check_last_real_state": [
        last_place,
        one_too_far,
        of_the_first,
        mean_state,
        loops,
        loops_over_numbers,
    ],
    "check_draw_word": [
        another_generator,
        without_a_batch_of_one,
        probabilities_of_the_first_row,
        may_say_anything,
        multiplies,
        without_the_temperature,
        divides_probabilities,
        always_the_likeliest,
        in_place,
    ],
    "check_precision": [
        joins_the_words,
        largest_count_so_far,
        pools_the_references,
        pairs_at_most,
        adds_the_references,
        first_reference_only,
        unclipped,
        mean_of_sentences,
    ],
}
