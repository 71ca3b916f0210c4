"""From pairs of tokens to batches of token ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from attn_utils.data._pairs import Pair

PAD, BOS, EOS, UNK = range(4)
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")


class Vocab:
    """The tokens a model knows, each with its id; 0 to 3 are PAD, BOS, EOS and UNK.

    Build it from training sentences only: a token that occurs elsewhere alone is unknown, as it would be in use.

    Args:
        sentences: sequences of tokens.
        min_freq: how often a token must occur to get an id of its own.

    Raises:
        ValueError: there are no sentences, or min_freq is less than 1.
    """

    def __init__(self, sentences: Iterable[Sequence[str]], min_freq: int = 1) -> None:
        if min_freq < 1:
            raise ValueError(f"min_freq must be at least 1, got {min_freq}")
        sentences = list(sentences)
        if not sentences:
            raise ValueError("a vocabulary needs at least one sentence")
        counts = Counter(token for sentence in sentences for token in sentence)
        known = [t for t, n in counts.most_common() if n >= min_freq and t not in SPECIALS]
        self.tokens = [*SPECIALS, *known]
        self._ids = {token: i for i, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: str) -> bool:
        return token in self._ids

    def encode(self, sentence: Sequence[str]) -> list[int]:
        """The ids of the tokens, UNK for those without one, and EOS at the end."""
        return [self._ids.get(token, UNK) for token in sentence] + [EOS]

    def decode(self, ids: Iterable[int]) -> tuple[str, ...]:
        """The tokens of the ids up to the first EOS; PAD and BOS are left out."""
        said = takewhile(lambda i: i != EOS, map(int, ids))
        return tuple(self.tokens[i] for i in said if i not in (PAD, BOS))


class Batch(NamedTuple):
    """Sentences side by side, the shorter ones padded with PAD = 0.

    Attributes:
        src: (B, S) source ids, each sentence closed by EOS.
        src_lens: (B,) number of real ids of each source, EOS counted.
        tgt_in: (B, L) what the decoder reads: BOS and the target.
        tgt_out: (B, L) what it must say: the target and EOS, ``tgt_in`` one step later.
    """

    src: Tensor
    src_lens: Tensor
    tgt_in: Tensor
    tgt_out: Tensor


class _Encoded(Dataset):
    """All pairs as padded ids, made once; fetching a batch is indexing."""

    def __init__(self, pairs: Sequence[Pair], src_vocab: Vocab, tgt_vocab: Vocab) -> None:
        self.src, self.src_lens = pad([src_vocab.encode(pair.source) for pair in pairs])
        self.tgt, tgt_lens = pad([[BOS, *tgt_vocab.encode(pair.target)] for pair in pairs])
        self.tgt_lens = tgt_lens - 1

    def __len__(self) -> int:
        return len(self.src)

    def __getitems__(self, rows: list[int]) -> Batch:
        rows = torch.tensor(rows)
        src_lens = self.src_lens[rows]
        src = self.src[rows, : src_lens.max()]  # (B, S)
        tgt = self.tgt[rows, : self.tgt_lens[rows].max() + 1]  # (B, L + 1)
        # BOS y1 … yn EOS PAD: without its last column it is the input, without its first the output.
        tgt_in = tgt[:, :-1].masked_fill(tgt[:, 1:] == PAD, PAD)
        return Batch(src, src_lens, tgt_in, tgt[:, 1:])


class LengthBuckets:
    """Batches of rows of similar length, in an order that changes from epoch to epoch.

    Args:
        lengths: one tuple of lengths for each row; rows are sorted by the first, then the second.
        batch_size: rows in a batch; the last batch of all may be smaller.
        shuffle: False keeps the rows in the order they have.
        seed: with the epoch, decides the order.
    """

    def __init__(
        self, lengths: Sequence[tuple[int, ...]], batch_size: int, shuffle: bool, seed: int
    ) -> None:
        self.lengths, self.batch_size = list(lengths), batch_size
        self.shuffle, self.seed, self.epoch = shuffle, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass; without it each pass takes the next one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        rows = list(range(len(self.lengths)))
        rng = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
        if self.shuffle:
            rows = torch.randperm(len(rows), generator=rng).tolist()
            rows.sort(key=self.lengths.__getitem__)  # stable: rows of equal length stay shuffled
        batches = [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        order = torch.randperm(len(batches), generator=rng) if self.shuffle else range(len(batches))
        self.epoch += 1
        yield from (batches[i] for i in order)


def pad(sentences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids (N, longest), filled up with PAD, and the lengths (N,)."""
    lens = torch.tensor([len(ids) for ids in sentences])
    flat = torch.tensor([i for ids in sentences for i in ids])
    padded = torch.full((len(sentences), int(lens.max())), PAD)
    padded[torch.arange(padded.shape[1]) < lens[:, None]] = flat
    return padded, lens


def batches(
    pairs: Sequence[Pair],
    src_vocab: Vocab,
    tgt_vocab: Vocab,
    batch_size: int = 64,
    shuffle: bool = True,
    seed: int = 0,
) -> DataLoader:
    """Batches of pairs of similar length, so that little of a batch is padding.

    Args:
        pairs: the corpus.
        src_vocab: for the sources.
        tgt_vocab: for the targets.
        batch_size: pairs in a batch.
        shuffle: a new order in each epoch; False keeps the order of the pairs, for evaluation.
        seed: of the order.

    Returns:
        A DataLoader that yields `Batch`. Lengths are sorted by target first: a step of a decoder costs most.

    Raises:
        ValueError: there are no pairs, or batch_size is less than 1.
    """
    if not len(pairs) or batch_size < 1:
        raise ValueError(f"nothing to batch: {len(pairs)} pairs, batch_size {batch_size}")
    encoded = _Encoded(pairs, src_vocab, tgt_vocab)
    lengths = list(zip(encoded.tgt_lens.tolist(), encoded.src_lens.tolist(), strict=True))
    sampler = LengthBuckets(lengths, batch_size, shuffle, seed)
    # The dataset has put the batch together already.
    return DataLoader(encoded, batch_sampler=sampler, collate_fn=Batch._make)
