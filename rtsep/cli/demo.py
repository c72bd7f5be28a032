"""`rtsep demo`: a real song through the real engine, at the pace of a sound card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from rtsep.separators.registry import DEFAULT_MODEL
from rtsep.spec import AudioFileError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtsep.engine.rehearsal import Rehearsal
    from rtsep.spec import StreamSpec

EXCERPT_ORDER = ("mixture", "drums", "bass", "other", "vocals")
"""Streams of a MUSDB18 stem file."""
PICTURE = "muted-vocals.png"


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where sounds and picture go.")
    ] = Path("demo-out"),
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="Which model: see 'rtsep models'.")
    ] = DEFAULT_MODEL,
    block: Annotated[
        int, typer.Option(min=16, max=8192, help="Frames that the pretended sound card asks for.")
    ] = 128,
) -> None:
    """Play a real song through the engine with its vocals muted.

    Takes the six seconds of a rock song, with their true stems, that the 'stempeg' package carries; plays
    them through the live engine, block by block at the pace of a sound card; writes the stems, the mix
    without vocals and a picture; and says how long it took, how late it is and how well it worked.
    """
    from rtsep.backends.stream import open_stream
    from rtsep.engine.rehearsal import rehearse
    from rtsep.evaluation.picture import draw_spectrograms
    from rtsep.io.soundfiles import SoundWriter
    from rtsep.io.staging import StagedFolder

    console = Console()
    excerpt = _excerpt()
    with open_stream(model) as stream:
        spec = stream.spec
        if (spec.sample_rate, spec.channels) != (44100, 2) or "vocals" not in spec.stems:
            raise UsageError(f"the demo needs a 44.1 kHz stereo model with a vocals stem; {model} is not")
        name, mixture = stream.package.name, excerpt["mixture"]
        seconds = mixture.shape[1] / spec.sample_rate
        console.print(f"Playing {seconds:.1f} s of a rock song through [bold]{name}[/], vocals muted …")
        result = rehearse(stream, mixture, block=block, muted=("vocals",))

    names = [f"{stem}.wav" for stem in spec.stems] + ["mix-without-vocals.wav", PICTURE]
    with StagedFolder(output, names, overwrite=True) as staged:
        signals = dict(zip(names, [*result.stems, result.output], strict=False))
        for file, signal in signals.items():
            with SoundWriter(staged.path / file, spec.sample_rate, spec.channels) as writer:
                writer.write(signal)
        panels = {
            "the song": mixture,
            "with its vocals muted, live": result.output,
            "the true accompaniment": _accompaniment(excerpt),
        }
        late = result.latency.milliseconds(result.latency.stream)
        title = f"rtsep {name}: muting the vocals, {late:.0f} ms late"
        draw_spectrograms(panels, spec.sample_rate, staged.path / PICTURE, title)
    _print(console, result, spec, excerpt)
    console.print(f"Written to [bold]{output}[/]: {', '.join(names)}")


def _excerpt() -> dict[str, NDArray[np.float32]]:
    """The song and its stems by name, each (2, samples) at 44.1 kHz."""
    try:
        import stempeg
    except ModuleNotFoundError:
        raise UsageError("the demo's song comes with stempeg: pip install 'rtsep[demo]'") from None
    try:
        stems, _ = stempeg.read_stems(stempeg.example_stem_path())
    except (RuntimeError, OSError) as error:
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise AudioFileError(f"the demo's song needs ffmpeg and ffprobe: {reason}") from None
    planar = np.ascontiguousarray(stems.transpose(0, 2, 1), np.float32)
    return dict(zip(EXCERPT_ORDER, planar, strict=True))


def _accompaniment(excerpt: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """What should be left: not mixture minus vocals, since the mixture was limited after it was summed."""
    return excerpt["drums"] + excerpt["bass"] + excerpt["other"]


def _print(
    console: Console, result: Rehearsal, spec: StreamSpec, excerpt: dict[str, NDArray[np.float32]]
) -> None:
    from rtsep.cli.tables import hop_table, latency_table, troubles
    from rtsep.evaluation.metrics import median_attenuation, median_sdr

    console.print(latency_table(result.latency))
    console.print(hop_table(result.telemetry))
    console.print(troubles(result.telemetry), highlight=False)
    mixture, rate = excerpt["mixture"], spec.sample_rate
    table = Table(title="SDR against the true stems, median over one-second chunks", title_justify="left")
    for name in ("stem", "mixture as it is", "separated", "gain"):
        table.add_column(name, justify="left" if name == "stem" else "right")
    truths = {stem: excerpt[stem] for stem in spec.stems if stem in excerpt}
    estimates = dict(zip(spec.stems, result.stems, strict=True))
    truths["mix without vocals"] = _accompaniment(excerpt)
    estimates["mix without vocals"] = result.output
    for name, truth in truths.items():
        before, after = median_sdr(truth, mixture, rate), median_sdr(truth, estimates[name], rate)
        table.add_row(name, f"{before:.2f} dB", f"{after:.2f} dB", f"{after - before:+.2f} dB")
    console.print(table)
    cut = median_attenuation(excerpt["vocals"], estimates["vocals"], rate)
    console.print(f"Muting leaves the vocals {cut:.1f} dB quieter.")
