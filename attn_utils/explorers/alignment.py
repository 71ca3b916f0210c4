"""Explorer 7: which source words does a translation model look at when it writes a target word?"""

from collections.abc import Callable, Mapping, Sequence

import torch
import traitlets
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from attn_utils.explorers._base import Explorer, between, fixed, module, shares
from attn_utils.plotting import show_alignment

Words = Sequence[str]
Links = Sequence[tuple[int, int]] | None


def _example(
    number: int, source: Words, target: Words, weights: Tensor, gold: Links = None, label: str = ""
) -> dict:
    """One example as the trait holds it, or a ValueError that says what does not fit."""
    L, S = len(target), len(source)
    weights = shares(f"example {number}, (target, source),", weights, L, S)
    if outside := [(s, t) for s, t in gold or () if not (0 <= s < S and 0 <= t < L)]:
        raise ValueError(f"gold of example {number} must lie inside {(S, L)}, got {outside}")
    return {
        "source": list(source),
        "target": list(target),
        "weights": weights.tolist(),
        "gold": None if gold is None else sorted([int(s), int(t)] for s, t in gold),
        "label": label,
    }


def _listed(words: Words) -> str:
    """“a, b and c”, or “nothing”."""
    *most, last = words or ["nothing"]
    return f"{', '.join(most)} and {last}" if most else last


class Alignment(Explorer):
    """Attention weights of a translation model, sentence by sentence, as what they link.

    The reader drives ``sentence`` and ``word`` (positions, from 0, of an example and of a word in its target) and
    ``gold`` (True: show the gold alignment, where the example has one).

    Args:
        examples: dicts with ``source`` and ``target`` (tokens), ``weights`` (target × source; each row sums to 1, or to
            0) and perhaps ``gold`` (pairs of a source and a target position) and ``label`` (its name in the menu).
        translate: makes such an example of a text. Then the reader can type one where a kernel runs: what is typed
            becomes ``typed``, its example is added and shown, or what the function raised is told in ``problem``.
        **traits: starting values of the traits named in ``driven``.

    Raises:
        ValueError: there is no example, a shape does not fit, weights are no weights, or gold is out of range.
        TypeError: an example lacks a key or has an unknown one.
        traitlets.TraitError: a trait's value is outside its range.
    """

    _esm = module("_plot", "_words", "alignment")
    slug = fixed("alignment")
    title = fixed("Choose a target word: which source words does it look at?")
    driven = ("sentence", "word", "gold")

    examples = traitlets.List(traitlets.Dict()).tag(sync=True)
    sentence = traitlets.Int().tag(sync=True)
    word = traitlets.Int().tag(sync=True)
    gold = traitlets.Bool().tag(sync=True)
    typed = traitlets.Unicode(None, allow_none=True).tag(sync=True)  # None: nothing can be typed
    problem = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        examples: Sequence[Mapping[str, object]],
        translate: Callable[[str], Mapping[str, object]] | None = None,
        **traits: int,
    ) -> None:
        if not examples:
            raise ValueError("there is nothing to show: the list of examples is empty")
        held = [_example(number, **example) for number, example in enumerate(examples)]
        self._translate = translate
        super().__init__(examples=held, typed="" if translate else None, **traits)

    @traitlets.validate("sentence", "word")
    def _in_range(self, proposal) -> int:
        name = proposal.trait.name
        count = len(self.examples if name == "sentence" else self.now["target"])
        return between(name, proposal.value, 0, count - 1)

    @traitlets.observe("sentence")
    def _keep_word_in_sentence(self, change) -> None:
        self.word = min(self.word, len(self.now["target"]) - 1)

    @traitlets.observe("typed")
    def _add_typed(self, change) -> None:
        if self.typed and self._translate:
            try:
                new = _example(len(self.examples), **self._translate(self.typed))
            except Exception as error:  # the reader typed it, so the reader hears of it
                self.problem = f"“{self.typed}”: {error}"
            else:
                self.examples = [*self.examples, new]
                self.sentence, self.word = len(self.examples) - 1, 0
            self.typed = ""  # the same text can be typed again

    @traitlets.observe(*driven)
    def _forget_problem(self, change) -> None:
        self.problem = ""

    @property
    def now(self) -> dict:
        """The example that is shown."""
        return self.examples[min(self.sentence, len(self.examples) - 1)]

    def describe(self) -> str:
        """The three source words that the chosen word looks at most, and its gold ones where they are shown.

        Or what is wrong with the text that was typed.
        """
        row, gold = self.now["weights"][self.word], self.now["gold"]
        tokens = [*self.now["source"], self.now["target"][self.word]]
        *names, word = [f"“{token if token.strip() else '␣'}”" for token in tokens]
        best = sorted(range(len(row)), key=lambda s: -row[s])[:3]
        looks = _listed([f"{names[s]} ({row[s]:.2f})" for s in best if row[s] >= 0.005])
        linked = _listed([names[s] for s, t in gold or () if t == self.word])
        shown = self.gold and gold is not None
        return self.problem or f"{word} looks at {looks}." + (f" Gold: {linked}." if shown else "")

    def draw(self, figure: Figure) -> None:
        """The matrix of weights, the chosen row outlined; a long sentence gets a higher picture."""
        now, (L, S) = self.now, (len(self.now["target"]), len(self.now["source"]))
        figure.set_figheight(min(max(3.8, 1.4 + 0.16 * L), 6.3))
        ax, gold = figure.subplots(), now["gold"] if self.gold else None
        show_alignment(torch.tensor(now["weights"]), now["source"], now["target"], gold, ax)
        ax.add_patch(Rectangle((-0.5, self.word - 0.5), S, 1, fill=False, ec="#ff5e5e", lw=2))
