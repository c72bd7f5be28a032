"""`rtsep live` with two decks: four inputs of a server, a rig, a recording of both, and what is refused."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rtsep.cli import main
from rtsep.spec import STEMS, strip_names
from tests.cli.test_live import Live, clicks
from tests.jack_server import JackServer
from tests.models import build_tiny_model

RIG = """\
format = 1

[audio]
input = "system"
output = "system"

[decks]
count = 2
inputs = [[1, 2], [3, 4]]
crossfader = 0.0

[stems."2/drums"]
gain = -6.0
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("models")
    build_tiny_model(root, name="live")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RTSEP_MODELS", str(root))
        yield str(root)


@pytest.mark.realtime
def test_a_rig_s_two_decks_are_heard_apart_and_recorded(models: str, tmp_path: Path) -> None:
    rig = tmp_path / "club.toml"
    rig.write_text(RIG)
    options = ("--rig", rig, "--seconds", "3", "--record", tmp_path / "set")
    with (
        JackServer("live-decks", inputs=4) as server,
        clicks(server) as source,
        Live(tmp_path, *options) as live,
    ):
        ports = [port for port in live.await_ports(server) if ":in_" in port]
        assert len(ports) == 4
        for port in ports[2:]:
            server.run("jack_connect", source, port)
        assert (live.finish(), live.err) == (0, "")
    files = {file.stem: soundfile.read(file, dtype="float32")[0] for file in (tmp_path / "set").iterdir()}
    strips = strip_names(STEMS, 2)
    assert set(files) == {*(f"deck{name.replace('/', '-')}" for name in strips), "mix"}
    assert len({track.shape for track in files.values()}) == 1
    # The metronome is on the second deck's inputs alone, and the crossfader is at the first deck.
    first = sum(files[f"deck1-{stem}"] for stem in STEMS)
    second = sum(files[f"deck2-{stem}"] for stem in STEMS)
    assert np.abs(first).max() == 0.0 and np.abs(files["mix"]).max() == 0.0
    assert np.abs(second).max() > 0.05


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--decks", "3"), "--decks"),
        (("--crossfader", "0.2"), "a crossfader takes --decks 2"),
        (("--decks", "2", "--crossfader", "1.2"), "--crossfader"),
        (("--in-map", "2=3,4"), "there is one deck"),
        (("--decks", "2", "--in-map", "2=3,x"), "write DECK=CHANNEL,CHANNEL"),
        (("--decks", "2", "--mute", "3/vocals"), "2/other"),
        (("--decks", "2", "--fx", "2/vocals=absent.toml"), "absent.toml"),
    ],
)
def test_what_cannot_be_is_one_line(
    models: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as left:
            main.main(["live", "--null", "--seconds", "0.2", *options])
    finally:
        signal.signal(signal.SIGTERM, before)
    said = capsys.readouterr().err
    assert left.value.code and words in said and "Traceback" not in said
