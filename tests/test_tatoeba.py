"""Downloads from a server on this machine that misbehaves, archives that are damaged, French and Korean by hand."""

from __future__ import annotations

import hashlib
import http.server
import importlib
import io
import re
import subprocess
import sys
import threading
import time
import tracemalloc
import types
import urllib.request
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, combinations

import pooch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attn_utils.data import _download
from attn_utils.data._download import download
from attn_utils.data._pairs import Pair, split_pairs
from attn_utils.data.tatoeba import HOST, tatoeba

tatoeba_module = importlib.import_module("attn_utils.data.tatoeba")  # the function has its name
LINES = "Go.\tVa !\nRun!\tCours\u202f!\tCC-BY 2.0 (France)\nWho?\tQui ?\n"
BODY = bytes(range(256)) * 1000


@pytest.fixture(autouse=True)
def waits(monkeypatch, tmp_path):
    """No proxy between the test and its server, a cache that is nobody's, and waits that are only noted down."""
    seconds = []
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "*")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pooch.core, "time", types.SimpleNamespace(sleep=seconds.append))
    return seconds


class Host:
    """A server that gives one answer after the other, the last one for ever."""

    def __init__(self):
        self.answers, self.requests, self.closing = [], [], threading.Event()
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                host.requests.append(dict(self.headers))
                answer = host.answers.pop(0) if len(host.answers) > 1 else host.answers[0]
                answer(self)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, name="file.zip"):
        return f"http://127.0.0.1:{self.server.server_port}/{name}"


@pytest.fixture
def host():
    host = Host()
    yield host
    host.closing.set()
    host.server.shutdown()
    host.server.server_close()


def reply(handler, status, body=b"", **headers):
    handler.send_response(status)
    for name, value in {"Content_Length": len(body), **headers}.items():
        if value is not None:
            handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)


def good(body, stop=None, length=None):
    """A whole file; ``stop`` cuts the connection, and another ``length`` than the body's is a lie."""
    return lambda handler: reply(handler, 200, body[:stop], Content_Length=length or len(body))


def status(code, **headers):
    return lambda handler: reply(handler, code, b"<html>no</html>", **headers)


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


# download: what goes well in the end


@pytest.mark.parametrize(
    "answers",
    [
        [good(BODY)],
        [status(500), status(503), good(BODY)],
        [status(429), status(408), good(BODY)],
        [lambda handler: None, good(BODY)],
        [good(BODY, stop=70_000), good(BODY)],
        [good(BODY, stop=200_000), status(502), good(BODY)],
        [good(BODY[::-1] * 2, stop=len(BODY) + 9), good(BODY)],
        [good(BODY, length=len(BODY) + 1), good(BODY)],
        [good(BODY[::-1]), good(BODY)],
        [lambda handler: reply(handler, 200, BODY, Content_Length=None)],
        [status(301, Location="/elsewhere.zip"), good(BODY)],
    ],
    ids=[
        "plain",
        "5xx",
        "busy",
        "empty",
        "cut",
        "twice",
        "changed",
        "long",
        "checksum",
        "no-length",
        "moved",
    ],
)
def test_download_arrives(host, tmp_path, answers, capfd):
    host.answers = answers
    path = download(host.url(), hashlib.sha256(BODY).hexdigest(), tmp_path / "new", "file.zip")
    assert path == tmp_path / "new" / "file.zip"
    assert path.read_bytes() == BODY
    assert left_in(path.parent) == ["file.zip"]
    assert len(host.answers) == 1, "an answer was never asked for"
    assert all("attn-utils" in request["User-Agent"] for request in host.requests)
    assert "B/s]" in capfd.readouterr().err, "no progress bar"


def test_a_file_that_is_there_is_not_asked_for_again(host, tmp_path):
    host.answers = [good(BODY), status(500)]
    digest = hashlib.sha256(BODY).hexdigest()
    path = download(host.url("a"), digest, tmp_path, "file")
    assert download(host.url("b"), digest.upper(), str(tmp_path), "file") == path
    assert download(host.url("b"), None, tmp_path, "file") == path
    assert len(host.requests) == 1


def test_an_older_file_is_replaced_where_a_digest_says_so(host, tmp_path):
    host.answers = [good(BODY)]
    (tmp_path / "file").write_text("older")
    assert download(host.url(), None, tmp_path, "file").read_text() == "older"
    digest = hashlib.sha256(BODY).hexdigest()
    assert download(host.url(), digest, tmp_path, "file").read_bytes() == BODY
    assert left_in(tmp_path) == ["file"]


def test_without_a_name_each_address_has_its_own(host, tmp_path):
    host.answers = [good(BODY)]
    paths = {download(host.url(name), root=tmp_path) for name in ("a/x.zip", "b/x.zip", "a/x.zip")}
    assert {path.name for path in paths} == set(left_in(tmp_path))
    assert len(paths) == len(host.requests) == 2
    assert all(path.name.endswith("x.zip") for path in paths)


def test_the_folder_by_default(host, tmp_path):
    host.answers = [good(BODY)]
    assert download(host.url(), name="file") == tmp_path / "cache" / "attn_utils" / "file"


def test_local_files_are_used_where_they_are(tmp_path):
    source = tmp_path / "with a blank.bin"
    source.write_bytes(BODY)
    for where in (source, str(source)):
        assert download(where) == download(where, None, tmp_path / "new", "x") == source
    assert left_in(tmp_path) == ["with a blank.bin"]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        download(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "url", ["ftp://example.org/a", "data://text,a", "http://", "file:///etc/hostname"]
)
def test_other_addresses(tmp_path, url):
    with pytest.raises(ValueError, match=url):
        download(url, None, tmp_path, "copy")
    assert left_in(tmp_path) == []


def test_many_at_once(host, tmp_path):
    host.answers = [good(BODY)]
    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(download, host.url(), None, tmp_path, "file") for _ in range(16)]
        while not all(future.done() for future in done):
            assert not (tmp_path / "file").exists() or (tmp_path / "file").stat().st_size == 256_000
    assert {future.result().read_bytes() for future in done} == {BODY}
    assert left_in(tmp_path) == ["file"]


def test_pooch_is_only_needed_for_a_download(tmp_path):
    (tmp_path / "lines.txt").write_text(LINES, encoding="utf-8")
    program = f"""
import sys
sys.modules["pooch"] = sys.modules["requests"] = None
from attn_utils.data import tatoeba
print(len(tatoeba("fra", url={str(tmp_path / "lines.txt")!r})))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "3\n", done.stderr


# download: what does not


def refused_url():
    with http.server.HTTPServer(("127.0.0.1", 0), None) as server:
        return f"http://127.0.0.1:{server.server_port}/file.zip"


def test_connection_refused(tmp_path, waits):
    urls = [refused_url(), refused_url()]
    with pytest.raises(ConnectionError, match="refused") as caught:
        download(urls, None, tmp_path, "file.zip")
    assert all(url in str(caught.value) for url in urls)
    assert "file.zip could not be had" in str(caught.value)
    assert "by hand" in str(caught.value)
    assert waits == [1, 2] * 2
    assert left_in(tmp_path) == []


def test_an_older_file_is_named_where_the_network_is_down(tmp_path):
    (tmp_path / "file").write_text("older")
    with pytest.raises(ConnectionError, match="file: is there, but .* not " + "0" * 64):
        download(refused_url(), "0" * 64, tmp_path, "file")
    assert (tmp_path / "file").read_text() == "older"


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (status(404), ConnectionError, "404"),
        (status(403), ConnectionError, "403"),
        (status(500), ConnectionError, "500"),
        (good(BODY, stop=70_000), ConnectionError, "70000 bytes read, 186000 more expected"),
        (good(BODY, length=len(BODY) + 1), ConnectionError, "256000 bytes read, 1 more expected"),
        (status(302, Location="file:///etc/hostname"), ValueError, "file:///etc/hostname"),
        (lambda handler: None, ConnectionError, "closed connection"),
    ],
    ids=["404", "403", "500", "cut", "length", "to-file", "empty"],
)
def test_download_gives_up(host, tmp_path, answer, kind, says):
    host.answers = [answer]
    with pytest.raises(kind, match=says) as caught:
        download(host.url(), None, tmp_path, "file")
    assert host.url() in str(caught.value)
    assert len(host.requests) == 3
    assert left_in(tmp_path) == []
    (tmp_path / "file").write_text("older")
    with pytest.raises(kind, match=says):
        download(host.url(), "0" * 64, tmp_path, "file")
    assert left_in(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "older"


@pytest.mark.parametrize("sent", [0, 70_000])
def test_a_server_that_hangs(host, tmp_path, monkeypatch, sent):
    def hang(handler):
        if sent:
            reply(handler, 200, BODY[:sent], Content_Length=len(BODY))
        host.closing.wait(30)

    monkeypatch.setattr(_download, "TIMEOUT", 0.2)
    host.answers = [hang]
    start = time.monotonic()
    with pytest.raises(ConnectionError, match="timed out"):
        download(host.url(), None, tmp_path, "file")
    assert time.monotonic() - start < 10
    assert left_in(tmp_path) == []
    host.answers = [hang, good(BODY)]
    assert download(host.url(), None, tmp_path, "file").read_bytes() == BODY


def test_checksum(host, tmp_path):
    host.answers = [good(BODY)]
    (tmp_path / "file").write_text("older")
    right, wrong = hashlib.sha256(BODY).hexdigest(), "0" * 64
    with pytest.raises(ValueError, match=wrong) as caught:
        download([host.url("a"), refused_url()], wrong, tmp_path, "file")
    assert right in str(caught.value)
    assert host.url("a") in str(caught.value)
    assert left_in(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "older"


def test_a_second_mirror_where_the_first_has_another_file(host, tmp_path):
    host.answers = [good(b"\0" * 90_000)] * 3 + [good(BODY)]
    digest = hashlib.sha256(BODY).hexdigest()
    path = download([host.url("a"), host.url("b")], digest, tmp_path, "file")
    assert path.read_bytes() == BODY
    assert len(host.requests) == 4


def test_a_check_sends_on_to_the_next_mirror(host, tmp_path):
    def check(path):
        if path.read_bytes() != BODY:
            raise ValueError("not the body")

    host.answers = [good(b"<html>")] * 3 + [good(BODY)]
    path = download([host.url("a"), host.url("b")], None, tmp_path, "file", check)
    assert path.read_bytes() == BODY
    host.answers = [good(b"<html>")]
    with pytest.raises(ValueError, match="not the body"):
        download(host.url(), "0" * 64, tmp_path, "file", check)
    assert path.read_bytes() == BODY
    assert left_in(tmp_path) == ["file"]


def test_interrupted(host, tmp_path):
    def check(path):
        assert left_in(tmp_path) == [path.name] != ["file"]
        raise KeyboardInterrupt

    host.answers = [good(BODY)]
    with pytest.raises(KeyboardInterrupt):
        download(host.url(), None, tmp_path, "file", check)
    assert len(host.requests) == 1
    assert left_in(tmp_path) == []


# tatoeba: archives


def pack(text=LINES, name="fra.txt", kind=zipfile.ZIP_STORED, **others):
    """An archive as the host makes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        archive.writestr("_about.txt", "Date of this file: 2019-04-07")
        for member, content in {name: text, **others}.items():
            archive.writestr(member, content)
    return buffer.getvalue()


def encrypted():
    data = bytearray(pack())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := data.find(mark, at + 1)) >= 0:
            data[at + offset] |= 1
    return bytes(data)


PAIRS = [
    Pair(("go", "."), ("va", "!")),
    Pair(("run", "!"), ("cours", "!")),
    Pair(("who", "?"), ("qui", "?")),
]


def test_downloads_once_then_works_offline(host, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tatoeba_module, "HOST", host.url("{}-eng.zip"))
    monkeypatch.setattr(tatoeba_module, "MIRRORS", {})
    host.answers = [good(pack()), status(500)]
    assert tatoeba("fra") == PAIRS
    digest = hashlib.sha256(LINES.encode()).hexdigest()
    assert digest in capsys.readouterr().out
    assert left_in(tmp_path / "cache" / "attn_utils") == ["fra-eng.zip"]
    assert tatoeba("fra") == tatoeba("fra", sha256=digest) == PAIRS
    assert capsys.readouterr().out == ""
    assert len(host.requests) == 1


def test_an_archive_put_there_by_hand(tmp_path):
    (tmp_path / "fra-eng.zip").write_bytes(pack())
    assert tatoeba("fra", tmp_path) == PAIRS
    assert tatoeba("fra", str(tmp_path)) == PAIRS


def test_the_second_mirror(host, tmp_path, monkeypatch):
    monkeypatch.setattr(tatoeba_module, "HOST", host.url("{}-eng.zip"))
    monkeypatch.setattr(tatoeba_module, "MIRRORS", {"fra": [host.url("mirror.zip")]})
    host.answers = [status(404)] * 3 + [good(pack(name="fra-eng/fra.txt"))]
    assert tatoeba("fra", tmp_path) == PAIRS


def test_another_address_has_a_file_of_its_own(host, tmp_path):
    (tmp_path / "fra-eng.zip").write_bytes(pack("Old.\tVieux.\n"))
    host.answers = [good(pack()), good(LINES.encode()), status(500)]
    assert tatoeba("fra", tmp_path, host.url("a/fra-eng.zip")) == PAIRS
    assert tatoeba("fra", tmp_path, host.url("fra.txt")) == PAIRS
    assert tatoeba("fra", tmp_path, host.url("fra.txt")) == PAIRS
    assert len(left_in(tmp_path)) == 3


def test_local_archives_are_read_where_they_are(tmp_path):
    archive, text = tmp_path / "mine.zip", tmp_path / "mine.txt"
    archive.write_bytes(pack())
    text.write_text(LINES, encoding="utf-8")
    for url in (archive, str(archive), text):
        assert tatoeba("fra", url=url) == PAIRS
    assert not (tmp_path / "cache").exists()
    with pytest.raises(FileNotFoundError, match="nowhere.zip"):
        tatoeba("fra", url=tmp_path / "nowhere.zip")


@pytest.mark.parametrize("broken", ["404", "html", "pin"])
def test_a_failed_download_leaves_nothing(host, tmp_path, monkeypatch, broken):
    monkeypatch.setattr(tatoeba_module, "HOST", host.url("{}-eng.zip"))
    host.answers = [
        {"404": status(404), "html": good(b"<!DOCTYPE html>")}.get(
            broken, good(pack(name="kor.txt"))
        )
    ]
    kind = ConnectionError if broken == "404" else ValueError
    with pytest.raises(kind, match=host.url("kor-eng.zip")) as caught:
        tatoeba("kor", tmp_path, sha256="f" * 64)
    assert "by hand" in str(caught.value)
    assert left_in(tmp_path) == []


BAD = {
    "html": (b"<!DOCTYPE html><p>Not here", "begins b'<!DOCTYPE html>"),
    "nothing": (b"", "not a good archive"),
    "crc": (pack().replace(b"Cours", b"Court"), "CRC"),
    "cut": (pack()[:-30], "not a good archive"),
    "encrypted": (encrypted(), "encrypted"),
    "bzip2": (pack(kind=zipfile.ZIP_BZIP2), "without a limit"),
    "lzma": (pack(kind=zipfile.ZIP_LZMA), "without a limit"),
    "parent": (pack(**{"../evil.txt": "x"}), "evil"),
    "deep": (pack(**{"a/../../fra.txt": LINES}), "leads out"),
    "absolute": (pack(name="/fra.txt"), "leads out"),
    "drive": (pack(name="C:\\fra.txt"), "leads out"),
    "missing": (pack(name="kor.txt"), "needs one member fra.txt.*kor.txt"),
    "twice": (pack(**{"b/fra.txt": LINES}), "needs one member fra.txt"),
    "empty": (pack(""), "empty"),
    "blank": (pack("\n \r\n"), "empty"),
    "latin": (pack("Go.\tVa !\nSummer.\tÉté.\n".encode("latin-1")), "line 2 is not UTF-8"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_archives_are_named(tmp_path, kind):
    data, says = BAD[kind]
    (tmp_path / "fra-eng.zip").write_bytes(data)
    with pytest.raises(ValueError, match=f"(?s)fra-eng.zip: .*{says}"):
        tatoeba("fra", tmp_path)
    assert left_in(tmp_path) == ["fra-eng.zip"]


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(tatoeba_module, "LARGEST", len(LINES.encode()) - 1)
    (tmp_path / "fra-eng.zip").write_bytes(pack())
    with pytest.raises(ValueError, match="bomb"):
        tatoeba("fra", tmp_path)
    (tmp_path / "fra-eng.zip").write_bytes(pack("\0" * 30_000_000, kind=zipfile.ZIP_DEFLATED))
    tracemalloc.start()
    with pytest.raises(ValueError, match="bomb"):
        tatoeba("fra", tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_to_any_byte_is_an_error_that_is_meant_or_none(tmp_path, kind):
    whole, path = pack(LINES, kind=kind), tmp_path / "fra-eng.zip"
    for at in range(len(whole)):
        for flip in (1, 4, 6, 0xFF):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
            try:
                assert tatoeba("fra", tmp_path) == PAIRS
            except ValueError as error:
                assert "fra-eng.zip" in str(error)  # noqa: PT017


def test_a_pinned_text(tmp_path):
    (tmp_path / "fra-eng.zip").write_bytes(pack())
    with pytest.raises(ValueError, match="f" * 64) as caught:
        tatoeba("fra", tmp_path, sha256="f" * 64)
    assert hashlib.sha256(LINES.encode()).hexdigest() in str(caught.value)
    assert tatoeba("fra", tmp_path, sha256=hashlib.sha256(LINES.encode()).hexdigest()) == PAIRS
    digests = re.findall(r"- [a-z]{3}, \d{4}-\d\d-\d\d: (\w+)\n", tatoeba.__doc__)
    assert [len(bytes.fromhex(digest)) for digest in digests] == [32, 32]


# tatoeba: lines


def read(tmp_path, text, language="fra", **options):
    path = tmp_path / "lines.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return tatoeba(language, url=path, **options)


def test_columns_line_ends_and_byte_order_mark(tmp_path):
    text = "\ufeff" + LINES.replace("\n", "\r\n") + "\r\n"
    assert read(tmp_path, text) == PAIRS
    assert read(tmp_path, LINES.rstrip()) == PAIRS


@pytest.mark.parametrize(
    "line", ["no tab", "", "Go.\t", "\tVa !", "Go.\t \u202f\tCC-BY", "Go.\t\u200b"]
)
def test_malformed_lines(tmp_path, line):
    many = "".join(f"{n}\t{n}\n" for n in range(200))
    path = tmp_path / "lines.txt"
    path.write_text(f"{many}{line}\n{line}\n{LINES}", encoding="utf-8")
    with pytest.warns(UserWarning, match="2 of 205 lines .* line 201: ") as caught:
        pairs = tatoeba("fra", url=path)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert repr(line) in str(caught[0].message)
    assert len(pairs) == 203
    assert pairs[-3:] == PAIRS
    with pytest.raises(ValueError, match=r"lines.txt: 1 of 4 lines .* line 1: "):
        read(tmp_path, f"{line}\n{LINES}")


def words(tmp_path, text, language="fra", side=1, **options):
    line = f"{text}\tx" if side == 0 else f"x\t{text}"
    (pair,) = read(tmp_path, line, language, **options)
    return " ".join(pair[side])


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Va\u202f!", "va !"),
        ("Va\u00a0! Va\u2009!", "va ! va !"),
        ("Va!", "va !"),
        ("Cafe\u0301 E\u0301TE\u0301", "café été"),
        ("L\u2019eau et J'ai", "l' eau et j' ai"),
        ("Qu'est-ce qu'il y a\u202f?", "qu' est-ce qu' il y a ?"),
        ("Aujourd’hui jusqu'à l'aujourd'hui", "aujourd'hui jusqu' à l' aujourd'hui"),
        ("Va-t'en, a-t-il dit.", "va-t' en , a-t-il dit ."),
        ("«\u00a0Quoi\u00a0?\u00a0»", "« quoi ? »"),
        ("Il est 2:30, pas 1.000,5 !", "il est 2:30 , pas 1.000,5 !"),
        ("Euh... bon…", "euh ... bon …"),
        ("Ils ont l''air 'bien'.", "ils ont l ' ' air ' bien ' ."),
        ("a\u00adb c\u200bd", "ab cd"),
        ("Ça coûte 10$ (ou 5 %).", "ça coûte 10 $ ( ou 5 % ) ."),
        ("Œuvre", "œuvre"),
    ],
)
def test_french_by_hand(tmp_path, text, tokens):
    assert words(tmp_path, text) == tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("나는 학교에 가요.", "나는 학교에 가요 ."),
        ("\u1112\u1161\u11ab\u1100\u116e\u11a8", "한국"),  # conjoining jamo
        ("2:30에 만나요, 네?", "2:30에 만나요 , 네 ?"),
        ("뛰어!", "뛰어 !"),
        ('"안녕" (인사)', '" 안녕 " ( 인사 )'),
    ],
)
def test_korean_by_hand(tmp_path, text, tokens):
    assert words(tmp_path, text, "kor") == tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (
            "I don't know Tom’s well-known father-in-law.",
            "i don't know tom's well-known father-in-law .",
        ),
        ("It's 3:30; I shouldn't've.", "it's 3:30 ; i shouldn't've ."),
        ("The teachers' room", "the teachers ' room"),
        ("It cost $1,000.", "it cost $ 1,000 ."),
        ('"Hi," he said - twice.', '" hi , " he said - twice .'),
    ],
)
def test_english_by_hand(tmp_path, text, tokens):
    assert words(tmp_path, text, side=0) == tokens


def test_repeated_pairs_count_once(tmp_path):
    text = "Go.\tVa !\nGo.\tVa\u202f!\tother\nGO.\tva!\nGo.\tMarche.\nGo!\tVa !\n"
    assert len(read(tmp_path, text)) == 3


def test_limit(tmp_path):
    text = "A.\tB.\nA b c.\tB.\nC.\tD e f.\nE.\tF.\n"
    assert [pair.source for pair in read(tmp_path, text, max_len=2)] == [("a", "."), ("e", ".")]
    with pytest.raises(ValueError, match="lines.txt: no pairs are left with max_len=1"):
        read(tmp_path, text, max_len=1)


@pytest.mark.parametrize("max_len", [0, -1])
def test_limit_below_one(tmp_path, max_len):
    with pytest.raises(ValueError, match=f"max_len must be at least 1, got {max_len}"):
        read(tmp_path, LINES, max_len=max_len)


@pytest.mark.parametrize("language", ["fr", "FRA", "../", "fra\n", ""])
def test_language(language):
    with pytest.raises(ValueError, match="three letters") as caught:
        tatoeba(language)
    assert repr(language) in str(caught.value)


def test_the_host_is_asked_for_its_own_names():
    assert HOST.format("fra") == "https://www.manythings.org/anki/fra-eng.zip"
    assert urllib.request.urlparse(HOST).scheme == "https"


# split_pairs


def numbered(edges):
    return [Pair((f"s{s}",), (f"t{t}",)) for s, t in edges]


edges = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=30, max_size=90)


@settings(deadline=None, max_examples=60)
@given(edges, st.integers(0, 9), st.integers(0, 9), st.integers(0, 5))
def test_split_shares_nothing_and_loses_nothing(edges, valid, test, seed):
    pairs = numbered(edges)
    try:
        parts = split_pairs(pairs, valid, test, seed)
    except ValueError as error:
        assert "gets none" in str(error)  # noqa: PT017
        return
    assert sorted(chain(*parts)) == sorted(pairs)
    for a, b in combinations(parts, 2):
        for side in ("source", "target"):
            assert not {getattr(p, side) for p in a} & {getattr(p, side) for p in b}
    assert len(parts[1]) <= valid
    assert len(parts[2]) <= test
    assert parts == split_pairs(pairs, valid, test, seed)


def test_split_of_strangers_is_exact_and_random():
    pairs = numbered((i, i) for i in range(1000))
    for sizes, asked in (
        ((880, 20, 100), (20, 100)),
        ((995, 5, 0), (5, 0)),
        ((1000, 0, 0), (0, 0)),
    ):
        assert tuple(map(len, split_pairs(pairs, *asked))) == sizes
    one, other = (split_pairs(pairs, 100, 100, seed) for seed in (1, 2))
    assert one[2] != other[2]
    assert [len([p for p in part if p in pairs[:500]]) for part in one] == pytest.approx(
        [400, 50, 50], abs=20
    )
    assert one[0] == [pair for pair in pairs if pair in set(one[0])], "the order of the corpus"


def test_split_keeps_a_long_chain_together():
    linked = [(i // 2, (i + 1) // 2) for i in range(4_000)]  # s0-t0-s0-t1-s1-t1 …
    pairs = numbered([*linked, *((-i, -i) for i in range(1, 6_001))])
    train, valid, test = split_pairs(pairs, 1_000, 1_000)
    assert (len(train), len(valid), len(test)) == (8_000, 1_000, 1_000)
    assert sum(pair.source[0][1] != "-" for pair in train) == 4_000


def test_a_large_group_goes_to_training_though_it_would_fit():
    star = [(0, t) for t in range(50)]
    pairs = numbered([*star, *((s, 100 + s) for s in range(1, 951))])
    for seed in range(20):
        train, valid, test = split_pairs(pairs, 100, 100, seed)
        assert (len(valid), len(test)) == (100, 100)
        assert set(pairs[:50]) <= set(train)


def test_large_groups_are_taken_where_there_are_no_small_ones():
    pairs = numbered((i // 5, i) for i in range(50))
    assert tuple(map(len, split_pairs(pairs, 6, 10))) == (35, 5, 10)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((-1, 1), "valid=-1"),
        ((1, -1), "test=-1"),
        ((1, float("nan")), "test=nan"),
        ((5, 5), "valid=5 and test=5 of 10 pairs"),
        ((0.1, 0.1), "valid should get 0.1"),
    ],
)
def test_split_refuses(arguments, says):
    with pytest.raises(ValueError, match=says):
        split_pairs(numbered((i, i) for i in range(10)), *arguments)


def test_split_of_one_group_or_none():
    with pytest.raises(ValueError, match="valid should get 1 .* of 1 groups .* largest 10"):
        split_pairs(numbered((0, i) for i in range(10)), 1, 1)
    with pytest.raises(ValueError, match="0 pairs"):
        split_pairs([], 0, 0)
