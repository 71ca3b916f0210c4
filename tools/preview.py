"""Serve the built book, open it, and rebuild it when a file changes (`make preview`).

Saving a chapter rebuilds that page. Saving a file of attn_utils runs every chapter again,
because the cache of executed notebooks does not see that module. The open page reloads itself.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
SOURCES = ("_*.yml", "chapters/**/*", "attn_utils/**/*", "_ext/**/*", "_static/**/*")
IGNORED = ("__pycache__", ".ipynb_checkpoints")
RELOAD = """<script>
let built; setInterval(async () => {
  const now = await (await fetch("/__built__")).text().catch(() => built);
  if (built && now !== built) location.reload();
  built = now;
}, 1000);
</script>"""


def snapshot() -> dict[Path, float]:
    """When each source file was last changed."""
    found = {path for pattern in SOURCES for path in ROOT.glob(pattern)}
    return {
        path: path.stat().st_mtime
        for path in found
        if path.is_file() and not any(part in IGNORED for part in path.parts)
    }


def build(changed: set[Path]) -> bool:
    """Build what the changed files call for; True when the site stands."""
    command = [str(Path(sys.executable).parent / "jupyter-book"), "build", str(ROOT)]
    if any(path.suffix in {".py", ".mjs"} for path in changed):
        shutil.rmtree(ROOT / "_build" / ".jupyter_cache", ignore_errors=True)
        command.append("--all")
    return subprocess.run(command, check=False).returncode == 0


class Handler(SimpleHTTPRequestHandler):
    """Files of the site; HTML pages get a few lines that reload them after a build."""

    built = "0"

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.is_dir():
            path = path / "index.html"
        if self.path == "/__built__":
            self.answer(type(self).built.encode(), "text/plain")
        elif path.suffix == ".html" and path.is_file():
            self.answer(path.read_bytes() + RELOAD.encode(), "text/html; charset=utf-8")
        else:
            super().do_GET()

    def answer(self, body: bytes, kind: str) -> None:
        """Send a whole response that no browser keeps."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Stay quiet: the build's own lines are what matters."""


def listen(port: int, handler: Callable) -> ThreadingHTTPServer:
    """A server at the port, or at the first free one of the 20 after it."""
    for candidate in range(port, port + 20):
        try:
            return ThreadingHTTPServer(("127.0.0.1", candidate), handler)
        except OSError:
            print(f"port {candidate} is taken")
    raise SystemExit("Name a free port: make preview PORT=9000")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--no-open", action="store_true", help="do not open a browser")
    chosen = parser.parse_args()

    before = snapshot()
    index = SITE / "index.html"
    built = index.stat().st_mtime if index.is_file() else 0
    stands = build({path for path, changed in before.items() if changed > built})
    if not stands and not index.is_file():
        return 1
    handler = functools.partial(Handler, directory=str(SITE))
    server = listen(chosen.port, handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    print(f"\nThe book is at {address}  (Ctrl+C ends the preview)", flush=True)
    if not chosen.no_open:
        webbrowser.open(address)
    try:
        while True:
            time.sleep(1)
            now = snapshot()
            changed = {path for path, _ in before.items() ^ now.items()}
            if changed:
                before = now
                print("changed: " + ", ".join(sorted(p.name for p in changed)), flush=True)
                build(changed)
                Handler.built = str(time.time())
    except KeyboardInterrupt:
        print()
        return 0


if __name__ == "__main__":
    sys.exit(main())
