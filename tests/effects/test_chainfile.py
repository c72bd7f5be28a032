"""A chain file is understood whole or refused with the place of the mistake; what is saved is read back."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.effects.catalogue import BUILT_IN
from rtsep.effects.chainfile import (
    ChainFile,
    PluginEntry,
    Value,
    chain_text,
    load_chain,
    save_chain,
    with_values,
)
from rtsep.spec import AudioFileError, UsageError

DUB = """
name = "Dub"
[[plugin]]
type = "Delay"
[plugin.parameters]
delay_seconds = 0.375
mix = 0.3
[[plugin]]
type = "LadderFilter"
bypass = true
[plugin.parameters]
mode = "HPF24"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "chain.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_chain_is_read(tmp_path: Path) -> None:
    chain = load_chain(written(tmp_path, DUB))
    assert chain.name == "Dub" and not chain.bypass
    delay, ladder = chain.plugin
    assert delay.type == "Delay" and delay.parameters == {"delay_seconds": 0.375, "mix": 0.3}
    assert ladder.bypass and ladder.parameters == {"mode": "HPF24"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name = \n", "line 1"),
        ("[[plugin]]\ntype = 'Gain'\nx =\n", "line 3"),
        ("name = 'nothing'", "plugin"),
        ("[[plugin]]\ntype = 'Flanger'", "plugin 1: there is no effect 'Flanger'.*Chorus"),
        ("[[plugin]]\ntype = 'Gain'\n[[plugin]]\nbypass = true", "plugin 2: needs either 'type'.* or 'path'"),
        ("[[plugin]]\ntype = 'Gain'\ngain = 3", "plugin 1: gain"),
        ("[[plugin]]\ntype = 'Reverb'\nparameters = {wet = 1}", "Reverb has no parameter 'wet'.*wet_level"),
        ("[[plugin]]\ntype = 'Reverb'\nparameters = {wet_level = 2}", "wet_level = 2 is not between 0 and 1"),
        ("[[plugin]]\ntype = 'Gain'\nparameters = {gain_db = 'loud'}", "gain_db is a number, not 'loud'"),
        ("[[plugin]]\ntype = 'LadderFilter'\nparameters = {mode = 'LPF'}", "mode is one of LPF12"),
        ("[[plugin]]\ntype = 'Convolution'", "Convolution needs 'impulse_response_filename'"),
        ("[[plugin]]\ntype = 'Gain'\nexpose = ['gain_db']", "'expose' is for plug-ins with a 'path'"),
        ("[[plugin]]\npath = 'x.vst3'\nstate = '???'", "plugin 1: state: is not base64"),
        ("[[plugin]]\ntype = 'Gain'\nlag = -1", "plugin 1: lag"),
    ],
)  # fmt: skip
def test_a_mistake_is_found_at_its_place(tmp_path: Path, text: str, complaint: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError, match=complaint) as error:
        load_chain(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such chain file"):
        load_chain(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(UsageError, match="UTF-8"):
        load_chain(tmp_path / "bytes.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        load_chain(tmp_path)


def test_paths_begin_at_the_chain_file(tmp_path: Path) -> None:
    text = (
        "[[plugin]]\npath = 'plugins/x.vst3'\n"
        "[[plugin]]\ntype = 'Convolution'\nparameters = {impulse_response_filename = 'hall.wav'}\n"
    )
    external, hall = load_chain(written(tmp_path, text)).plugin
    assert external.path == tmp_path / "plugins/x.vst3"
    assert hall.parameters["impulse_response_filename"] == str(tmp_path / "hall.wav")


@st.composite
def entries(draw: st.DrawFn) -> PluginEntry:
    bypass = draw(st.booleans())
    if draw(st.booleans()):
        values: st.SearchStrategy[Value] = st.one_of(
            st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.text()
        )
        return PluginEntry(
            path=Path("/plug ins") / "x.vst3",
            name=draw(st.none() | st.text(min_size=1)),
            bypass=bypass,
            parameters=draw(st.dictionaries(st.text(), values, max_size=3)),
            expose=draw(st.none() | st.tuples(st.text())),
            lag=draw(st.none() | st.integers(0, 1000)),
        )
    kind = draw(st.sampled_from([name for name, known in BUILT_IN.items() if not known.files]))
    parameters: dict[str, Value] = {}
    for name, known in BUILT_IN[kind].parameters.items():
        if known.choices == ("off", "on"):
            parameters[name] = draw(st.booleans())
        elif known.choices:
            parameters[name] = draw(st.sampled_from(known.choices))
        else:
            parameters[name] = draw(st.floats(known.minimum, known.maximum))
    return PluginEntry(type=kind, bypass=bypass, parameters=parameters)


@settings(deadline=None, max_examples=40)
@given(
    st.builds(
        ChainFile,
        name=st.text(),
        bypass=st.booleans(),
        latency_limit_ms=st.floats(0.0, 1e6),
        plugin=st.lists(entries(), min_size=1, max_size=4).map(tuple),
    )
)
def test_what_is_written_is_read_back(chain: ChainFile) -> None:
    assert ChainFile.model_validate(tomllib.loads(chain_text(chain))) == chain


def test_saving_replaces_the_file_whole_or_not_at_all(tmp_path: Path) -> None:
    path = written(tmp_path, DUB)
    changed = with_values(load_chain(path), {"0/mix": 0.5, "1/bypass": 0.0, "bypass": 1.0})
    save_chain(changed, path)
    assert load_chain(path) == changed
    assert changed.bypass and changed.plugin[0].parameters["mix"] == 0.5 and not changed.plugin[1].bypass
    assert os.listdir(tmp_path) == ["chain.toml"]
    with pytest.raises(AudioFileError, match="cannot be written"):
        save_chain(changed, tmp_path / "no" / "folder.toml")
    # A folder of that name: the text is written, but cannot take its place.
    (tmp_path / "taken.toml").mkdir()
    with pytest.raises(AudioFileError, match="cannot be written"):
        save_chain(changed, tmp_path / "taken.toml")
    assert sorted(os.listdir(tmp_path)) == ["chain.toml", "taken.toml"]


def test_values_that_a_chain_does_not_have(tmp_path: Path) -> None:
    chain = load_chain(written(tmp_path, DUB))
    for address in ("2/mix", "mix", "0/", "x/mix"):
        with pytest.raises(UsageError, match="has no parameter"):
            with_values(chain, {address: 0.0})


def test_what_is_left_out_is_not_written() -> None:
    assert chain_text(ChainFile(plugin=(PluginEntry(type="Invert"),))) == '[[plugin]]\ntype = "Invert"\n'
