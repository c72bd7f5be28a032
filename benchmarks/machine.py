"""What a benchmark's figures were taken on, and where they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rtsep.bench.machine import describe

RESULTS = Path(__file__).parent / "results"


def write(path: Path, figures: dict[str, Any]) -> None:
    """Write a result, with the machine it was taken on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": describe(), **figures}, indent=2) + "\n", encoding="utf-8")
    print(f"written to {path}")
