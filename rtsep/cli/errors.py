"""How a command ends: failures become one line on stderr and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

import typer

from rtsep.spec import RtsepError

DEBUG_VARIABLE = "RTSEP_DEBUG"
"""Environment variable: set to 1, unexpected failures show their traceback."""

EXIT_BUG = 70
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
_EXIT_BROKEN_PIPE = 1


def report(message: str) -> None:
    """Print one line, red on a terminal, as every failure of rtsep looks."""
    line = "rtsep: " + " ".join(message.split())
    colour = typer.colors.RED if sys.stderr.isatty() and not os.environ.get("NO_COLOR") else None
    typer.secho(line, err=True, fg=colour)


def warn(message: str) -> None:
    """Print one line about something that did not stop the work."""
    typer.echo("rtsep: warning: " + " ".join(message.split()), err=True)


def run(command: Callable[[], int | None]) -> int:
    """Run a command to its end, whatever that is.

    Ctrl-C and a request to terminate unwind the command, so that what it was writing is removed.

    Args:
        command: returns an exit code, or None for success.

    Returns:
        The exit code for the shell.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = command() or 0
        sys.stdout.flush()
    except RtsepError as error:
        report(str(error))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        # Who read our output has heard enough (`rtsep models | head`). Python would complain again when it
        # flushes at exit, were stdout still the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_BROKEN_PIPE
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except Exception as error:
        return _unexpected(error)
    if code == EXIT_INTERRUPTED:
        report("interrupted")
    return code


def _unexpected(error: Exception) -> int:
    # The parser's complaints carry text and code; which classes they are depends on typer's version.
    describe = getattr(error, "format_message", None)
    if describe is not None:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "rtsep"
        report(f"{describe().rstrip('.')} (see '{path} --help')")
        return int(getattr(error, "exit_code", 2))
    if os.environ.get(DEBUG_VARIABLE) == "1":
        traceback.print_exception(error)
    report(
        f"this is a bug in rtsep ({type(error).__name__}: {error}); "
        f"please report it with what {DEBUG_VARIABLE}=1 shows"
    )
    return EXIT_BUG


def _terminate(number: int, frame: FrameType | None) -> None:
    sys.exit(EXIT_TERMINATED)
