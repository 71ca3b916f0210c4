"""A synchronous grammar: English sentences together with their French or Korean translations and gold alignments.

A rule builds a phrase in all the languages at once, so a translation and its alignment follow from how the sentence
was built, and nothing has to be guessed afterwards. `rules.tsv` is the whole grammar, `lexicon.tsv` has the words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import NamedTuple

from attn_utils.data._pairs import Pair

SHORTEST, LONGEST = 3, 30
EN, FR, KO = 0, 1, 2  # columns of the tables
# Slots that are filled last, with words that agree with what is there.
AGREEING = ("v", "w", "d", "b", "a", "r")
# English and French: what a vowel (in French also the silent h) does to the word before, and what two words become.
VOWELS = ("aeiou", "aeiouhâàéèêîôœ")
BEFORE_VOWEL = {"a": "an", "le": "l'", "la": "l'", "ne": "n'", "que": "qu'"}
BEFORE_VOWEL |= {"ce": "cet", "ma": "mon", "sa": "son", "beau": "bel", "nouveau": "nouvel"}
CONTRACTIONS = {"à le": "au", "à les": "aux", "de le": "du", "de les": "des"}
# Korean: particles after a vowel, and the endings that follow a verb's bare stem.
AFTER_VOWEL = {"+은": "+는", "+이": "+가", "+을": "+를", "+과": "+와"}
ENDINGS = ("+고", "+지만", "+기", "+지", "+는")

# A token, and the marks of the rules and words that made it: tokens that share a mark are linked.
Token = tuple[str, tuple[int, ...]]


class Phrase(NamedTuple):
    """A phrase in English and the target language, and what others must know of it to agree with it."""

    sides: list[list[Token]]
    kinds: str = ""
    number: int = 0  # 0 one, 1 many, 2 we
    feminine: bool = False


class Rule(NamedTuple):
    """A way to make a phrase: its slots with the names of what fills them, and the items of each language."""

    slots: dict[str, str]
    sides: list[list[str]]


class Word(NamedTuple):
    """A line of the lexicon, with the forms of each language."""

    category: str
    forms: list[list[str]]
    kinds: str
    also: str


def grammar_corpus(
    n: int, language: str = "fr", min_len: int = 3, max_len: int = 30, seed: int = 0
) -> list[Pair]:
    """English sentences with their translations and gold alignments, of all lengths about equally often.

    Everything is lower case, without a full stop. French "l'", "n'" and "qu'" are tokens of their own, and so are
    "au", "aux", "du" and "des"; Korean particles, verb endings and the plural 들 are tokens that begin with "+".
    `french_text` and `korean_text` give the ordinary spelling back.

    The alignment: a word is linked to its translation; "and", "because", "near", "in the morning" and the like, all
    tokens to all; "does not" to "ne" and "pas", and to +지 and 않는다; "du" to the preposition and to the article.
    A Korean particle and 들 are linked to the noun they follow, the ending +는 of a relative clause to "who" or
    "that". So every target token is linked. Of the source only the articles of nouns are not ("the", "a", "an"), and
    only in Korean, which has none.

    Args:
        n: how many pairs.
        language: of the target: "fr" or "ko".
        min_len: tokens of the shortest source, at least 3.
        max_len: tokens of the longest source, at most 30.
        seed: of the draw.

    Returns:
        n pairs in random order. No source and no target occurs twice; the same English sentence has the same
        translation and alignment in every corpus. A length that has too few sentences is used up.

    Raises:
        ValueError: unknown language, negative n, lengths out of range or order, or more pairs than there are.
    """
    _check(n, language, min_len, max_len)
    return list(islice(_stream(language, min_len, max_len, seed), n))


def grammar_splits(
    n: int, language: str = "fr", seed: int = 0, max_len: int = 15, n_test: int = 500
) -> dict[str, list[Pair]]:
    """A corpus in five parts, to train on and to test what was learnt. No source and no target occurs twice.

    One combination of an adjective and a noun in eight is kept for the part "unseen".

    Args:
        n: pairs to train on.
        language: of the target: "fr" or "ko".
        seed: of the draw.
        max_len: tokens of the longest source to train on, from 3 to 29.
        n_test: pairs in each of the other parts.

    Returns:
        "train"; "valid" and "test", which are more of the same; "long", with sources from max_len + 1 to 30 tokens;
        "unseen", as short as "train", each with a combination that occurs in no other part, of words in "train".

    Raises:
        ValueError: as `grammar_corpus`; or the training pairs lack words that "unseen" needs.
    """
    _check(min(n, n_test), language, SHORTEST, max_len)
    _check(min(n, n_test), language, max_len + 1, LONGEST)
    ordinary = _stream(language, SHORTEST, max_len, seed)
    longer = _stream(language, max_len + 1, LONGEST, seed)
    usual = (pair for pair in ordinary if not _kept_apart(pair.source))
    parts = {name: list(islice(usual, n_test)) for name in ("test", "valid")}
    parts["train"] = list(islice(usual, n))
    parts["long"] = list(islice((p for p in longer if not _kept_apart(p.source)), n_test))
    words = {word for pair in parts["train"] for word in pair.source + pair.target}
    known = (p for p in islice(ordinary, 50 * n_test) if words.issuperset(p.source + p.target))
    parts["unseen"] = list(islice((p for p in known if _kept_apart(p.source)), n_test))
    if len(parts["unseen"]) < n_test:
        raise ValueError(f"n={n} training pairs have too few words for {n_test} new combinations")
    return parts


def french_text(tokens: Sequence[str]) -> str:
    """French tokens in ordinary spelling: no space after an apostrophe.

    Args:
        tokens: such as ("l'", "oiseau", "n'", "attend", "pas").

    Returns:
        A text, such as "l'oiseau n'attend pas".
    """
    return " ".join(tokens).replace("' ", "'")


def korean_text(tokens: Sequence[str]) -> str:
    """Korean tokens in ordinary spelling: what begins with "+" joins the word before it.

    Args:
        tokens: such as ("소녀", "+들", "+은", "먹", "+지", "않는다").

    Returns:
        A text, such as "소녀들은 먹지 않는다".
    """
    return " ".join(tokens).replace(" +", "")


def _check(n: int, language: str, min_len: int, max_len: int) -> None:
    if n < 0 or language not in ("fr", "ko") or not SHORTEST <= min_len <= max_len <= LONGEST:
        raise ValueError(
            f'need n >= 0, language "fr" or "ko", {SHORTEST} <= min_len <= max_len <= {LONGEST};'
            f" got n={n}, language={language!r}, min_len={min_len}, max_len={max_len}"
        )


def _stream(language: str, min_len: int, max_len: int, seed: int) -> Iterator[Pair]:
    """Pairs until hardly a new one turns up. A source has one target, so with a new target the source is new."""
    rng, targets, tries = Random(seed), set(), 0
    while tries < 500:
        if tries % 20 == 0:
            length = rng.randint(min_len, max_len)
        pair = _Derivation(language, rng).pair(length)
        tries += 1
        if pair.target not in targets:
            tries = 0
            targets.add(pair.target)
            yield pair
    raise ValueError(
        f"there are hardly more than {len(targets)} pairs of {min_len} to {max_len} source tokens"
    )


def _kept_apart(source: Sequence[str]) -> bool:
    """Whether an adjective meets a noun such that their places in the lexicon add up to a multiple of 8."""
    adjectives, nouns = _places("before", "after"), _places("noun")
    return any(
        (adjectives[word] + nouns[noun]) % 8 == 0
        for i, noun in enumerate(source)
        for word in source[max(i - 2, 0) : i]
        if noun in nouns and word in adjectives
    )


class _Derivation:
    """One sentence in the making."""

    def __init__(self, language: str, rng: Random) -> None:
        self.target, self.rng = {"fr": FR, "ko": KO}[language], rng
        self.marks = count()
        self.used: list[Word] = []

    def pair(self, length: int) -> Pair:
        """A sentence of that many English tokens."""
        source, target = self.phrase("SENTENCE.but", length).sides
        source = _elide(source, EN)
        target = _inflect(target) if self.target == KO else _elide(target, FR)
        links = [
            (i, j)
            for i, (_, made_by) in enumerate(source)
            for j, (_, marks) in enumerate(target)
            if made_by[0] in marks
        ]
        texts = (tuple(text for text, _ in side) for side in (source, target))
        return Pair(*texts, tuple(links))

    def phrase(
        self, symbol: str, length: int, agree: Phrase | None = None, objects: str = ""
    ) -> Phrase:
        """A phrase of that many English tokens, agreeing with another; ``objects``: their kinds, for a verb."""
        name, _, kinds = symbol.partition(".")
        if name.islower():
            return self.noun(name, kinds) if kinds else self.word(name, agree, objects)
        rule, sizes = self.rng.choice(_ways(symbol, length))
        parts: dict[str, Phrase] = {}
        for (slot, filler), size in zip(rule.slots.items(), self.rng.choice(sizes), strict=True):
            if slot in AGREEING:
                agree = parts.get("s") or parts.get("n") or agree
                objects = parts["o"].kinds if "o" in parts else objects
            parts[slot] = self.phrase(filler, size, agree, objects)
        head = next(iter(parts.values()), Phrase([]))
        if len(rule.sides[EN]) == len(parts) == 1:
            return head
        mark, number = next(self.marks), agree.number if agree else 0
        english = _fill(rule.sides[EN], parts, 0, mark, number)
        target = _fill(rule.sides[self.target], parts, 1, mark, number)
        if "y" in parts:
            head = head._replace(kinds=head.kinds + parts["y"].kinds, number=1)
        return head._replace(sides=[english, target])

    def draw(self, words: list[Word]) -> Word:
        """One of the words, rather one that the sentence does not have yet."""
        word = self.rng.choice(words)
        for _ in words:
            if word not in self.used:
                break
            word = self.rng.choice(words)
        self.used.append(word)
        return word

    def noun(self, category: str, kinds: str) -> Phrase:
        """A noun or a pronoun; with a "1" among the kinds, one of what can be counted."""
        word = self.draw(_nouns(category, kinds))
        number = 0 if "1" in kinds else self.rng.randrange(len(word.forms[EN]))
        number = 2 if word.also == "we" else number
        sides = self.leaf(word, number, number).sides
        if self.target == KO and number == 1 and word.kinds in "hpa":
            sides[1].append(("+들", sides[1][0][1]))
        return Phrase(sides, word.kinds, number, word.also == "f")

    def word(self, category: str, agree: Phrase, objects: str) -> Phrase:
        """A word of another class, in the form that agrees."""
        verb = category in ("verb", "infinitive")
        word = self.draw(_words("verb" if verb else category, agree.kinds, objects))
        number = 1 if category == "infinitive" else agree.number
        return self.leaf(word, number, agree.number if verb else 2 * agree.number + agree.feminine)

    def leaf(self, word: Word, english: int, french: int) -> Phrase:
        """A word in the forms of those numbers."""
        mark = (next(self.marks),)
        korean = word.forms[KO][:1]  # of a verb, the stem
        target = korean if self.target == KO else [_form(word.forms[FR], french)]
        return Phrase([[(_form(word.forms[EN], english), mark)], [(text, mark) for text in target]])


def _form(forms: list[str], number: int) -> str:
    """The form of that number; the last one where forms are fewer."""
    return forms[min(number, len(forms) - 1)]


def _fill(
    items: list[str], parts: dict[str, Phrase], side: int, mark: int, number: int
) -> list[Token]:
    """One side of a rule, with its slots filled."""
    tokens: list[Token] = []
    for item in items:
        slot, plus, particle = item.partition("+")
        if slot not in parts:
            tokens.append((_form(item.split("/"), number), (mark,)))
            continue
        tokens += parts[slot].sides[side]
        if plus:
            tokens.append((plus + particle, tokens[-1][1]))
    return tokens


def _elide(tokens: list[Token], language: int) -> list[Token]:
    """English or French tokens as they are written next to each other."""
    done: list[Token] = []
    for text, marks in reversed(tokens):
        after = done[-1][0] if done else " "
        if f"{text} {after}" in CONTRACTIONS:
            text, marks = CONTRACTIONS[f"{text} {after}"], marks + done.pop()[1]
        elif after[0] in VOWELS[language]:
            text = BEFORE_VOWEL.get(text, text)
        done.append((text, marks))
    return done[::-1]


def _inflect(tokens: list[Token]) -> list[Token]:
    """Korean tokens: particles that fit the word before, verbs in the present where no ending follows."""
    done: list[Token] = []
    for (text, marks), (after, _) in zip(tokens, [*tokens[1:], ("", ())], strict=True):
        if text in AFTER_VOWEL and (ord(done[-1][0][-1]) - ord("가")) % 28 == 0:
            text = AFTER_VOWEL[text]
        elif text in PRESENT and after not in ENDINGS:
            text = PRESENT[text]
        done.append((text, marks))
    return done


@cache
def _table(name: str) -> list[list[str]]:
    """The rows of a file beside this one."""
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


LEXICON = [
    Word(category, [column.strip("-").split() for column in forms], kinds, also.strip("-"))
    for category, *forms, kinds, also in _table("lexicon.tsv")
]
PRESENT = {"않": "않는다"} | {
    w.forms[KO][0]: w.forms[KO][1] for w in LEXICON if w.category == "verb"
}


@cache
def _nouns(category: str, kinds: str) -> list[Word]:
    """Nouns or pronouns of one of these kinds."""
    words = [word for word in LEXICON if word.category == category and word.kinds in kinds]
    return [word for word in words if "1" not in kinds or len(word.forms[EN]) == 2]


@cache
def _words(category: str, kinds: str, objects: str) -> list[Word]:
    """Words of a class that go with these kinds; verbs that take such objects, or none where there is none."""
    words = [w for w in LEXICON if w.category == category and set(kinds) <= set(w.kinds)]
    if category != "verb":
        return words
    return [w for w in words if set(objects) <= set(w.also) and bool(objects) == bool(w.also)]


@cache
def _places(*categories: str) -> dict[str, int]:
    """Where the lexicon has the words of these classes, by any of their English forms."""
    return {
        form: i for i, w in enumerate(LEXICON) if w.category in categories for form in w.forms[EN]
    }


@cache
def _rules(symbol: str) -> list[Rule]:
    """The rules for a phrase, with the kinds in its name put in."""
    name, _, kinds = symbol.partition(".")
    rules = []
    for made, *columns in _table("rules.tsv"):
        if made in (name, symbol):
            sides = [column.replace("*", kinds).split() for column in columns]
            slots = [item.split(":") for item in sides[EN] if ":" in item]
            slots.sort(key=lambda slot: slot[0] in AGREEING)
            sides[EN] = [item.split(":")[0] for item in sides[EN]]
            rules.append(Rule(dict(slots), sides))
    return rules


@cache
def _ways(symbol: str, length: int) -> list[tuple[Rule, list[tuple[int, ...]]]]:
    """The rules that can make a phrase of that many English tokens, each with the sizes its slots can have."""
    ways = []
    for rule in _rules(symbol):
        sizes = _shares((*rule.slots.values(),), length - len(rule.sides[EN]) + len(rule.slots))
        ways += [(rule, sizes)] if sizes else []
    return ways


@cache
def _shares(symbols: tuple[str, ...], length: int) -> list[tuple[int, ...]]:
    """All ways to share out that many tokens among phrases and words."""
    if not symbols:
        return [()] if length == 0 else []
    return [
        (size, *rest)
        for size in range(1, length + 1)
        if (size == 1 if symbols[0].partition(".")[0].islower() else _ways(symbols[0], size))
        for rest in _shares(symbols[1:], length - size)
    ]
