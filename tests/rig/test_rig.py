"""Rig files: read, refused with the line, turned into options, written by asking."""

from __future__ import annotations

import errno
import json
import os
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from typer.testing import CliRunner

from rtsep.cli import rig as command
from rtsep.io.devices import Device
from rtsep.rig import config
from rtsep.rig.config import Rig
from rtsep.rig.lines import line_of
from rtsep.rig.options import live_options
from rtsep.rig.reading import parse_rig, read_rig
from rtsep.rig.writing import write_toml
from rtsep.spec import UsageError

WHOLE = """\
format = 1

[audio]
input = "Scarlett"
output = 3
block = 256

[engine]
model = "studio"   # 46 ms
threads = 2
fallback = "silence"

[stems.vocals]
mute = true
out = [3, 4]

[stems."drums"]
gain = -3
pan = 0.5
chain = "drums.toml"

[master]
gain = -1.5
limiter = false
fade = 2000

[snapshots]
file = "set.toml"

[page]
bind = "0.0.0.0"
token_file = "club.token"

[osc]
send = ["127.0.0.1:9000"]
"""


def test_a_whole_rig_is_options_of_live(tmp_path: Path) -> None:
    (tmp_path / "drums.toml").touch()
    file = tmp_path / "club.toml"
    file.write_text(WHOLE)
    assert live_options(read_rig(file), tmp_path) == {
        "input": "Scarlett", "output": "3", "block": 256, "null": False,
        "model": "studio", "backend": "auto", "device": "cpu", "threads": 2, "fallback": "silence",
        "realtime": True,
        "gain": ["drums=-3.0"], "pan": ["drums=0.5"], "mute": ["vocals"], "out_map": ["vocals=3,4"],
        "fx": [f"drums={tmp_path / 'drums.toml'}"],
        "master": -1.5, "limiter": False, "fade": 2000.0, "snapshot": f"{tmp_path / 'set.toml'}#",
        "ui": True, "ui_bind": "0.0.0.0", "ui_port": 8377, "ui_token_file": str(tmp_path / "club.token"),
        "osc": True, "osc_bind": "127.0.0.1", "osc_port": 9377, "osc_send": ["127.0.0.1:9000"],
    }  # fmt: skip


def test_what_is_left_out_is_left_to_live(tmp_path: Path) -> None:
    options = live_options(parse_rig("format = 1\n", tmp_path / "x.toml"), tmp_path)
    named = {"block", "null", "model", "backend", "device", "threads", "fallback", "realtime"}
    assert options.keys() == named


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("format = 1", "format = 2", 1, "format"),
        ("format = 1", "", 1, "format: is missing"),
        ("block = 256", "blocks = 256", 6, "audio.blocks: there is no such key: block?"),
        ("block = 256", 'block = "256"', 6, "audio.block: must be a whole number"),
        ("block = 256", "block = 0", 6, "greater than or equal to 1"),
        ("block = 256", "block = 256\nnull = true", 7, "null is without a device"),
        ('"studio"   #', '"stduio"   #', 9, "stduio"),
        ("threads = 2", "threads = 2.5", 10, "engine.threads"),
        ("threads = 2", "threads =", 10, "is no TOML"),
        ("[stems.vocals]", "[stems.kazoo]", 13, "stems.kazoo: studio has vocals, drums"),
        ("mute = true", "mute = 1", 14, "stems.vocals.mute: must be true or false"),
        ("out = [3, 4]", "out = [3, 0]", 15, "stems.vocals.out.1"),
        ("gain = -3", "gain = 13", 18, "stems.drums.gain"),
        ("gain = -3", "gain = nan", 18, "stems.drums.gain"),
        ("pan = 0.5", 'pan = "left"', 19, "stems.drums.pan: must be a number"),
        ('"drums.toml"', '"absent.toml"', 20, "no such file"),
        ("limiter = false", "limitre = false", 24, "limiter?"),
        ('file = "set.toml"', 'file = "set.toml"\nbegin = "verse"', 28, "set.toml: no such file"),
        ('bind = "0.0.0.0"', "port = 70000", 31, "page.port"),
        ("[osc]", "[ocs]", 34, "ocs: there is no such key: osc?"),
    ],
)
def test_a_mistake_names_its_line(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    (tmp_path / "drums.toml").touch()
    file = tmp_path / "club.toml"
    assert WHOLE.count(old) == 1
    file.write_text(WHOLE.replace(old, new))
    with pytest.raises(UsageError) as refused:
        read_rig(file)
    said = str(refused.value)
    assert said.startswith(str(file)) and "\n" not in said
    assert f"line {line}" in said and words in said, said


DECKS = """\
format = 1

[decks]
count = 2
inputs = [[3, 4], [7]]
crossfader = 0
curve = "cut"

[stems.vocals]
mute = true

[stems."2/drums"]
gain = -3
"""


def test_decks_are_options_of_live(tmp_path: Path) -> None:
    options = live_options(parse_rig(DECKS, tmp_path / "x.toml"), tmp_path)
    assert options["decks"] == 2 and options["in_map"] == ["1=3,4", "2=7"]
    assert options["crossfader"] == 0.0 and options["crossfader_curve"] == "cut"
    assert options["mute"] == ["vocals"] and options["gain"] == ["2/drums=-3.0"]
    written = write_toml(parse_rig(DECKS, tmp_path / "x.toml"))
    again = parse_rig(written, tmp_path / "x.toml")
    assert live_options(again, tmp_path) == options


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("count = 2", "count = 3", 4, "decks.count"),
        ("count = 2", "number = 2", 4, "decks.number: there is no such key"),
        ("count = 2\n", "", 12, "stems.2/drums: live has vocals, drums"),
        ("[[3, 4], [7]]", "[[3, 4], [7], [8]]", 5, "more inputs than decks"),
        ("[[3, 4], [7]]", "[[3, 4, 5]]", 5, "decks.inputs"),
        ("[[3, 4], [7]]", "[[0, 4]]", 5, "decks.inputs"),
        ("[[3, 4], [7]]", "[3, 4]", 5, "decks.inputs"),
        ("crossfader = 0", "crossfader = 2", 6, "decks.crossfader"),
        ('"cut"', '"linear"', 7, "decks.curve"),
        ('"2/drums"', '"3/drums"', 12, "stems.3/drums: live has 1/vocals"),
        ('"2/drums"', '"1/vocals"', 12, "is vocals, which is there already"),
    ],
)
def test_a_mistake_about_decks_names_its_line(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    assert DECKS.count(old) == 1
    with pytest.raises(UsageError) as refused:
        parse_rig(DECKS.replace(old, new), tmp_path / "x.toml")
    said = str(refused.value)
    # A line that was taken out is missing above the mistake.
    assert f"line {line - (new == '')}" in said and words in said, said


def test_a_crossfader_takes_two_decks(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="line 3: decks.curve: takes two decks"):
        parse_rig('format = 1\n[decks]\ncurve = "cut"\n', tmp_path / "x.toml")


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_rig(tmp_path / "absent.toml")
    (tmp_path / "noise.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="UTF-8"):
        read_rig(tmp_path / "noise.toml")


PLACES = """\
a = 1
b.c = 2
[t]  # a table
k = 3
"u".v = 4
["q.r"]
s = 5
text = \"\"\"
[fake]
x = 1
\"\"\"
[inner]
deep = { x = 1 }
[[list]]
y = 1
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("a",), 1), (("b", "c"), 2), (("t",), 3), (("t", "k"), 4), (("t", "u", "v"), 5), (("t", "gone"), 3),
        (("q.r", "s"), 7), (("q.r", "text"), 8), (("fake", "x"), 1), (("inner", "deep", "x"), 13),
        (("list", 0, "y"), 15), (("gone",), 1), ((), 1),
    ],
)  # fmt: skip
def test_lines_are_found(path: tuple[str | int, ...], line: int) -> None:
    tomllib.loads(PLACES)
    assert line_of(PLACES, path) == line


@given(
    st.fixed_dictionaries(
        {"format": st.just(1)},
        optional={
            "audio": st.fixed_dictionaries(
                {}, optional={"input": st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
                              "block": st.integers(1, 4096), "null": st.booleans()}
            ),
            "stems": st.dictionaries(
                st.sampled_from(["vocals", "drums"]),
                st.fixed_dictionaries(
                    {}, optional={"gain": st.floats(-90, 12) | st.just(float("-inf")), "mute": st.booleans(),
                                  "out": st.lists(st.integers(1, 64), max_size=2)}
                ),
            ),
            "page": st.fixed_dictionaries({}, optional={"port": st.integers(0, 65535)}),
            "osc": st.just({}),
        },
    )
)  # fmt: skip
def test_what_is_written_is_read_again(content: dict[str, object]) -> None:
    rig = Rig.model_validate(content)
    again = Rig.model_validate(tomllib.loads(write_toml(rig)))
    # A strip of which nothing is said is not written.
    said = {stem: strip for stem, strip in rig.stems.items() if strip.model_fields_set}
    assert dict(again) == dict(rig) | {"stems": said}


@pytest.mark.parametrize("table", [config.Audio, config.Engine, config.Decks, config.Stem, config.Master,
                                   config.Snapshots, config.Midi, config.Page, config.Osc])  # fmt: skip
def test_every_key_is_described(table: type[BaseModel]) -> None:
    name = {config.Stem: "stems.NAME"}.get(table, table.__name__.lower())
    text = (Path(__file__).parents[2] / "docs" / "rig.md").read_text()
    section = text.split(f"### `[{name}]`")[1].split("###")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE))
    assert list(told) == list(table.model_fields)
    for key, field in table.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        if field.is_required():
            assert told[key] == "required"
        else:
            assert told[key] == ("none" if default is None else f"`{json.dumps(default)}`"), key


def test_the_rig_of_the_document_is_one(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "rig.md").read_text()
    (rig,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert parse_rig(rig, tmp_path / "club.toml").engine.model == "studio"


def test_a_rig_is_made_by_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtsep.io.devices.list_devices", list)
    file = tmp_path / "club.toml"
    answers = "kazoo\nlive\n1\nvocals, tuba\nvocals\nset.toml\ny\ny\nn\n"
    result = CliRunner().invoke(command.rig, ["init", str(file)], input=answers)
    assert result.exit_code == 0, result.output
    rig = read_rig(file)
    assert rig.audio.null and rig.stems["vocals"].mute and rig.osc is None
    assert rig.page is not None and rig.page.bind == "0.0.0.0" and rig.page.token_file == Path("club.token")
    assert "one of convtasnet, fast, live, studio" in result.output and "some of vocals" in result.output
    again = CliRunner().invoke(command.rig, ["init", str(file)], input=answers)
    assert isinstance(again.exception, UsageError) and "--force" in str(again.exception)
    assert CliRunner().invoke(command.rig, ["check", str(file)]).output.endswith("plays with live\n")


def card(inputs: int) -> Device:
    return Device(0, "Mixer", "ALSA", inputs, 2, 44100, True, True)


def test_asking_for_two_decks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a card with eight inputs: the second and the fourth pair, after answers that cannot be."""
    monkeypatch.setattr("rtsep.io.devices.list_devices", lambda: [card(8)])
    file = tmp_path / "club.toml"
    audio = "y\n1\n0\n128\n"
    pairs = "3,4\n7\n9,10\n7 8\n"
    result = CliRunner().invoke(
        command.rig, ["init", str(file)], input=f"{audio}live\n2\n{pairs}vocals 2/drums\nnone\nn\nn\n"
    )
    assert result.exit_code == 0, result.output
    rig = read_rig(file)
    assert rig.decks.count == 2 and [list(pair) for pair in rig.decks.inputs] == [[3, 4], [7, 8]]
    assert rig.stems["vocals"].mute and rig.stems["2/drums"].mute
    assert result.output.count("two channels of 8, from 1, such as 3,4, please") == 2


def test_a_card_of_two_inputs_is_not_asked_for_decks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtsep.io.devices.list_devices", lambda: [card(2)])
    answers = "y\n1\n0\n128\nlive\nnone\nnone\nn\nn\n"
    result = CliRunner().invoke(command.rig, ["init", str(tmp_path / "club.toml")], input=answers)
    assert result.exit_code == 0 and "Decks" not in result.output
    assert read_rig(tmp_path / "club.toml").decks.count == 1


def test_a_disk_that_fails_leaves_the_rig_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtsep.io.devices.list_devices", list)
    file = tmp_path / "club.toml"
    file.write_text("format = 1\n")

    def fails(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    answers = "live\n1\nnone\nnone\nn\nn\n"
    result = CliRunner().invoke(command.rig, ["init", "--force", str(file)], input=answers)
    assert isinstance(result.exception, UsageError)
    assert str(result.exception) == f"{file}: No space left on device"
    assert file.read_text() == "format = 1\n" and list(tmp_path.iterdir()) == [file]


def test_an_interrupted_dialogue_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "club.toml"
    assert CliRunner().invoke(command.rig, ["init", str(file)], input="\n").exit_code != 0
    assert not file.exists()
