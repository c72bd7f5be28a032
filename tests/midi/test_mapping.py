"""Mapping files: what ships is whole, what is wrong is found by file, line and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rtsep.control.desk import Desk
from rtsep.engine.board import Board
from rtsep.midi.bindings import bind
from rtsep.midi.clock import Clock
from rtsep.midi.mapping import Entry, Lamp, Mapping, MappingFile, mapping_for, read_mapping, shipped_mappings
from rtsep.midi.schedule import Scheduler
from rtsep.spec import STEMS, UsageError

DOCUMENT = Path(__file__).parents[2] / "docs" / "midi.md"


def bound(file: MappingFile, stems: tuple[str, ...] = STEMS) -> int:
    return len(bind(file, Desk(Board(stems)), Scheduler(Clock())))


@pytest.mark.parametrize("name", shipped_mappings())
def test_what_ships_fits_every_model_and_says_where_its_numbers_come_from(name: str) -> None:
    file = read_mapping(name)
    assert file.mapping.title and file.mapping.source
    assert bound(file) > 12
    # A model of two stems has fewer strips, and one of eight has more.
    assert 4 < bound(file, ("speech", "music")) < bound(file) <= bound(file, tuple("abcdefgh"))
    controls = [(e.kind, e.channel, e.number) for e in file.mapping.entries]
    assert len(set(controls)) == len(controls)


@pytest.mark.parametrize(
    ("port", "name"),
    [
        ("LPD8:LPD8 MIDI 1 24:0", "lpd8"),
        ("a2j:nanoKONTROL2 [20] (capture): nanoKONTROL2 MIDI 1", "nanokontrol2"),
        ("Launch Control XL 2", "launch-control-xl"),
        ("launch control", "launch-control-xl"),
        ("LP", "generic"),
        ("Something else", "generic"),
    ],
)
def test_a_ports_name_finds_its_mapping(port: str, name: str) -> None:
    assert mapping_for(port).name == name


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("format = 2\n", 1, "format"),
        ("format = 1\nchanel = 1\n", 2, "chanel"),
        ("format = 1\n[[map]]\ncc = 1\n", 2, "address"),
        (
            'format = 1\n\n[[map]]\ncc = 1\naddress = "master/gain"\n\n[[map]]\naddress = "x"\ncc = 128\n',
            9,
            "cc",
        ),
        ('format = 1\n[[map]]\naddress = "master/gain"\n', 2, "exactly one of cc"),
        ('format = 1\n[[map]]\ncc = 1\nnote = 1\naddress = "master/gain"\n', 2, "exactly one of cc"),
        ('format = 1\n[[map]]\ncc = 1\naddress = "master/gain"\ncurve = "steep"\n', 5, "curve"),
        ('format = 1\n[[map]]\ncc = 1\naddress = "master/gain"\ncurve = [[0, 0], [0.5, 1]]\n', 5, "throw 1"),
        ('format = 1\n[[map]]\nnote = 1\naddress = "x"\nfor = "eight beats"\n', 5, "8 beats"),
        ('format = 1\n[[map]]\nnote = 1\naddress = "x"\nlamp = { on = 300 }\n', 5, "lamp.on"),
        ('format = 1\n[[map]]\ncc = 1\naddress = "x"\nquantise = "bar"\n', 2, "only presses"),
        ('format = 1\nhello = ["F0 00 F8 F7", "zz"]\n', 2, "hello"),
        ("format = 1\n[clock]\ntempo = 1000\n", 3, "clock.tempo"),
        (
            'format = 1\n[[map]]\ncc14 = 7\naddress = "x"\n[[map]]\ncc = 39\naddress = "y"\n',
            1,
            "half of a cc14",
        ),
        ("format = 1\n[[map]\n", 2, "is no TOML"),
    ],
)
def test_what_is_wrong_is_one_line_with_file_and_line(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as refusal:
        read_mapping(str(file))
    message = str(refusal.value)
    assert message.startswith(str(file)) and words in message and "\n" not in message
    assert re.search(rf"line {line}\b", message), message


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ('cc = 1\naddress = "stem/kazoo/gain"', "nothing has the address 'stem/kazoo/gain'"),
        ('note = 1\naddress = "stem/vocals/gain"', "say which, as value"),
        ('note = 1\naddress = "stem/vocals/gain"\nvalue = 20', "20 is not between"),
        ('cc = 1\naddress = "stem/vocals/gain"\nrange = [-10, 20]', "20 is not between"),
        ('note = 1\naddress = "reset"\nfor = "1 bar"', "no 'for'"),
    ],
)
def test_what_does_not_fit_the_desk_is_one_line_with_file_and_line(
    tmp_path: Path, entry: str, words: str
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'format = 1\n[[map]]\ncc = 9\naddress = "master/gain"\n\n[[map]]\n{entry}\n')
    with pytest.raises(UsageError) as refusal:
        bound(read_mapping(str(file)))
    assert f"{file}, line 6: " in str(refusal.value) and words in str(refusal.value)


def test_there_are_no_other_mappings(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file, and no mapping of that name: there are generic"):
        read_mapping("lpd9")
    with pytest.raises(UsageError, match="directory"):
        read_mapping(str(tmp_path))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is no TOML"):
        read_mapping(str(tmp_path / "bytes"))


def test_what_the_file_says_for_all_holds_where_an_entry_says_nothing() -> None:
    text = (
        'format = 1\nchannel = 3\ntakeover = "scale"\nfeedback = true\n'
        '[[map]]\ncc = 1\naddress = "master/gain"\n'
        '[[map]]\ncc = 2\nchannel = 4\ntakeover = "jump"\nfeedback = false\naddress = "master/gain"\n'
    )
    first, second = MappingFile("x", text).mapping.entries
    assert (first.channel, first.takeover, first.feedback) == (3, "scale", True)
    assert (second.channel, second.takeover, second.feedback) == (4, "jump", False)


def test_the_page_describes_every_key_and_its_example_is_a_mapping() -> None:
    page = DOCUMENT.read_text(encoding="utf-8")
    told = re.findall(r"^\| `([\w`, ]+)` \|", page, re.MULTILINE)
    keys = {key for cell in told for key in re.split(r"[`, ]+", cell)}
    fields = {field.alias or name for name, field in Entry.model_fields.items()}
    fields |= Lamp.model_fields.keys() | Mapping.model_fields.keys() - {"map"}
    assert fields <= keys, fields - keys
    examples = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert examples
    for text in examples:
        assert bound(MappingFile("example", text)) > 0
