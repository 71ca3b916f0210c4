"""Dates as people write them, and as machines do: "2022년 9월 7일 수요일" to "2022-09-07"."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date, timedelta

from babel import Locale, UnknownLocaleError
from babel.dates import DateTimeFormat, get_date_format, tokenize_pattern

from attn_utils.data._pairs import Pair

# Not "short": "07.09.22" does not say which century.
FORMATS = ("medium", "long", "full")
FIRST = date(1900, 1, 1)
DAYS = (date(2100, 1, 1) - FIRST).days
# Where each field of a CLDR pattern stands in YYYY-MM-DD.
PLACES = {"y": range(0, 4), "M": range(5, 7), "L": range(5, 7), "d": range(8, 10)}


def date_corpus(
    locales: Sequence[str] = ("en", "fr", "ko"), n: int = 1000, seed: int = 0
) -> list[Pair]:
    """Dates written in the ways of some languages, and the same dates as YYYY-MM-DD, character by character.

    The ways of writing are those of the Unicode CLDR, which Babel brings along; nothing is downloaded. The alignment
    links a digit to its digit and every letter of a month's name to both digits of its number; the zero put before a
    lone digit is linked to that digit; hyphens and weekdays are linked to nothing.

    Args:
        locales: CLDR names, such as "en", "ko" or "pt_BR"; each date is written in one of them, drawn at random.
        n: how many pairs.
        seed: of the draw.

    Returns:
        n pairs with distinct sources. A text that two of the locales read as different dates counts for the first.

    Raises:
        ValueError: no locale, one that CLDR does not have, or more pairs than there are days from 1900 to 2099.

    Source:
        Unicode Common Locale Data Repository (UTS #35), part 4: dates.
    """
    if not locales or not 0 <= n <= DAYS:
        raise ValueError(
            f"need a locale and from 0 to {DAYS:,} pairs, got {list(locales)} and n={n}"
        )
    patterns = [
        (locale, tokenize_pattern(get_date_format(style, locale).pattern))
        for locale in map(_locale, locales)
        for style in FORMATS
    ]
    rng = random.Random(seed)
    pairs = {}
    while len(pairs) < n:
        day = FIRST + timedelta(days=rng.randrange(DAYS))
        pair = _write(day, *rng.choice(patterns))
        pairs.setdefault(pair.source, pair)
    return list(pairs.values())


def _locale(name: str) -> Locale:
    try:
        return Locale.parse(name)
    except (UnknownLocaleError, ValueError):
        raise ValueError(
            f"CLDR knows no locale {name!r}; try one like 'en', 'ko' or 'pt_BR'"
        ) from None


def _write(day: date, locale: Locale, pattern: list[tuple]) -> Pair:
    """A date in a locale's pattern, with the links from its fields to those of the ISO date."""
    source, links = "", []
    fields = DateTimeFormat(day, locale)
    for kind, what in pattern:
        text = what if kind == "chars" else fields[what[0] * what[1]]
        if kind == "field" and what[0] in PLACES:
            links += _links(text, len(source), PLACES[what[0]])
        source += text
    return Pair(tuple(source), tuple(day.isoformat()), tuple(sorted(links)))


def _links(text: str, start: int, places: range) -> list[tuple[int, int]]:
    """Links from a field's characters, the first at ``start``, to its places in the ISO date."""
    digits = [start + i for i, character in enumerate(text) if character.isdigit()]
    if not digits:
        letters = [start + i for i, character in enumerate(text) if character.isalpha()]
        return [(i, j) for i in letters for j in places]
    # From the right, so that the 7 of "7" meets the 7 of "07"; the zero takes the first digit there is.
    digits = [digits[0]] * (len(places) - len(digits)) + digits
    return list(zip(digits, places, strict=True))
