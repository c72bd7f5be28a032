"""What a rig means for `rtsep live`: the defaults of its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rtsep.rig.config import Rig
from rtsep.rig.reading import mapping_of, model_of


def live_options(rig: Rig, folder: Path) -> dict[str, Any]:
    """Values by the names of live's parameters; what the rig leaves out is not among them.

    Args:
        rig: a checked one.
        folder: from which its paths are seen.
    """
    audio, engine, decks, master = rig.audio, rig.engine, rig.decks, rig.master
    strips = rig.stems.items()
    options: dict[str, Any] = {
        "input": None if audio.input is None else str(audio.input),
        "output": None if audio.output is None else str(audio.output),
        "block": audio.block,
        "sample_rate": audio.sample_rate,
        "null": audio.null,
        "model": model_of(engine.model, folder),
        "backend": engine.backend,
        "device": engine.device,
        "threads": engine.threads,
        "allowance": engine.allowance,
        "fallback": engine.fallback,
        "realtime": engine.realtime,
        "decks": decks.count if "count" in decks.model_fields_set else None,
        "in_map": [f"{deck}={','.join(map(str, pair))}" for deck, pair in enumerate(decks.inputs, start=1)],
        "crossfader": decks.crossfader if "crossfader" in decks.model_fields_set else None,
        "crossfader_curve": decks.curve if "curve" in decks.model_fields_set else None,
        # What is at its default may come from the snapshot.
        "gain": [f"{stem}={strip.gain}" for stem, strip in strips if "gain" in strip.model_fields_set],
        "pan": [f"{stem}={strip.pan}" for stem, strip in strips if "pan" in strip.model_fields_set],
        "mute": [stem for stem, strip in strips if strip.mute],
        "solo": [stem for stem, strip in strips if strip.solo],
        "out_map": [f"{stem}={','.join(map(str, strip.out))}" for stem, strip in strips if strip.out],
        "fx": [f"{stem}={folder / strip.chain}" for stem, strip in strips if strip.chain is not None],
        "master": master.gain if "gain" in master.model_fields_set else None,
        "limiter": master.limiter if "limiter" in master.model_fields_set else None,
        "dry_wet": master.dry_wet if "dry_wet" in master.model_fields_set else None,
        "fade": master.fade,
    }
    if master.chain is not None:
        options["fx"].append(f"master={folder / master.chain}")
    if rig.snapshots is not None:
        begin = f"#{rig.snapshots.begin}" if rig.snapshots.begin else "#"
        options["snapshot"] = f"{folder / rig.snapshots.file}{begin}"
    if rig.midi is not None:
        options["midi"] = _ports(rig.midi.ports, folder)
        options["midi_virtual"] = _ports(rig.midi.virtual, folder)
    if rig.page is not None:
        token = rig.page.token_file
        options |= {"ui": True, "ui_bind": rig.page.bind, "ui_port": rig.page.port}
        options["ui_token_file"] = None if token is None else str(folder / token)
    if rig.osc is not None:
        options |= {"osc": True, "osc_bind": rig.osc.bind, "osc_port": rig.osc.port}
        options["osc_send"] = list(rig.osc.send)
    return {name: value for name, value in options.items() if value is not None and value != []}


def _ports(ports: dict[str, str], folder: Path) -> list[str]:
    """As `--midi` has them: PORT, or PORT=MAPPING."""
    return [f"{port}={mapping_of(mapping, folder)}" if mapping else port for port, mapping in ports.items()]
