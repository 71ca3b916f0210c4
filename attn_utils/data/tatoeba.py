"""Sentences and their translations from Tatoeba, as manythings.org packs them for Anki."""

from __future__ import annotations

import hashlib
import io
import re
import unicodedata
import warnings
import zipfile
import zlib
from itertools import compress
from pathlib import Path, PureWindowsPath

from attn_utils.data._download import download
from attn_utils.data._pairs import Pair

HOST = "https://www.manythings.org/anki/{}-eng.zip"
# The copy of “Dive into Deep Learning”; the SHA-1 of the archive is 94646ad1522d915e7b0f9296181140edcf86a4f5.
MIRRORS = {"fra": ["https://d2l-data.s3-accelerate.amazonaws.com/fra-eng.zip"]}
LARGEST = 200_000_000  # bytes of text; no language has a tenth of that
MALFORMED = 0.01  # share of the lines
# Curly apostrophes become straight; a soft hyphen and zero-width spaces vanish.
PLAIN = dict.fromkeys(map(ord, "‘’ʼ"), "'") | dict.fromkeys([0x00AD, 0x200B, 0xFEFF])
REST = r"|\.{2,}|[^\w\s]"  # dots in a row are one token, any other mark is one
WORDS = re.compile(r"\w+(?:(?:['-]|(?<=\d)[.,:](?=\d))\w+)*" + REST)
ELIDED = re.compile(r"aujourd'hui|\w+(?:-\w+)*'(?=\w)|\w+(?:(?:-|(?<=\d)[.,:](?=\d))\w+)*" + REST)
ELIDING = ("cat", "fra", "ita")


def tatoeba(
    language: str = "fra",
    root: str | Path | None = None,
    url: str | Path | None = None,
    *,
    sha256: str | None = None,
    max_len: int | None = None,
) -> list[Pair]:
    """English sentences and their translations by volunteers; downloaded once, then read from the disk.

    What is verified: the archive opens, its checksum (CRC) holds, and the text is UTF-8 with a tab in its lines. The
    host replaces its archives now and then, so nothing more is asked of one by default; a download prints the SHA-256
    of its text. Pass that as ``sha256`` and you get this text or an error, today and in a year. The texts that this
    course was tried on, by language and the date in _about.txt, have these digests (of the text, not of the archive:
    the same text packed again is another archive):

    - fra, 2019-04-07: 0bb85dbaa1c896844649094d7eaf2e34bee34e84fe362b26ce7e8f2e12aae104
    - kor, 2022-05-02: ec1922b95f57bdfd413532bdacb702ac9894f79e5e9041b33bcc1a8215d63914

    The text is put in lower case and in Unicode's form NFC; curly apostrophes become straight; soft hyphens and
    zero-width spaces are dropped; a space of any kind or width only separates. Then come the tokens. A word is a run
    of letters and digits; hyphens, and dots, commas and colons between digits, join ("well-known", "2:30"). Two dots
    and more are one token, any other mark is a token of its own, spaces before it or not. In English an apostrophe
    joins too: "don't" and "tom's" are one token. In French (Italian, Catalan) it closes a word: "l'eau" is "l'" and
    "eau"; only "aujourd'hui" stays whole. Korean words are what stands between spaces and marks, particles and all.
    The rules were tried on French and Korean. They do not suit a language without spaces, nor one whose vowels are
    combining marks (Hindi).

    Args:
        language: the host's three letters, such as "fra" or "kor".
        root: where archives are kept, as ``fra-eng.zip``; one put there by hand is used. By default the system's place
            for caches, on Linux ``attn_utils`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
        url: another address of the archive, or a local archive or text (``.zip`` or ``.txt``), which is read where it
            is. A download from here is kept under a name of its own.
        sha256: the digest that the text must have, in hexadecimal.
        max_len: leave out pairs with more tokens than that on either side.

    Returns:
        Pairs with an English source and no alignment, in the file's order, each once. One sentence has many
        translations: split with `split_pairs`.

    Raises:
        ConnectionError: no host delivered the archive. Without a network, `grammar_corpus` makes one.
        FileNotFoundError: there is no file at a local ``url``.
        ValueError: a language that is not three small letters, max_len below 1, a digest that differs, an archive that
            is damaged, unsafe or without its text, more than 1 % of lines without two sentences (up to 1 % are left out
            with a warning), or no pair within ``max_len``.

    Source:
        tatoeba.org, sentences under CC BY 2.0 FR, by way of https://www.manythings.org/anki/.
    """
    if not re.fullmatch("[a-z]{3}", language):
        raise ValueError(f"language must be three letters such as 'fra' or 'kor', got {language!r}")
    if max_len is not None and max_len < 1:
        raise ValueError(f"max_len must be at least 1, got {max_len}")
    member = None if str(url).endswith(".txt") else f"{language}.txt"
    urls = url or [HOST.format(language), *MIRRORS.get(language, [])]
    name = None if url else f"{language}-eng.zip"  # what else is there is not the host's
    path = download(urls, None, root, name, lambda file: _read(file, member, sha256, tell=True))
    try:
        rows = _rows(_read(path, member, sha256))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    words = ELIDED if language in ELIDING else WORDS
    pairs = [Pair(tuple(WORDS.findall(one)), tuple(words.findall(other))) for one, other in rows]
    if max_len is not None:
        pairs = [pair for pair in pairs if max(map(len, pair[:2])) <= max_len]
    if not pairs:
        raise ValueError(f"{path}: no pairs are left with max_len={max_len}")
    return list(dict.fromkeys(pairs))


def _read(path: Path, member: str | None, sha256: str | None, tell: bool = False) -> str:
    """The text of an archive's member, or with `None` of a file, if its digest is as it must be."""
    data = path.read_bytes() if member is None else _unpack(path.read_bytes(), member)
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise ValueError(f"the text's SHA-256 is {found}, expected {sha256}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8: {error}") from error
    if not text.strip():
        raise ValueError("the text is empty")
    if tell:
        print(f"the text's SHA-256 is {found}")
    return text


def _unpack(packed: bytes, member: str) -> bytes:
    """A member of an archive; nothing is written to the disk."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(packed))
        info = archive.getinfo(_only(archive.namelist(), member))
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise NotImplementedError("bzip2 and LZMA unpack without a limit")
        data = archive.open(info).read(LARGEST + 1)  # a header may lie about the size
    except (zipfile.BadZipFile, RuntimeError, zlib.error, EOFError) as error:
        raise ValueError(f"not a good archive: {error}; it begins {packed[:40]!r}") from error
    if len(data) > LARGEST:
        raise ValueError(f"{member} holds more than {LARGEST:,} bytes; a bomb?")
    return data


def _only(names: list[str], wanted: str) -> str:
    """The one member of that name, in whatever folder of the archive."""
    for name in names:
        path = PureWindowsPath(name)  # knows drives and both slashes
        if path.anchor or ".." in path.parts:
            raise ValueError(f"refused, a member's path leads out of the archive: {name!r}")
    found = [name for name in names if name.split("/")[-1] == wanted]
    if len(found) != 1:
        raise ValueError(f"needs one member {wanted}, holds {names[:8]}")
    return found[0]


def _rows(text: str) -> list[list[str]]:
    """The first two columns of every line; a few lines without two sentences are left out, many are an error."""
    plain = unicodedata.normalize("NFC", text.lower().translate(PLAIN))
    rows = [line.split("\t", 2)[:2] for line in plain.rstrip().split("\n")]
    whole = [len(row) == 2 and all(map(str.strip, row)) for row in rows]
    bad = whole.count(False)
    if bad:
        first = whole.index(False)
        quoted = text.split("\n")[first][:80]
        message = f"{bad:,} of {len(rows):,} lines lack a sentence, the first is line {first + 1}: {quoted!r}"
        if bad > MALFORMED * len(rows):
            raise ValueError(message)
        warnings.warn(message, stacklevel=3)
    return list(compress(rows, whole))
