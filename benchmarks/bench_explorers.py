"""What the explorers cost a slow machine: Chromium, throttled four times, on the built site.

    make book
    python -m benchmarks.bench_explorers [--json FILE]

For every slider of every explorer: scripting time of one input event (median and 95th percentile over
a sweep of the whole range, one event a frame), and the time of the browser's own work on style and
layout that it causes. For every page with explorers: weight of a first visit after gzip, and the time from
the load event to explorers that answer.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.harness import NOTE_TIMES, READY, SITE, Watch, launch, pages, serve

SLOWER = 4  # times
EVENTS = 120  # on each slider
TARGETS = {"script_p95_ms": 16, "weight_gzip_bytes": 1_000_000, "ready_after_load_ms": 1000}

# One input event a frame, from one end of the range to the other and back; the time each handler takes.
SWEEP = """async ([slug, index, events]) => {
  const input = document.querySelectorAll(`section#${slug} input[type=range]`)[index];
  input.scrollIntoView({ block: "center", behavior: "instant" });
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const times = [];
  for (let i = 0; i <= events; i++) {
    await frame();
    const share = 1 - Math.abs(1 - (2 * i) / events);
    input.value = Number(input.min) + share * (input.max - input.min);
    const start = performance.now();
    input.dispatchEvent(new Event("input", { bubbles: true }));
    times.push(performance.now() - start);
  }
  await frame();
  return times.slice(1);
}"""


def explorers(page: Page) -> list[tuple[str, list[str]]]:
    """Slug and slider labels of every explorer on a page."""
    return page.locator("section.attn-explorer").evaluate_all(
        """(all) => all.map((one) => [one.id,
          [...one.querySelectorAll("input[type=range]")].map((input) => input.labels[0].textContent)])"""
    )


def measure_page(browser: Browser, site: str, name: str) -> tuple[dict, list[dict]]:
    """Weight and readiness of a first visit, and a row for each slider."""
    page = browser.new_page()
    page.set_default_timeout(60_000)
    watch = Watch(page)
    watch.start(site)
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    session.send("Performance.enable")
    page.add_init_script(NOTE_TIMES)
    page.goto(f"{site}/{name}.html")
    page.wait_for_selector(READY, state="attached")
    page.wait_for_load_state("networkidle")
    ready = page.evaluate("readyAt - performance.getEntriesByType('navigation')[0].loadEventEnd")
    weight = sum(watch.weight(SITE).values())
    visit = {"page": name, "weight_gzip_bytes": weight, "ready_after_load_ms": round(ready, 1)}

    def metrics() -> dict[str, float]:
        return {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}

    rows = []
    for slug, labels in explorers(page):
        for index, label in enumerate(labels):
            before = metrics()
            times = sorted(page.evaluate(SWEEP, [slug, index, EVENTS]))
            after = metrics()
            work = sum(after[k] - before[k] for k in ("LayoutDuration", "RecalcStyleDuration"))
            rows.append(
                {
                    "explorer": slug,
                    "slider": label,
                    "script_median_ms": round(statistics.median(times), 2),
                    "script_p95_ms": round(times[int(0.95 * len(times))], 2),
                    "style_layout_ms": round(1000 * work / len(times), 2),
                }
            )
    page.close()
    return visit, rows


def measure() -> dict:
    """All figures of the built site."""
    result = {"cpu_throttling": SLOWER, "events": EVENTS, "pages": [], "sliders": []}
    with sync_playwright() as playwright, serve(SITE) as site:
        browser = launch(playwright)
        result["chromium"] = browser.version
        for name in pages():
            if "widget-view+json" in (SITE / f"{name}.html").read_text(encoding="utf-8"):
                visit, rows = measure_page(browser, site, name)
                result["pages"].append(visit)
                result["sliders"] += rows
        browser.close()
    return result


def table(rows: list[dict]) -> str:
    """Rows as text, numbers to the right; a value beyond its target is marked."""
    names = list(rows[0])
    cells = [names] + [
        [f"{row[n]}{' !' if n in TARGETS and row[n] > TARGETS[n] else ''}" for n in names]
        for row in rows
    ]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    text = [isinstance(rows[0][n], str) for n in names]
    return "\n".join(
        "  ".join(
            c.ljust(w) if t else c.rjust(w) for c, w, t in zip(line, widths, text, strict=True)
        )
        for line in cells
    )


def main() -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    if not (SITE / "index.html").is_file():
        parser.error(f"there is no built site in {SITE}: run `make book` first")
    result = measure()
    print(f"Chromium {result['chromium']}, {SLOWER} times slower, {EVENTS} events on each slider")
    print(
        "Targets:", ", ".join(f"{name} <= {value}" for name, value in TARGETS.items()), end="\n\n"
    )
    print(table(result["sliders"]), table(result["pages"]), sep="\n\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
