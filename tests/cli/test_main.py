"""The entry point: help at once, one line for every failure, an exit code for each kind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from rtsep import spec
from rtsep.cli import errors, main
from tests.cli.command import PROGRAM, environment, one_line, rtsep


def test_help_lists_the_commands() -> None:
    result = rtsep("--help")
    assert result.returncode == 0 and result.stderr == ""
    for name in ("separate", "models"):
        assert name in result.stdout and main.COMMANDS[name] in result.stdout
    assert rtsep().stdout == result.stdout


def test_version() -> None:
    result = rtsep("--version")
    assert result.returncode == 0 and result.stdout.startswith("rtsep ")


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = rtsep(name, "--help")
    assert result.returncode == 0, result.stderr
    assert f"rtsep {name}" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sing"], "No such command 'sing'"),
        (["--loud"], "No such option: --loud"),
        (["separate"], "Missing argument 'INPUT"),
        (["separate", "a.wav"], "Missing option '--output'"),
        (["separate", "a.wav", "-o", "x", "--loud"], "No such option: --loud"),
        (["separate", "a.wav", "-o", "x", "--format", "aiff"], "aiff"),
        (["separate", "a.wav", "-o", "x", "--threads", "0"], "--threads"),
        (["models", "sing"], "No such command 'sing'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    result = rtsep(*arguments)
    line = one_line(result)
    assert message in line and "--help'" in line
    assert result.returncode == 2


def test_help_loads_nothing_heavy() -> None:
    """Not even numpy: whoever asks for help does not wait for libraries of numbers."""
    program = (
        "import sys, json\nfrom rtsep.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print('\\n' + json.dumps(sorted(sys.modules)))"
    )
    for arguments in (["--help"], ["separate", "--help"]):
        command = [sys.executable, "-c", program, *arguments]
        result = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
        loaded = set(json.loads(result.stdout.splitlines()[-1]))
        assert "typer" in loaded
        assert not loaded & {"numpy", "scipy", "numba", "torch", "onnxruntime", "soundfile", "sounddevice"}


KINDS = [kind for kind in vars(spec).values() if isinstance(kind, type) and issubclass(kind, spec.RtsepError)]


@pytest.mark.parametrize("kind", KINDS)
def test_expected_failures_are_one_line(
    kind: type[spec.RtsepError], capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise kind("song.wav: no\n  such thing")

    assert errors.run(command) == kind.exit_code != 0
    assert capsys.readouterr().err == "rtsep: song.wav: no such thing\n"


def test_kinds_of_failure_can_be_told_apart_by_code() -> None:
    codes = [kind.exit_code for kind in KINDS]
    assert len(set(codes)) == len(codes) >= 6


def test_a_bug_is_one_line_unless_debugging(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def command() -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.delenv(errors.DEBUG_VARIABLE, raising=False)
    assert errors.run(command) == errors.EXIT_BUG
    text = capsys.readouterr().err
    assert text.startswith("rtsep: this is a bug in rtsep (ZeroDivisionError: oh)") and text.count("\n") == 1
    monkeypatch.setenv(errors.DEBUG_VARIABLE, "1")
    assert errors.run(command) == errors.EXIT_BUG
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, typer.Abort])
def test_an_interruption_has_its_own_code(
    interruption: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise interruption

    assert errors.run(command) == 130
    assert capsys.readouterr().err == "rtsep: interrupted\n"


def test_exit_codes_of_commands_are_passed_on() -> None:
    assert errors.run(lambda: None) == 0
    assert errors.run(lambda: 3) == 3
    for given, code in ((None, 0), (5, 5), ("text", 1)):

        def leave(given: object = given) -> None:
            raise SystemExit(given)

        assert errors.run(leave) == code


@pytest.fixture(autouse=True)
def _own_signals() -> object:
    """`errors.run` takes SIGTERM for the process: give it back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    """`rtsep --help | true`: nobody listens, and nobody is told of a broken pipe."""
    with subprocess.Popen(
        [*PROGRAM, "--help"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1
