"""The engine's own process: `python -m rtsep.engine.child`, started by `rtsep.engine.process`.

The first line on standard input says what to do, each further one to go on to the next step; one line on
standard output says how a step went. Then all goes through shared memory, until the board asks to stop or the
controlling process is gone, which is noticed by the end of standard input.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from rtsep.backends.stream import open_stream
from rtsep.engine.board import Board
from rtsep.engine.inprocess import InProcessEngine
from rtsep.engine.latency import LatencyReport
from rtsep.engine.memory import SharedFile
from rtsep.engine.options import EngineOptions
from rtsep.io.driver import AudioDriver
from rtsep.io.null import NullDriver
from rtsep.rt import priority
from rtsep.rt.residence import lock_memory
from rtsep.rt.ring import RingBuffer
from rtsep.spec import RtsepError

POLL_SECONDS = 0.05


def make_driver(options: EngineOptions, sample_rate: int) -> AudioDriver:
    """The audio driver that the options ask for, not yet opened. `sample_rate`: the model's, Hz."""
    if options.audio == "null":
        rate = options.sample_rate or sample_rate
        return NullDriver(rate, options.block, None, options.needed_inputs, options.out_channels or 2)
    from rtsep.io.portaudio import PortAudioDriver

    return PortAudioDriver(
        options.input,
        options.output,
        options.block,
        options.sample_rate,
        options.needed_inputs,
        options.out_channels,
        preferred_rate=sample_rate,
    )


def describe(latency: LatencyReport) -> dict[str, Any]:
    """A latency report as plain data; fractions as pairs."""
    return {
        "sample_rate": latency.sample_rate,
        "parts": [[p.name, p.samples.numerator, p.samples.denominator, p.meaning] for p in latency.parts],
        "stream": latency.stream,
        "prefill": latency.prefill,
        "allowance": latency.allowance,
    }


def main() -> int:
    """Run one engine; returns the exit code."""
    # Ctrl-C reaches every process of the terminal; the controlling one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What libraries print must not get between the lines of the protocol.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    line = sys.stdin.readline()
    if not line:
        # Started ahead of its task, which then could not be.
        return 0
    task = json.loads(line)

    def answer(**content: Any) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        _run(task, answer)
    except RtsepError as error:
        answer(event="error", kind=type(error).__name__, message=str(error))
        return error.exit_code
    return 0


def _run(task: dict[str, Any], answer: Any) -> None:
    options = EngineOptions.from_json(task["options"])
    stream = open_stream(
        options.model,
        backend=options.backend,
        device=options.device,
        threads=options.threads,
        decks=options.decks,
        precision=options.precision,
    )
    shared = SharedFile(Board.size_bytes(), Path(task["board"]))
    board = Board(stream.spec.stems, shared.buffer, options.decks)
    recorder = None
    if task["recorder"] is not None:
        tape = SharedFile(task["recorder_size"], Path(task["recorder"]))
        recorder = RingBuffer.attach(tape.buffer)
    effects = None
    if options.effects:
        # Here and not above: who has no chain needs no pedalboard. On the main thread, as plug-ins want it.
        from rtsep.effects.stage import EffectStage

        effects = EffectStage(options.effects, stream.spec, options.decks)
    engine = InProcessEngine(
        make_driver(options, stream.spec.sample_rate),
        stream,
        board=board,
        out_map=options.out_map,
        in_map=options.in_map,
        allowance=options.allowance,
        fallback=options.fallback,
        recorder=recorder,
        effects=effects,
        realtime=options.realtime,
        device=options.device,
    )
    answer(event="prepared")
    if not sys.stdin.readline():
        stream.close()
        return
    latency = engine.open()
    try:
        parameters = [known.plain() for known in engine.effects.parameters.values()]
        precision = getattr(stream.backend, "precision", "fp32")
        answer(event="opened", latency=describe(latency), effects=parameters, precision=precision)
        if not sys.stdin.readline():
            return
        if options.realtime and options.device == "cpu":
            # By now everything is loaded and warm. A GPU's driver sees to its own.
            lock_memory()
        engine.start()
        if options.realtime:
            priority.rise(priority.KEEPER)
        answer(event="running")
        orphaned = threading.Event()
        threading.Thread(target=_watch_parent, args=(orphaned,), daemon=True).start()
        while not board.words["stop"] and not orphaned.is_set():
            engine.poll()
            if board.words["state"] == 3:
                break
            time.sleep(POLL_SECONDS)
    finally:
        engine.close()
        stream.close()


def _watch_parent(orphaned: threading.Event) -> None:
    # Blocks, without the interpreter's lock, until the controlling process closes its end or dies.
    sys.stdin.read()
    orphaned.set()


if __name__ == "__main__":
    sys.exit(main())
