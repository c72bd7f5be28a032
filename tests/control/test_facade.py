"""`rtsep.Engine`: what cannot be is refused where it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

import rtsep
from rtsep.spec import UsageError
from tests.models import build_tiny_model


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fallback": "x"}, "unknown fallback 'x'; there are: dry, silence"),
        ({"audio": "nul"}, "unknown audio 'nul'; there are: portaudio, null"),
        ({"audio": None}, "unknown audio 'None'"),
    ],
)
def test_choices_that_there_are_not(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        rtsep.Engine(build_tiny_model(tmp_path), **{"audio": "null", **options})  # type: ignore[arg-type]
