"""Takes the pictures of the control page in docs/images, while the demo's song plays through the live model.

    python -m benchmarks.page_pictures

The song is stempeg's example, looped on a clock; the browser runs at a lower priority than the engine.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, cast

import numpy as np
import stempeg
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import ViewportSize, sync_playwright

from rtsep.backends.stream import open_stream
from rtsep.control.desk import Desk
from rtsep.control.session import Session
from rtsep.engine.inprocess import InProcessEngine
from rtsep.engine.options import EngineOptions
from rtsep.engine.process import ProcessEngine
from rtsep.io.null import NullDriver
from rtsep.page.server import PageServer

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SIZES = {"phone": ViewportSize(width=390, height=844), "tablet": ViewportSize(width=1024, height=768)}
COLOURS = 128


class Playing(InProcessEngine):
    """Says what it was asked for, as an engine in a process of its own does."""

    options = EngineOptions(audio="null")


def main() -> None:
    stems, _ = stempeg.read_stems(stempeg.example_stem_path())
    song = np.ascontiguousarray(stems[0].T, np.float32)
    context = multiprocessing.get_context("spawn")
    for size in SIZES:
        ready, done = context.Event(), context.Event()
        with _playing(song, 0) as server:
            port = server.port
            camera = context.Process(target=_shoot, args=(size, server.address, ready, done))
            camera.start()
            ready.wait()
        # A browser that starts takes both cores of a small machine. The page finds the next engine by itself.
        with _playing(song, port):
            done.set()
            camera.join()


@contextlib.contextmanager
def _playing(song: NDArray[np.float32], port: int) -> Iterator[PageServer]:
    with open_stream("live") as stream:
        driver = NullDriver(44100, 128, song, loop=True)
        with Playing(driver, stream) as engine:
            session = Session(cast(ProcessEngine, engine), Desk(engine.board, engine.telemetry))
            _set(session.desk)
            with PageServer(session, port=port) as server:
                yield server


def _set(desk: Desk) -> None:
    desk.capture("Intro")
    desk.set_gain("drums", 2.0)
    desk.set_gain("bass", -4.5)
    desk.capture("Drop")
    desk.set_mute("vocals")
    desk.set_gain("other", -9.0)
    desk.set_master(-1.5)
    desk.set_limiter()
    desk.capture("Instrumental verse")


def _shoot(size: str, address: str, ready: Event, done: Event) -> None:
    os.nice(15)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser: Any = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZES[size], device_scale_factor=1)
        page.goto(address)
        page.wait_for_selector(".strip")
        page.wait_for_timeout(4_000)
        ready.set()
        done.wait()
        page.wait_for_timeout(8_000)
        file = IMAGES / f"page-{size}.png"
        page.screenshot(path=file)
        # A palette: flat colours lose nothing that one sees, and the file a good deal.
        Image.open(file).convert("RGB").quantize(COLOURS).save(file, optimize=True)
        print(file, file.stat().st_size)
        browser.close()


if __name__ == "__main__":
    main()
