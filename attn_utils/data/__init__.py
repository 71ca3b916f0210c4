"""Corpora that a sequence model can be trained on: made here, made from CLDR, or downloaded.

Whatever the origin, a corpus is a list of `Pair`; `batches` turns it into tensors.
"""

from attn_utils.data._batches import BOS, EOS, PAD, UNK, Batch, Vocab, batches
from attn_utils.data._pairs import Pair
from attn_utils.data.dates import date_corpus

__all__ = ["BOS", "EOS", "PAD", "UNK", "Batch", "Pair", "Vocab", "batches", "date_corpus"]
