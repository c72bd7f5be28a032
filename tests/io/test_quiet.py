"""What C libraries print is kept back, and afterwards stderr is what it was, from however many threads."""

from __future__ import annotations

import os
import threading

import pytest

from rtsep.io.quiet import quiet


def test_what_is_written_to_the_descriptor_is_lost(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        os.write(2, b"lost\n")
        with quiet():
            os.write(2, b"lost too\n")
        os.write(2, b"still lost\n")
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"


def test_overlapping_threads_leave_stderr_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    """The one that began first ends first, and must not leave the other's silence behind."""
    began, ended = threading.Event(), threading.Event()

    def second() -> None:
        with quiet():
            began.set()
            ended.wait(5)

    thread = threading.Thread(target=second)
    with quiet():
        thread.start()
        assert began.wait(5)
    ended.set()
    thread.join()
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"


def test_an_error_inside_restores(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), quiet():
        raise RuntimeError
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"
