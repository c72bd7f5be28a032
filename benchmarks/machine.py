"""What a benchmark's figures were taken on, and where they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def write(path: Path, machine: dict[str, Any], figures: dict[str, Any]) -> None:
    """Write a result and the machine it was taken on, as `rtsep.bench.machine.describe` told it before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, **figures}, indent=2) + "\n", encoding="utf-8")
    print(f"written to {path}")
