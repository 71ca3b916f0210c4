"""The Transformer: attention in place of recurrence.

Shapes: ``B`` sentences, ``S`` source tokens, ``L`` target tokens, ``E`` embed_dim, ``H`` num_heads, ``D`` = E / H,
``V`` vocabulary. Token id 0 is padding.

A decoder runs in two ways that give the same numbers: over a whole target at once (teacher forcing), or one token at a
time with a cache of the keys and values of the tokens before, as decoding must.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attn_utils.attention import MultiHeadAttention
from attn_utils.masking import Dropout, _check_tokens, _source_mask, causal_mask
from attn_utils.positional import PositionalEncoding


class AttentionMaps(NamedTuple):
    """The weights of every attention, one tensor for each layer, before dropout.

    Attributes:
        encoder_self: each (B, H, S, S).
        decoder_self: each (B, H, L, L).
        cross: each (B, H, L, S).
    """

    encoder_self: list[Tensor]
    decoder_self: list[Tensor]
    cross: list[Tensor]


class Cache(NamedTuple):
    """What a decoder layer keeps from step to step.

    Attributes:
        k: (B, H, l, D), the keys of the l target tokens so far.
        v: (B, H, l, D), their values.
        memory_k: (B, H, S, D), the keys of the encoder's output, computed once.
        memory_v: (B, H, S, D), its values.
    """

    k: Tensor
    v: Tensor
    memory_k: Tensor
    memory_v: Tensor


class _Layer(nn.Module):
    """What the layers share: the feed-forward network, residual connections and their norms."""

    _crosses = False  # whether there is a second attention, on the encoder's output

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        ffn_dim: int,
        dropout: float = 0.1,
        norm_first: bool = True,
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.self_attn = MultiHeadAttention(embed_dim, num_heads)
        if self._crosses:
            self.cross_attn = MultiHeadAttention(embed_dim, num_heads)
        self.ffn = nn.Sequential(
            nn.Linear(embed_dim, ffn_dim), nn.ReLU(), nn.Linear(ffn_dim, embed_dim)
        )
        self.norms = nn.ModuleList([nn.LayerNorm(embed_dim) for _ in range(2 + self._crosses)])
        self.dropout = Dropout(dropout)

    def _before(self, i: int, x: Tensor) -> Tensor:
        """What the i-th sublayer reads."""
        return self.norms[i](x) if self.norm_first else x

    def _after(self, i: int, x: Tensor, y: Tensor) -> Tensor:
        """The residual stream after the i-th sublayer has said y."""
        x = x + self.dropout(y)
        return x if self.norm_first else self.norms[i](x)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self._after(-1, x, self.ffn(self._before(-1, x)))


class TransformerEncoderLayer(_Layer):
    """Each token asks all tokens, then thinks for itself.

    Args:
        embed_dim: E features.
        num_heads: H, a divisor of embed_dim.
        ffn_dim: features inside the feed-forward network.
        dropout: on what each sublayer adds, in training.
        norm_first: normalise before each sublayer, as today; False after each addition, as in the paper.

    Raises:
        ValueError: num_heads does not divide embed_dim.

    Source:
        Vaswani et al. (2017), sections 3.1 to 3.3; norm_first: Xiong et al. (2020).
    """

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """One layer.

        Args:
            x: (B, S, E).
            attn_mask: as in `MultiHeadAttention`; with a causal mask the layer is one of a decoder-only model.
            need_weights: return the attention weights.

        Returns:
            The tokens (B, S, E) and the weights (B, H, S, S), or None.
        """
        y = self._before(0, x)
        y, weights = self.self_attn(y, y, y, attn_mask, need_weights)
        return self._feed_forward(self._after(0, x, y)), weights


class TransformerDecoderLayer(_Layer):
    """Each token asks the target tokens up to itself, then the source, then thinks for itself.

    Args:
        embed_dim: E features.
        num_heads: H, a divisor of embed_dim.
        ffn_dim: features inside the feed-forward network.
        dropout: on what each sublayer adds, in training.
        norm_first: normalise before each sublayer, as today; False after each addition, as in the paper.

    Raises:
        ValueError: num_heads does not divide embed_dim.

    Source:
        Vaswani et al. (2017), sections 3.1 to 3.3; norm_first: Xiong et al. (2020).
    """

    _crosses = True

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        attn_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """One layer over a whole target.

        Args:
            x: (B, L, E).
            memory: (B, S, E), the encoder's output.
            attn_mask: for the target tokens among themselves, such as a causal mask (L, L).
            memory_mask: for the target tokens on the source, such as a padding mask (B, 1, S).
            need_weights: return the attention weights.

        Returns:
            The tokens (B, L, E), the weights (B, H, L, L) and the cross weights (B, H, L, S), or None for both.
        """
        x, _, *weights = self.step(x, self.start(memory), attn_mask, memory_mask, need_weights)
        return x, *weights

    def start(self, memory: Tensor) -> Cache:
        """The cache before the first target token, for memory (B, S, E)."""
        k, v = self.cross_attn.prepare(memory, memory)
        return Cache(k[:, :, :0], v[:, :, :0], k, v)

    def step(
        self,
        x: Tensor,
        cache: Cache,
        attn_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Cache, Tensor | None, Tensor | None]:
        """One layer over the target tokens x (B, L, E) that follow those in the cache; returns the longer cache, too.

        The mask for the target is (L, l + L), with l tokens in the cache; a single next token needs none.
        """
        y = self._before(0, x)
        k, v = self.self_attn.prepare(y, y)
        if cache.k.shape[-2]:
            k, v = torch.cat([cache.k, k], dim=-2), torch.cat([cache.v, v], dim=-2)
        y, self_weights = self.self_attn.attend(y, k, v, attn_mask, need_weights)
        x = self._after(0, x, y)
        y, cross_weights = self.cross_attn.attend(
            self._before(1, x), cache.memory_k, cache.memory_v, memory_mask, need_weights
        )
        x = self._feed_forward(self._after(1, x, y))
        return x, cache._replace(k=k, v=v), self_weights, cross_weights


class Transformer(nn.Module):
    """An encoder reads the source at once, a decoder says the target.

    Args:
        src_vocab_size: V of the source.
        tgt_vocab_size: V of the target.
        embed_dim: E features.
        num_heads: H, a divisor of embed_dim.
        num_layers: of the encoder, and of the decoder.
        ffn_dim: features inside the feed-forward networks.
        dropout: on embeddings with their positions and on what each sublayer adds, in training.
        norm_first: normalise before each sublayer and at the end of a stack; False after each addition, as in the
            paper.
        tie_weights: the target's embeddings are the output's weights, too.
        learned_max_len: learn a vector for each of so many positions instead of the sinusoids.

    Raises:
        ValueError: num_heads does not divide embed_dim.

    Source:
        Vaswani et al. (2017), section 3. In the paper: d_model, h, N, d_ff. Tied weights: Press and Wolf (2017).
    """

    def __init__(
        self,
        src_vocab_size: int,
        tgt_vocab_size: int,
        embed_dim: int = 512,
        num_heads: int = 8,
        num_layers: int = 6,
        ffn_dim: int = 2048,
        dropout: float = 0.1,
        norm_first: bool = True,
        tie_weights: bool = False,
        learned_max_len: int | None = None,
    ) -> None:
        super().__init__()
        sizes = (embed_dim, num_heads, ffn_dim, dropout, norm_first)
        self.src_embedding = nn.Embedding(src_vocab_size, embed_dim)
        self.tgt_embedding = nn.Embedding(tgt_vocab_size, embed_dim)
        self.positions = PositionalEncoding(embed_dim, dropout, learned_max_len)
        self.encoder = nn.ModuleList(TransformerEncoderLayer(*sizes) for _ in range(num_layers))
        self.decoder = nn.ModuleList(TransformerDecoderLayer(*sizes) for _ in range(num_layers))
        last_norm = nn.LayerNorm if norm_first else nn.Identity
        self.encoder_norm, self.decoder_norm = last_norm(embed_dim), last_norm(embed_dim)
        self.out_proj = nn.Linear(embed_dim, tgt_vocab_size)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1 and not name.startswith("positions."):  # those start small
                nn.init.xavier_uniform_(parameter)
        for embedding in (self.src_embedding, self.tgt_embedding):
            nn.init.normal_(embedding.weight, std=embed_dim**-0.5)  # 1 after scaling
        if tie_weights:
            self.out_proj.weight = self.tgt_embedding.weight

    def forward(
        self, src: Tensor, src_lens: Tensor, tgt_in: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, AttentionMaps | None]:
        """Read a whole target and predict, at each place, the token that follows.

        Args:
            src: (B, S) token ids.
            src_lens: (B,) number of real tokens of each source, from 0 to S.
            tgt_in: (B, L) token ids, BOS first. Padding at its end changes nothing before it: no token sees later ones.
            need_weights: return the maps of all attentions.

        Returns:
            Logits (B, L, V) and the maps, or None.

        Raises:
            TypeError, ValueError: shapes or types that do not fit, ids out of the vocabulary, an empty source or
                target, positions beyond the learned ones.
        """
        if len(tgt_in) != len(src):
            raise ValueError(f"tgt_in {tuple(tgt_in.shape)} does not fit src {tuple(src.shape)}")
        memory, mask, encoder_self = self.encode(src, src_lens, need_weights)
        caches = [layer.start(memory) for layer in self.decoder]
        causal = causal_mask(tgt_in.shape[-1], tgt_in.device)
        logits, _, decoder_self, cross = self.decode(tgt_in, caches, causal, mask, need_weights)
        return logits, AttentionMaps(encoder_self, decoder_self, cross) if need_weights else None

    def start(self, src: Tensor, src_lens: Tensor) -> tuple[tuple[Cache, ...], Tensor]:
        """Read the source once: the state from which ``step`` goes on, the layers' caches and the source's mask."""
        memory, mask, _ = self.encode(src, src_lens)
        return tuple(layer.start(memory) for layer in self.decoder), mask

    def step(
        self, token: Tensor, state: tuple[tuple[Cache, ...], Tensor]
    ) -> tuple[Tensor, tuple[tuple[Cache, ...], Tensor], Tensor]:
        """Say one more token.

        Args:
            token: (B,) the token said last; BOS at the start.
            state: from ``start`` or the step before.

        Returns:
            Logits (B, V), the next state, and the last layer's cross weights (B, S), the mean over its heads.
        """
        caches, mask = state
        logits, caches, _, cross = self.decode(token[:, None], caches, None, mask, True)
        return logits[:, 0], (tuple(caches), mask), cross[-1][:, :, 0].mean(dim=1)

    def encode(
        self, src: Tensor, src_lens: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor | None]]:
        """Memory (B, S, E), its mask (B, 1, S) and the weights of each layer, for src (B, S) and src_lens (B,)."""
        mask = _source_mask(src, src_lens, self.src_embedding.num_embeddings)
        x, maps = self._embed(self.src_embedding, src), []
        for layer in self.encoder:
            x, weights = layer(x, mask, need_weights)
            maps.append(weights)
        return self.encoder_norm(x), mask, maps

    def decode(
        self,
        tokens: Tensor,
        caches: Sequence[Cache],
        attn_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, list[Cache], list[Tensor | None], list[Tensor | None]]:
        """The decoder over the tokens (B, L) that follow those in the caches, one for each layer.

        Args:
            tokens: (B, L) ids.
            caches: from ``start``, or those of the tokens before.
            attn_mask: for the target, (L, l + L) with l tokens in the caches. None lets each token see all.
            memory_mask: for the source, (B, 1, S).
            need_weights: return the attention weights.

        Returns:
            Logits (B, L, V), the longer caches, and the weights of each layer: on the target, on the source.
        """
        _check_tokens("tgt_in", tokens, self.tgt_embedding.num_embeddings)
        x = self._embed(self.tgt_embedding, tokens, start=caches[0].k.shape[-2])
        done = []
        for layer, cache in zip(self.decoder, caches, strict=True):
            x, *rest = layer.step(x, cache, attn_mask, memory_mask, need_weights)
            done.append(rest)
        longer, decoder_self, cross = map(list, zip(*done, strict=True))
        return self.out_proj(self.decoder_norm(x)), longer, decoder_self, cross

    def _embed(self, embedding, tokens, start=0):
        """(B, n, E): embeddings, scaled to the size of the positions, and positions."""
        return self.positions(embedding(tokens) * embedding.embedding_dim**0.5, start)
