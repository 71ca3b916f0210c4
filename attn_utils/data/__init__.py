"""What the models of the book are trained on: made here, made from CLDR, bundled with a library, or downloaded.

Whatever the origin, a corpus is a list of `Pair`; `batches` turns it into tensors. Images are tensors from the start.
"""

from attn_utils.data._batches import BOS, EOS, PAD, UNK, Batch, Vocab, batches
from attn_utils.data._pairs import Pair, split_pairs
from attn_utils.data.dates import date_corpus
from attn_utils.data.grammar import french_text, grammar_corpus, grammar_splits, korean_text
from attn_utils.data.images import cifar10, digits
from attn_utils.data.tatoeba import tatoeba

__all__ = [
    "BOS", "EOS", "PAD", "UNK", "Batch", "Pair", "Vocab", "batches", "cifar10", "date_corpus", "digits", "french_text",
    "grammar_corpus", "grammar_splits", "korean_text", "split_pairs", "tatoeba",
]  # fmt: skip
