"""Recurrent encoder and decoders: without attention, after Bahdanau, after Luong.

Shapes: ``B`` sentences, ``S`` source tokens, ``L`` target tokens, ``H`` hidden_dim, ``M`` features of what the encoder
hands over, ``V`` vocabulary. Token id 0 is padding.

A decoder runs in two ways that give the same numbers. ``decoder(tgt_in, memory)`` reads a whole target at once (teacher
forcing); ``decoder.start(memory)`` and ``decoder.step(token, state)`` go one token at a time, as decoding must.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from attn_utils.masking import Dropout, _check_tokens, _source_mask, masked_softmax
from attn_utils.scoring import Additive, General, Score

_Cell = type[nn.GRU] | type[nn.LSTM]


class Memory(NamedTuple):
    """What the encoder hands over.

    Attributes:
        outputs: (B, S, H), one vector for each source token.
        hidden: the last state, a tuple of (B, num_layers, H): one tensor for a GRU, two for an LSTM.
        mask: (B, 1, S) boolean, True = a real token.
    """

    outputs: Tensor
    hidden: tuple[Tensor, ...]
    mask: Tensor


class DecoderState(NamedTuple):
    """What a decoder carries from step to step; every tensor has the batch first.

    Attributes:
        hidden: as in `Memory`.
        keys: (B, S, …), prepared once for the score; for the plain decoder its context (B, H).
        values: (B, S, H).
        mask: (B, 1, S).
    """

    hidden: tuple[Tensor, ...]
    keys: Tensor
    values: Tensor
    mask: Tensor


class RecurrentEncoder(nn.Module):
    """Read the source, one state for each token.

    Args:
        vocab_size: V tokens.
        embed_dim: features of a token.
        hidden_dim: H, features of a state; with two directions, half of them for each.
        num_layers: recurrent layers on top of each other.
        dropout: on the embeddings and between layers.
        bidirectional: also read from the end; the two readings lie side by side.
        cell: ``nn.GRU`` or ``nn.LSTM``.

    Raises:
        ValueError: two directions and an odd hidden_dim.

    Source:
        Cho et al. (2014), section 2.2; Bahdanau et al. (2015), section 3.2, for the two directions.
    """

    def __init__(
        self,
        vocab_size: int,
        embed_dim: int,
        hidden_dim: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
        cell: _Cell = nn.GRU,
    ) -> None:
        super().__init__()
        if bidirectional and hidden_dim % 2:
            raise ValueError(f"two directions need an even hidden_dim, got {hidden_dim}")
        self.embedding = nn.Embedding(vocab_size, embed_dim, padding_idx=0)
        self.dropout = Dropout(dropout)
        one_way = hidden_dim // 2 if bidirectional else hidden_dim
        self.rnn = cell(
            embed_dim, one_way, num_layers, batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0, bidirectional=bidirectional,
        )  # fmt: skip

    def forward(self, src: Tensor, src_lens: Tensor) -> Memory:
        """Encode a batch.

        Args:
            src: (B, S) token ids.
            src_lens: (B,) number of real tokens of each source, from 0 to S.

        Returns:
            The memory. Outputs at padding are 0, and padding changes nothing else.

        Raises:
            TypeError, ValueError: shapes or types that do not fit; ids out of the vocabulary.
        """
        mask = _source_mask(src, src_lens, self.embedding.num_embeddings)  # (B, 1, S)
        x = self.dropout(self.embedding(src))  # (B, S, E)
        if bool(mask.all()):
            outputs, hidden = self.rnn(x)
        else:
            # A row without any token is read as one token of padding, and then wiped out.
            lens = src_lens.clamp(min=1).cpu()
            packed = pack_padded_sequence(x, lens, batch_first=True, enforce_sorted=False)
            outputs, hidden = self.rnn(packed)
            outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=src.shape[1])
            outputs = outputs.masked_fill(~mask.transpose(1, 2), 0)
        hidden = hidden if isinstance(hidden, tuple) else (hidden,)
        return Memory(outputs, tuple(self._join(h) for h in hidden), mask)

    def _join(self, hidden: Tensor) -> Tensor:
        """(layers · directions, B, H / directions) as (B, layers, H)."""
        hidden = hidden.unflatten(0, (self.rnn.num_layers, -1))  # (layers, directions, B, …)
        return hidden.permute(2, 0, 1, 3).flatten(2)


class _Decoder(nn.Module):
    """What the decoders share: embedding, recurrent layers, the map to the vocabulary."""

    _context_is_input = True

    def __init__(
        self,
        vocab_size: int,
        embed_dim: int,
        hidden_dim: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        cell: _Cell = nn.GRU,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embed_dim, padding_idx=0)
        self.dropout = Dropout(dropout)
        self.rnn = cell(
            embed_dim + hidden_dim * self._context_is_input, hidden_dim, num_layers,
            batch_first=True, dropout=dropout if num_layers > 1 else 0.0,
        )  # fmt: skip
        self.out_proj = nn.Linear(hidden_dim, vocab_size)

    def _embed(self, tokens: Tensor) -> Tensor:
        _check_tokens("tgt_in", tokens, self.embedding.num_embeddings)
        return self.dropout(self.embedding(tokens))  # (B, L, E)

    def _run(self, x: Tensor, hidden: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Recurrent layers over x (B, L, …) from a state with the batch first: outputs (B, L, H) and state."""
        given = tuple(h.transpose(0, 1).contiguous() for h in hidden)
        outputs, hidden = self.rnn(x, given if len(given) > 1 else given[0])
        hidden = hidden if isinstance(hidden, tuple) else (hidden,)
        return outputs, tuple(h.transpose(0, 1) for h in hidden)

    def start(self, memory: Memory) -> DecoderState:
        """The state before the first token; what a score needs of the keys is computed here, once.

        Raises:
            ValueError: the encoder's states or outputs are not such as this decoder needs.
        """
        wanted = (len(memory.outputs), self.rnn.num_layers, self.rnn.hidden_size)
        states = 2 if isinstance(self.rnn, nn.LSTM) else 1
        if len(memory.hidden) != states or memory.hidden[0].shape != wanted:
            got = [tuple(h.shape) for h in memory.hidden]
            raise ValueError(
                f"a {type(self.rnn).__name__} starts from {states} states {wanted}, got {got}"
            )
        return DecoderState(memory.hidden, self._keys(memory), memory.outputs, memory.mask)

    def _keys(self, memory: Memory) -> Tensor:
        self.score.check_features(memory.hidden[0], memory.outputs)
        return self.score.prepare(memory.outputs)

    def step(
        self, token: Tensor, state: DecoderState
    ) -> tuple[Tensor, DecoderState, Tensor | None]:
        """Say one more token.

        Args:
            token: (B,) the token said last; BOS at the start.
            state: from ``start`` or the step before.

        Returns:
            Logits (B, V), the next state, and the weights (B, S) of this step, or None.
        """
        logits, hidden, weights = self._decode(token[:, None], state)
        weights = None if weights is None else weights[:, 0]
        return logits[:, 0], state._replace(hidden=hidden), weights

    def forward(self, tgt_in: Tensor, memory: Memory) -> tuple[Tensor, Tensor | None]:
        """Read a whole target and predict, at each place, the token that follows.

        Args:
            tgt_in: (B, L) token ids, BOS first.
            memory: from the encoder.

        Returns:
            Logits (B, L, V) and the weights (B, L, S), or None for a decoder without attention.

        Raises:
            TypeError, ValueError: ids that are not integers or not in the vocabulary, an empty target.
        """
        if len(tgt_in) != len(memory.outputs):
            raise ValueError(
                f"tgt_in {tuple(tgt_in.shape)} does not fit {len(memory.outputs)} sources"
            )
        logits, _, weights = self._decode(tgt_in, self.start(memory))
        return logits, weights


class PlainDecoder(_Decoder):
    """No attention: all it knows of the source is one vector, the encoder's last state.

    The vector starts the decoder's state and is part of each step's input.

    Args:
        vocab_size: V tokens.
        embed_dim: features of a token.
        hidden_dim: H, features of a state, as many as of the encoder's.
        num_layers: recurrent layers on top of each other.
        dropout: on embeddings, between layers, before the output.
        cell: ``nn.GRU`` or ``nn.LSTM``.

    Source:
        Cho et al. (2014), Learning Phrase Representations using RNN Encoder-Decoder, section 2.2;
        Sutskever, Vinyals and Le (2014), Sequence to Sequence Learning with Neural Networks, section 2.
    """

    def _keys(self, memory: Memory) -> Tensor:
        return memory.hidden[0][:, -1]  # (B, H), the context of all steps

    def _decode(self, tokens, state):
        x = self._embed(tokens)  # (B, L, E)
        context = state.keys[:, None].expand(-1, x.shape[1], -1)  # (B, L, H)
        outputs, hidden = self._run(torch.cat([x, context], dim=-1), state.hidden)
        return self.out_proj(self.dropout(outputs)), hidden, None


class _AttentiveDecoder(_Decoder):
    """What the decoders with attention share: a score of states and the encoder's outputs."""

    def __init__(
        self,
        vocab_size: int,
        embed_dim: int,
        hidden_dim: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        score: Score | None = None,
        cell: _Cell = nn.GRU,
    ) -> None:
        super().__init__(vocab_size, embed_dim, hidden_dim, num_layers, dropout, cell)
        self.score = score or self._default_score(hidden_dim)
        if not self._context_is_input:
            self.combine = nn.Linear(2 * hidden_dim, hidden_dim, bias=False)

    def _attend(self, query: Tensor, state: DecoderState) -> tuple[Tensor, Tensor]:
        """Context (B, L, H) and weights (B, L, S) for queries (B, L, H)."""
        weights = masked_softmax(self.score.compare(query, state.keys), state.mask)
        return weights @ state.values, weights


class BahdanauDecoder(_AttentiveDecoder):
    """Look first, then move: the state of the step before is the query, the context is part of the input.

    Args:
        vocab_size: V tokens.
        embed_dim: features of a token.
        hidden_dim: H, features of a state.
        num_layers: recurrent layers; the top one asks.
        dropout: on embeddings, between layers, before the output.
        score: any score of a query (…, H) and a key (…, H); default additive.
        cell: ``nn.GRU`` or ``nn.LSTM``.

    Source:
        Bahdanau, Cho and Bengio (2015), section 3.1 and appendix A. Their output layer is a maxout; this is linear.
    """

    def _default_score(self, dim: int) -> Score:
        return Additive(dim, dim, dim)

    def _decode(self, tokens, state):
        hidden, outputs, weights = state.hidden, [], []
        for x in self._embed(tokens).split(1, dim=1):  # (B, 1, E)
            query = hidden[0][:, -1:]  # (B, 1, H), the top layer's state before this step
            context, w = self._attend(query, state)  # (B, 1, H), (B, 1, S)
            output, hidden = self._run(torch.cat([x, context], dim=-1), hidden)
            outputs.append(output)
            weights.append(w)
        outputs = torch.cat(outputs, dim=1)  # (B, L, H)
        return self.out_proj(self.dropout(outputs)), hidden, torch.cat(weights, dim=1)


class LuongDecoder(_AttentiveDecoder):
    """Move first, then look: the current state is the query, and context and state together give the output.

    No state waits for a context, so with the target given, all steps attend at once.

    Args:
        vocab_size: V tokens.
        embed_dim: features of a token.
        hidden_dim: H, features of a state.
        num_layers: recurrent layers; the top one asks.
        dropout: on embeddings, between layers, before the output.
        score: any score of a query (…, H) and a key (…, H); default general.
        cell: ``nn.GRU`` or ``nn.LSTM``.

    Source:
        Luong, Pham and Manning (2015), section 3.1, without input feeding (their section 3.3).
    """

    _context_is_input = False

    def _default_score(self, dim: int) -> Score:
        return General(dim, dim)

    def _decode(self, tokens, state):
        outputs, hidden = self._run(self._embed(tokens), state.hidden)  # (B, L, H)
        context, weights = self._attend(outputs, state)  # (B, L, H), (B, L, S)
        s = torch.tanh(self.combine(torch.cat([context, outputs], dim=-1)))  # (B, L, H)
        return self.out_proj(self.dropout(s)), hidden, weights


class Seq2Seq(nn.Module):
    """An encoder and a decoder.

    Args:
        encoder: (src, src_lens) -> `Memory`.
        decoder: one of the decoders of this module.
    """

    def __init__(self, encoder: RecurrentEncoder, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(
        self, src: Tensor, src_lens: Tensor, tgt_in: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Logits (B, L, V) and weights (B, L, S) or None, for src (B, S), src_lens (B,), tgt_in (B, L)."""
        return self.decoder(tgt_in, self.encoder(src, src_lens))

    def start(self, src: Tensor, src_lens: Tensor) -> DecoderState:
        """Read the source once; the state from which ``step`` goes on."""
        return self.decoder.start(self.encoder(src, src_lens))

    def step(
        self, token: Tensor, state: DecoderState
    ) -> tuple[Tensor, DecoderState, Tensor | None]:
        """Logits (B, V), the next state and weights (B, S) or None, after one more token (B,)."""
        return self.decoder.step(token, state)
