"""How long a touch on the control page takes: to the desk, and to a second page.

    python -m benchmarks.ui_latency [--touches 200] [--json FILE]

Two pages in headless Chromium, an engine on a clock in a process of its own, all on this machine. The first
page moves a fader by pointer events; browser and Python read the same wall clock. The desk's time is when its
words in shared memory have changed; the second page's is when its slider's value in the document has. What a
touch screen and a picture on it take is not in it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright

from rtsep.control.desk import Desk
from rtsep.control.session import Session
from rtsep.engine.options import EngineOptions
from rtsep.engine.process import ProcessEngine
from rtsep.page.server import PageServer

ADDRESS = "stem/drums/gain"
_WATCH = """() => {
  window.seen = [];
  const slider = document.querySelector('[data-address="stem/drums/gain"]');
  new MutationObserver(() => window.seen.push(performance.timeOrigin + performance.now()))
    .observe(slider, { attributeFilter: ['aria-valuetext'] });
}"""
_TOUCH = """async (touches) => {
  const slider = document.querySelector('[data-address="stem/drums/gain"]');
  const box = slider.getBoundingClientRect();
  slider.setPointerCapture = () => {};
  const x = box.x + box.width / 2;
  const send = (type, y) => slider.dispatchEvent(new PointerEvent(type,
    { pointerId: 1, button: 0, clientX: x, clientY: y, bubbles: true, cancelable: true }));
  const middle = box.y + box.height / 2;
  const times = [];
  send('pointerdown', middle);
  for (let k = 0; k < touches; k++) {
    await new Promise((done) => setTimeout(done, 60 + 40 * Math.random()));
    times.push(performance.timeOrigin + performance.now());
    send('pointermove', middle + (k % 2 ? 30 : 45));
  }
  await new Promise((done) => setTimeout(done, 500));
  send('pointerup', middle);
  return times;
}"""


def measure(touches: int) -> dict[str, Any]:
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next((path for name in names if (path := shutil.which(name))), None)
    if chromium is None:
        raise SystemExit("no Chromium: apt-get install chromium")
    engine = ProcessEngine(EngineOptions(audio="null"))
    session = Session(engine, Desk(engine.board, engine.telemetry))
    with contextlib.closing(session), PageServer(session, port=0) as server, sync_playwright() as driver:
        engine.open()
        engine.start()
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        one, two = (_visit(browser.new_context().new_page(), server.address) for _ in range(2))
        two.evaluate(_WATCH)
        before = engine.telemetry()
        moved: list[float] = []
        over = threading.Event()
        watcher = threading.Thread(target=_watch, args=(session.desk, moved, over))
        watcher.start()
        touched = one.evaluate(_TOUCH, touches)
        over.set()
        watcher.join()
        seen = two.evaluate("window.seen")
        after = engine.telemetry()
        browser.close()
    return {
        "touches": touches,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "to_desk_ms": _figures(touched, moved),
        "to_other_page_ms": _figures(touched, seen),
        "underruns_meanwhile": after.underruns - before.underruns,
        "hops_meanwhile": after.hops - before.hops,
    }


def _visit(page: Page, address: str) -> Page:
    page.goto(address)
    page.wait_for_selector(".strip")
    return page


def _watch(desk: Desk, moved: list[float], over: threading.Event) -> None:
    version = desk.version
    while not over.is_set():
        if desk.wait_for_change(version, 0.2):
            now = time.time() * 1000.0
            version = desk.version
            moved.append(now)


def _figures(touched: list[float], came: list[float]) -> dict[str, float]:
    """Each touch against the first thing that came after it and before the next touch."""
    ends = [*touched[1:], float("inf")]
    waits = [
        next(at - touch for at in came if at >= touch)
        for touch, end in zip(touched, ends, strict=True)
        if any(touch <= at < end for at in came)
    ]
    p50, p95 = np.percentile(waits, [50, 95])
    figures = {"p50": p50, "p95": p95, "max": max(waits), "answered": len(waits)}
    return {name: round(float(value), 2) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--touches", type=int, default=200)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    result = measure(given.touches)
    print(json.dumps(result, indent=2))
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
