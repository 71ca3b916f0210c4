"""What the browser tests and the explorers' benchmark share: Chromium, a static server, a watched page."""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from playwright.sync_api import Browser, Locator, Page, Playwright, Request

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
READY = "html[data-explorers=ready]"


class NoChromiumError(RuntimeError):
    """There is no browser to test with; the message says where it was looked for."""


def find_chromium(playwright: Playwright) -> str:
    """The browser of $CHROMIUM, of the PATH, or the one that Playwright downloaded.

    Raises:
        NoChromiumError: there is none of these.
    """
    if named := os.environ.get("CHROMIUM"):
        if path := shutil.which(named):
            return path
        raise NoChromiumError(f"CHROMIUM={named} is not a program that can be run")
    for name in NAMES:
        if path := shutil.which(name):
            return path
    if Path(playwright.chromium.executable_path).is_file():
        return playwright.chromium.executable_path
    raise NoChromiumError(
        f"no browser found: neither $CHROMIUM, nor one of {', '.join(NAMES)} on the PATH, nor "
        "Playwright's own. On Debian and Ubuntu: apt install chromium"
    )


def launch(playwright: Playwright) -> Browser:
    """A Chromium without a window that asks its maker for nothing."""
    root = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    path = find_chromium(playwright)
    return playwright.chromium.launch(executable_path=path, args=[*root, *ARGUMENTS])


class _Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments, without: str | None, **options) -> None:
        self.without = without
        super().__init__(*arguments, **options)

    def do_GET(self) -> None:
        """Answer with a file, or with nothing where the server is to do without it."""
        if not self.without or self.without not in self.path:
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/javascript")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def log_message(self, *arguments) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serve(folder: Path, without: str | None = None) -> Iterator[str]:
    """Serve a folder on a free port of this machine; yields its address, without a slash at the end.

    Files with `without` in their path are empty.
    """
    handler = functools.partial(_Quiet, directory=str(folder), without=without)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


class Watch:
    """Notes everything a page complains about and every request it makes.

    `complaints` holds console errors and warnings, uncaught errors, failed requests, answers of
    status 400 and more, and requests to anybody but `origin`, since the last `start`.
    """

    def __init__(self, page: Page) -> None:
        self.start("about:blank")
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught error: {error}"))
        page.on("request", self._request)
        page.on("requestfailed", self._failed)
        page.on("response", self._response)

    def _failed(self, request) -> None:
        if "ERR_ABORTED" not in (request.failure or ""):  # the page was left while it still loaded
            self.complaints.append(f"failed: {request.url} {request.failure}")

    def start(self, url: str) -> None:
        """Begin anew, for a page at `url`."""
        parts = urlsplit(url)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def _console(self, message) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"console {message.type}: {message.text} ({message.location})")

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)
        if not request.url.startswith((f"{self.origin}/", "blob:", "data:", "about:")):
            self.complaints.append(f"third party: {request.url}")

    def _response(self, response) -> None:
        if response.status >= 400:
            self.complaints.append(f"status {response.status}: {response.url}")

    def weight(self, folder: Path) -> dict[str, int]:
        """Bytes after gzip of every file of `folder` that the page asked for, largest first."""
        paths = {
            unquote(urlsplit(url).path).lstrip("/")
            for url in self.requests
            if url.startswith(self.origin)
        }
        sizes = {path: len(gzip.compress((folder / path).read_bytes(), 6)) for path in paths}
        return dict(sorted(sizes.items(), key=lambda item: -item[1]))


# Notes when the explorers stand and what moves on the page meanwhile.
NOTE_TIMES = """
globalThis.shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) globalThis.shifts.push(
    { value: entry.value, time: entry.startTime, moved: entry.sources.map(({ node }) =>
      node?.closest?.("[class]")?.className ?? node?.parentElement?.className ?? "") });
}).observe({ type: "layout-shift", buffered: true });
new MutationObserver(() => {
  if (document.documentElement?.dataset.explorers) globalThis.readyAt ??= performance.now();
}).observe(document, { attributes: true, subtree: true, attributeFilter: ["data-explorers"] });
"""


def drive(explorer: Locator) -> None:
    """Change the state of an explorer with one key, on its first slider or among its first radio buttons."""
    slider, radio = explorer.get_by_role("slider"), explorer.locator("input[type=radio]:checked")
    control, key = (slider, "Home") if slider.count() else (radio, "ArrowDown")
    control.first.press(key)


def pages() -> list[str]:
    """Every page of the table of contents, in its order, without a suffix: chapters/intro."""

    def files(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            yield from (node[key] for key in ("root", "file") if key in node)
            for child in node.values():
                yield from files(child)
        elif isinstance(node, list):
            for child in node:
                yield from files(child)

    return list(files(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))))


def slug() -> str:
    """owner/name of the repository, from _config.yml."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    return config["repository"]["url"].removeprefix("https://github.com/").strip("/")
