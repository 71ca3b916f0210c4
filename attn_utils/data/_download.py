"""Files from the network: whole and checked, or not there at all."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from tqdm import tqdm

TIMEOUT = 20.0  # seconds without a byte
WAITS = (1.0, 2.0, 4.0)  # seconds before the second, third and fourth try
BLOCK = 1 << 16  # bytes
AGENT = "Mozilla/5.0 (compatible; attn-utils)"  # some hosts refuse Python's own name
MAY_PASS = (408, 416, 429)  # besides 5xx: too slow, nothing left to resume, too many requests


def fetch(
    urls: str | Path | Iterable[str | Path],
    path: str | Path,
    sha256: str | None = None,
    progress: bool = True,
    check: Callable[[Path], object] | None = None,
    hint: str = "Download the file by hand and pass its local path.",
) -> Path:
    """Download a file from the first mirror that delivers a good one.

    The body goes to a hidden file beside ``path``, which takes the name ``path`` only when it is whole and checked. So
    a file of that name is never half a file, also when two processes download at once. Refused connections, time-outs,
    cut bodies and the statuses 5xx, 408 and 429 are tried three more times, with growing waits; a cut body is resumed
    where the server can do that and the file there has not changed. No hidden file stays behind, except where the
    process is killed.

    Args:
        urls: one address or several of the same file, in order: http, https, file, or a local path.
        path: where the file shall be; its folder is made; a file that is there is replaced.
        sha256: SHA-256 of the file in hexadecimal; `None` leaves the content to ``check``.
        progress: draw a progress bar.
        check: called with the path of the downloaded file before it is accepted; refuses by a ValueError.
        hint: what the reader can do instead; the last line of the message of a failure.

    Returns:
        The path.

    Raises:
        ConnectionError: no mirror delivered the file.
        ValueError: what some mirror delivered was refused, and no other delivered a better one; or an address is
            neither http, https, file nor a path. In either case a file that was at ``path`` is untouched.
    """
    urls = [urls] if isinstance(urls, str | Path) else list(urls)
    places = [(str(url), local_path(url)) for url in urls]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{uuid.uuid4().hex[:8]}-{path.name}")
    failures, kind = [], ConnectionError
    try:
        for url, local in places:
            try:
                shutil.copyfile(local, part) if local else _download(url, part, progress)
                found = hashlib.sha256(part.read_bytes()).hexdigest()
                if sha256 is not None and found != sha256.lower():
                    raise ValueError(f"its SHA-256 is {found}, expected {sha256}")
                if check is not None:
                    check(part)
            except (OSError, http.client.HTTPException, ValueError) as error:
                kind = ValueError if isinstance(error, ValueError) else kind
                failures.append(f"  {url}: {error}")
            else:
                os.replace(part, path)
                return path
    finally:
        part.unlink(missing_ok=True)
    raise kind("\n".join([f"{path.name} could not be had:", *failures, hint]))


def local_path(url: str | Path) -> Path | None:
    """The path that a local address means; `None` for one in the network.

    Raises:
        ValueError: a scheme other than http, https and file.
    """
    if "://" not in str(url):
        return Path(url).expanduser()
    scheme, _, where, *_ = urlsplit(str(url))
    if scheme not in ("http", "https", "file"):
        raise ValueError(f"an address begins with http://, https:// or file://, got {url!r}")
    return Path(urllib.request.url2pathname(where)) if scheme == "file" else None


def _download(url: str, part: Path, progress: bool) -> None:
    """The body of a URL into ``part``, tried again after failures that may pass."""
    version, last = None, None
    with part.open("wb") as file:
        for wait in (0, *WAITS):
            time.sleep(wait)
            try:
                with _connect(url, file.tell(), version) as response:
                    version = response.headers.get("ETag") or response.headers.get("Last-Modified")
                    return _receive(response, file, progress)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code < 500 and error.code not in MAY_PASS:
                    raise
                version = None if error.code == 416 else version
                last = error
            except (OSError, http.client.HTTPException) as error:
                last = error
    raise last


def _connect(url: str, have: int, version: str | None) -> http.client.HTTPResponse:
    """Ask for a file, or for what comes after the first ``have`` bytes of this version of it."""
    headers = {"User-Agent": AGENT}
    if have and version:  # without If-Range, halves of two different files could meet
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)


def _receive(response: http.client.HTTPResponse, file: BinaryIO, progress: bool) -> None:
    """Write a body to a file: at its end where the server goes on from there (206), else from its beginning."""
    have, part = file.tell(), response.headers.get("Content-Range", "")
    if response.status != 206 or not part.startswith(f"bytes {have}-"):
        have = file.seek(0)
        file.truncate()
        if response.status == 206:
            raise ConnectionError(f"the server sent another part than was asked for: {part!r}")
    total = None if response.length is None else have + response.length
    size = {"total": total, "initial": have, "unit": "B", "unit_scale": True}
    with tqdm(**size, desc=Path(response.url).name, leave=False, disable=not progress) as bar:
        while block := response.read(BLOCK):
            file.write(block)
            bar.update(len(block))
    if total is not None and file.tell() < total:
        raise ConnectionError(f"cut short after {file.tell():,} of {total:,} bytes")
