"""Explorer 10: how far does a layer reach, and what does it cost?"""

import math

import torch
import traitlets
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from attn_utils.explorers._base import Explorer, choice, fixed, module

KINDS = {
    "recurrent": "LSTM",
    "convolution": "Convolution",
    "dilated": "Dilated convolution",
    "attention": "Self-attention",
}
DRAWN = 64


def _short(x: float) -> str:
    """A count in three digits and a unit: 393 k, 1.05 M."""
    power = min(len(str(int(x))) - 1, 14) // 3
    x /= 1000**power
    scale = 10 ** (3 - len(str(int(x)))) if power else 1
    return f"{math.floor(x * scale + 0.5) / scale:g} {'kMGT'[power - 1] if power else ''}".strip()


def _many(count: int, name: str) -> str:
    """``1 step``, ``2 steps``."""
    return f"{count:,} {name}{'s' * (count != 1)}"


class Reach(Explorer):
    """Four kinds of layer on a sequence of n positions with d features: what an output sees, and what that costs.

    All are causal: a position reads itself and the past. An LSTM reads its own state before; a convolution the last
    ``kernel_size`` = k positions of the layer below; a dilated one k positions that are k^(layer - 1) apart, so that
    the gaps grow by k from layer to layer; self-attention every position up to its own. One layer, d features in and
    out, costs (`costs`; biases, non-linearities and the softmax are not counted):

    ===================  ======================  =====  =======================  =============================
    kind                 multiply-adds           steps  path from end to end     numbers kept for the backward
                                                        (steps; layers stacked)  pass, its input with them
    ===================  ======================  =====  =======================  =============================
    recurrent (LSTM)     8 n d²                  n      n (one layer)            7 n d: input, 4 gates, cell, output
    convolution          k n d²                  1      ⌈(n - 1) / (k - 1)⌉      n d
    dilated              k n d²                  1      ⌈log_k n⌉                n d
    attention, one head  4 n d² + 2 n² d         1      1 (one layer)            5 n d + n²: input, query, key,
                         (projections + mixing)                                  value, weights, mixed values
    ===================  ======================  =====  =======================  =============================

    Steps come one after the other, all else at once. A path counts the arrows from the first input to the last output:
    in an LSTM one into its state and n - 1 from state to state. The mask saves nothing: all n² weights are computed.
    Attention takes more multiply-adds than an LSTM beyond n = 2 d, where mixing also outgrows the projections, and more
    than a convolution beyond n = (k - 4) d / 2. Without constants (n² d against n d²) they meet at n = d.

    The reader drives ``kind``, ``n`` (4 to 8192; the last 64 positions are drawn), ``d`` (8 to 1024), ``kernel_size``
    (2 to 9), ``layers`` (1 to 8) and ``back`` (0 to 63: how far before the last position the chosen output stands).

    Args:
        **traits: starting values of the traits named in ``driven``.

    Raises:
        traitlets.TraitError: a trait's value is outside its range.

    Source: Vaswani et al. 2017, section 4 and Table 1 (orders of growth); dilation: van den Oord et al. 2016.
    """

    _esm = module("_plot", "reach")
    slug = fixed("reach")
    title = fixed("Choose a kind of layer: how far does it see, and at what price?")
    driven = ("kind", "n", "d", "kernel_size", "layers", "back")

    kind = choice(*KINDS)
    n = traitlets.Int(32, min=4, max=8192).tag(sync=True)
    d = traitlets.Int(64, min=8, max=1024).tag(sync=True)
    kernel_size = traitlets.Int(3, min=2, max=9).tag(sync=True)
    layers = traitlets.Int(2, min=1, max=8).tag(sync=True)
    back = traitlets.Int(4, min=0, max=DRAWN - 1).tag(sync=True)

    def costs(self, kind: str) -> dict[str, int]:
        """One layer: multiply-adds with d × d ``matrices`` and in ``mixing``, ``steps``, ``path``, numbers ``kept``."""
        n, d, k, attention = self.n, self.d, self.kernel_size, kind == "attention"
        dilated = next(layers for layers in range(1, n) if k**layers >= n)
        paths = {"recurrent": n, "convolution": math.ceil((n - 1) / (k - 1)), "dilated": dilated}
        return {
            "matrices": {"recurrent": 8, "attention": 4}.get(kind, k) * n * d * d,
            "mixing": 2 * n * n * d * attention,
            "steps": n if kind == "recurrent" else 1,
            "path": paths.get(kind, 1),
            "kept": {"recurrent": 7, "attention": 5}.get(kind, 1) * n * d + n * n * attention,
        }

    def crossing(self, kind: str) -> float:
        """The n beyond which attention takes more multiply-adds than this kind, or its mixing more than the rest."""
        return ({"recurrent": 8, "attention": 8}.get(kind, self.kernel_size) - 4) * self.d / 2

    @property
    def place(self) -> tuple[int, int]:
        """The first position that is drawn, and the chosen output."""
        return max(self.n - DRAWN, 0), max(self.n - 1 - self.back, 0)

    def reads(self, layer: int, position: int, start: int) -> list[int]:
        """The positions from ``start`` on of the level below that one of this layer (1, 2, …) reads."""
        if self.kind == "attention":
            return list(range(start, position + 1))
        gap = self.kernel_size ** (layer - 1) if self.kind == "dilated" else 1
        taps = 1 if self.kind == "recurrent" else self.kernel_size
        return [position - i * gap for i in reversed(range(taps)) if position - i * gap >= start]

    def seen(self) -> list[list[int]]:
        """For each level, inputs first, the drawn positions on which the chosen output depends."""
        first, output = self.place
        rows = [list(range(first, output + 1)) if self.kind == "recurrent" else [output]]
        for layer in range(self.layers, 0, -1):
            rows.insert(0, sorted({i for p in rows[0] for i in self.reads(layer, p, first)}))
        return rows

    def route(self) -> list[tuple[int, int]]:
        """Corners (position, level) of the path from the chosen output to the farthest input that it sees."""
        k, (_, at) = self.kernel_size, self.place
        wide = {"convolution": 1 + self.layers * (k - 1), "dilated": k**self.layers}
        far, corners = max(at + 1 - wide.get(self.kind, self.n), 0), [(at, self.layers)]
        if self.kind == "recurrent":
            corners.append((at := far, self.layers))
        for layer in range(self.layers, 0, -1):
            corners.append((at := self.reads(layer, at, far)[0], layer - 1))
        return corners

    def describe(self) -> str:
        """What the chosen output sees, and path and price beside those of attention."""
        (output, _), *_, (far, _) = self.route()
        away = self.layers + (output - far) * (self.kind == "recurrent")
        size = f", kernel size {self.kernel_size}" * (self.kind in ("convolution", "dilated"))
        now, attention = (self.costs(kind) for kind in (self.kind, "attention"))
        price, its = (_short(x["matrices"] + x["mixing"]) for x in (now, attention))
        meet = self.crossing(self.kind)
        beside, more = (", attention 1", f"attention {its}, more")
        if self.kind == "attention":
            beside, more = "", f"{_short(now['mixing'])} of them for mixing, most"
        return (
            f"{KINDS[self.kind]}{size}, {_many(self.layers, 'layer')}: output {output:,} sees {output - far + 1:,} of "
            f"{self.n:,} inputs, the farthest {_many(away, 'step')} away. From end to end it needs "
            f"{_many(now['path'], 'step')}{beside}; one layer takes {price} multiply-adds, {more} "
            f"{f'beyond n = {meet:,g}' if meet > 0 else 'at every n'}."
        )

    def draw(self, figure: Figure) -> None:
        """The wiring beside the multiply-adds of one position."""
        left, right = figure.subplots(1, 2)
        rows, route = self.seen(), self.route()
        first, _ = self.place
        wires = []
        for layer, row in enumerate(rows[1:], 1):
            wires += [
                [(p, layer), (i, layer - 1)] for p in row for i in self.reads(layer, p, first)
            ]
            wires += [[(row[0], layer), (row[-1], layer)]] * (self.kind == "recurrent")
        left.add_collection(LineCollection(wires, colors="C0", linewidths=0.6, alpha=0.5))
        for level, row in enumerate(rows):
            left.plot(range(first, self.n), [level] * (self.n - first), ".", color="0.8")
            left.plot(row, [level] * len(row), ".", color="C0")
        left.plot(*zip(*route, strict=True), color="#b35900", lw=2.5)
        left.set(xlabel="position", ylabel="layer", yticks=range(len(rows)))
        left.set_xlim(first - 1, self.n)
        n = torch.logspace(2, 13, 99, base=2)
        right.plot(n, 4 + 2 * n / self.d, label="self-attention: 4 + 2 n / d")
        right.plot(n, torch.full_like(n, 8), "--", label="LSTM: 8")
        right.plot(n, torch.full_like(n, self.kernel_size), ":", label="convolution: k")
        right.axvline(self.n, color="#b35900")
        right.set_xscale("log", base=2)
        right.set_yscale("log", base=2)
        right.set(ylim=(1, 64), xlabel="n")
        right.set_ylabel("multiply-adds per position / d²")
        right.legend()
