"""`rtsep live --rig FILE`: what the rig says becomes the default of every option that is not given."""

from __future__ import annotations

from pathlib import Path

import typer


def load_rig(context: typer.Context, file: Path | None) -> Path | None:
    """Called before the other options are looked at.

    Raises:
        UsageError: for a file that is no rig, naming its line.
    """
    if file is not None:
        from rtsep.rig.options import live_options
        from rtsep.rig.reading import read_rig

        wanted = live_options(read_rig(file), file.parent)
        context.default_map = {**(context.default_map or {}), **wanted}
    return file
