"""Explorer 9: what do the heads of a Transformer look at?"""

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from attn_utils.explorers._base import Explorer, between, choice, fixed, module, shares
from attn_utils.plotting import show_alignment

KINDS = ("encoder_self", "decoder_self", "cross")


def _example(number: int, source: list, target: list, maps: object, label: str = "") -> dict:
    """One example as the trait holds it, or a ValueError that says what does not fit."""
    source, target = ([t if t.strip() else "␣" for t in side] for side in (source, target))
    held, maps = {"label": label or " ".join(source)}, getattr(maps, "_asdict", lambda: maps)()
    sides = (source, source), (target, ["<bos>", *target[:-1]]), (target, source)
    for kind, (rows, columns) in zip(KINDS, sides, strict=True):
        size, name = ("layers", "heads", len(rows), len(columns)), f"{kind} of example {number}"
        weights = shares(name, torch.stack([*maps[kind]]), *size).tolist()
        held[kind] = {"rows": rows, "columns": columns, "weights": weights}
    return held


class AttentionHeads(Explorer):
    """The attention maps of a Transformer, head by head: what each token looks at.

    The reader drives ``sentence``, ``layer``, ``head`` and ``token`` (positions, from 0, of an example, a layer, a head
    and a row; head H, one past the last, is the mean over the H heads) and ``kind`` ("encoder_self", "decoder_self" or
    "cross").

    Args:
        examples: dicts with ``source`` (the S tokens that the encoder reads), ``target`` (the L tokens that the decoder
            says, the end of the sentence, too, where its row is to be seen), ``maps`` and perhaps ``label`` (its name
            in the menu). ``maps`` are the `AttentionMaps` of one sentence without the batch, or a dict like them: for
            each layer ``encoder_self`` (H, S, S), ``decoder_self`` (H, L, L) and ``cross`` (H, L, S); rows sum to 1,
            or to 0. In the last two, row j is the place where target[j] is said; the columns of ``decoder_self`` are
            what the decoder has read: <bos>, target[0], … target[L - 2].
        **traits: starting values of the traits named in ``driven``.

    Raises:
        ValueError: shapes do not fit, weights are no weights, or examples differ in the number of layers or heads.
        TypeError, KeyError: an example lacks a key, has an unknown one, or lacks maps.
        traitlets.TraitError: a trait's value is outside its range.
    """

    _esm = module("_plot", "_words", "attention_heads")
    slug = fixed("attention-heads")
    title = fixed("Choose a head and a token: where does it look?")
    driven = ("sentence", "kind", "layer", "head", "token")

    examples = traitlets.List(traitlets.Dict()).tag(sync=True)
    kind = choice(*KINDS)
    sentence, layer, head, token = (traitlets.Int().tag(sync=True) for _ in range(4))

    def __init__(self, examples: list[dict], **traits: int | str) -> None:
        held = [_example(number, **example) for number, example in enumerate(examples)]
        counts = {(len(w := x[kind]["weights"]), len(w[0])) for x in held for kind in KINDS}
        if len(counts) != 1:
            raise ValueError(f"maps must all have the same (layers, heads), got {sorted(counts)}")
        super().__init__(examples=held, **traits)

    @traitlets.validate("sentence", "layer", "head", "token")
    def _in_range(self, proposal) -> int:
        (layers, heads, rows, _), name = self.shown()[2].shape, proposal.trait.name
        last = {"sentence": len(self.examples), "layer": layers, "head": heads, "token": rows}[name]
        return between(name, proposal.value, 0, last - 1)

    @traitlets.observe("sentence", "kind")
    def _keep_token_in_sentence(self, change) -> None:
        self.token = min(self.token, len(self.shown()[0]) - 1)

    def shown(self) -> tuple[list[str], list[str], Tensor]:
        """Tokens of rows, tokens of columns, and maps (layers, H + 1, rows, columns), last the mean over the heads."""
        now = self.examples[min(self.sentence, len(self.examples) - 1)][self.kind]
        maps = torch.tensor(now["weights"], dtype=torch.float64)
        return now["rows"], now["columns"], torch.cat([maps, maps.mean(1, keepdim=True)], dim=1)

    def describe(self) -> str:
        """The token at which the chosen one looks most."""
        rows, columns, maps = self.shown()
        most, s = maps[self.layer, self.head, self.token].max(dim=0)
        kind = f"{self.kind.replace('_', ' ')}-attention, layer {self.layer + 1}".capitalize()
        head = f"head {self.head + 1}" if self.head < maps.shape[1] - 1 else "mean over heads"
        who = ("“{}”" if self.kind == "encoder_self" else "to say “{}” it").format(rows[self.token])
        return f"{kind}, {head}: {who} looks at “{columns[s]}” ({most:.2f})."

    def draw(self, figure: Figure) -> None:
        """All heads on one scale, the mean last, and the chosen one with its tokens."""
        rows, columns, maps = self.shown()
        small, large = figure.subfigures(1, 2)
        axes, ax = small.subplots(*maps.shape[:2], squeeze=False).flat, large.subplots()
        for one, weights in zip(axes, maps.flatten(0, 1).numpy(), strict=True):
            one.imshow(weights, vmin=0, vmax=maps.max(), aspect="auto")
            one.set(xticks=[], yticks=[])
        show_alignment(maps[self.layer, self.head], columns, rows, ax=ax)
        ax.axhspan(self.token - 0.5, self.token + 0.5, fill=False, ec="#ff5e5e", lw=2)
        ax.set(xlabel="keys", ylabel="queries")
