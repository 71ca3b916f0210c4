"""Files from the network, kept in a folder by the library pooch: whole and checked, or not there at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

TIMEOUT = 20.0  # seconds without a byte
RETRIES = 2  # after 1 and 2 seconds
# Some hosts refuse a library's own name. And a .tar.gz must not be unpacked on the way.
HEADERS = {"User-Agent": "Mozilla/5.0 (attn-utils)", "Accept-Encoding": "identity"}


def download(
    urls: str | Path | Sequence[str],
    sha256: str | None = None,
    root: str | Path | None = None,
    name: str | None = None,
    check: Callable[[Path], object] | None = None,
) -> Path:
    """A file from the first address that delivers a good one, or from the folder where it was kept before.

    A body goes to a temporary file in that folder, which takes its name only when it is whole and checked, and is
    deleted otherwise. What fails is tried twice more before the next address is asked. A file that is there is returned
    without a request, unless ``sha256`` says that it is another.

    Args:
        urls: one address (http or https), or several of the same file, in order; or a local path, whose file is used
            where it is, whatever its content.
        sha256: SHA-256 of the file in hexadecimal; `None` leaves the content to ``check``.
        root: the folder, made if need be; by default the system's place for caches, on Linux ``~/.cache/attn_utils``.
        name: the file's name there; by default the end of the address, after a digest of all of it.
        check: called with the path of a downloaded file before it is accepted; refuses by a ValueError.

    Returns:
        The path.

    Raises:
        ConnectionError: no address delivered the file.
        FileNotFoundError: there is no file at the local path.
        ValueError: an address is of another kind, or what it delivered was refused, and no other did better. A file
            that was there before is untouched.
    """
    if isinstance(urls, str | Path):
        if "://" not in str(urls):
            return Path(urls).expanduser().resolve(strict=True)
        urls = [urls]
    import pooch  # here, so that a chapter that downloads nothing does without
    import requests

    http = pooch.HTTPDownloader(
        progressbar=True, timeout=TIMEOUT, headers=HEADERS, chunk_size=65536
    )

    def receive(url: str, part: str, keeper: pooch.Pooch) -> None:
        http(url, part, keeper)
        if check is not None:
            check(Path(part))

    root = Path(root or pooch.os_cache("attn_utils")).expanduser()
    name = name or pooch.utils.unique_file_name(urls[0])
    keeper = pooch.create(root, "", registry={name: sha256}, retry_if_failed=RETRIES)
    errors = {}
    for url in urls:
        keeper.urls[name] = url
        try:
            return Path(keeper.fetch(name, downloader=receive))
        except (requests.RequestException, ValueError) as error:
            errors[url] = error
    if (root / name).exists():
        errors[root / name] = f"is there, but its SHA-256 is not {sha256}"
    refused = any(isinstance(error, ValueError) for error in errors.values())
    kind = ValueError if refused else ConnectionError
    reasons = [f"  {where}: {error}" for where, error in errors.items()]
    hint = "Download it by hand and pass its path."
    raise kind("\n".join([f"{name} could not be had:", *reasons, hint]))
