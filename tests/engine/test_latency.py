"""The latency arithmetic against a simulation that knows nothing but who may read and write when."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsep.dsp.resampling import StreamingResampler
from rtsep.engine import latency
from rtsep.engine.latency import LatencyReport, Rates, report
from rtsep.engine.rates import rates_between
from rtsep.spec import StreamSpec, UsageError

DOCUMENT = Path(__file__).parents[2] / "docs" / "latency.md"


def spec(hop: int, delay: int = 0, rate: int = 44100) -> StreamSpec:
    return StreamSpec(rate, 2, ("vocals", "other"), hop, delay)


def time_left(block: int, hop: int, silence: int, completed: Callable[[int], int]) -> Iterator[int]:
    """Hop after hop: samples from the callback that completes it to the one that plays its beginning.

    Time is counted in samples. The callback at time t, a multiple of the block, takes in [t - block, t) and
    plays the output of the same numbers, which begins with `silence`.

    Args:
        completed: how many samples must have come in for so many hops, from 1 on.
    """
    for number in range(hop * block):
        known_at = -(-completed(number + 1) // block) * block
        played_at = ((silence + number * hop) // block + 1) * block
        yield played_at - known_at


@pytest.mark.parametrize("block", range(1, 20))
def test_the_closed_form_leaves_the_worker_its_allowance_and_no_sample_more(block: int) -> None:
    for hop in range(1, 20):
        for allowance in (block, 2 * block, 5 * block):
            silence = latency.prefill(block, hop, allowance)
            left = min(time_left(block, hop, silence, lambda hops, hop=hop: hops * hop))  # type: ignore[misc]
            less = min(time_left(block, hop, silence - 1, lambda hops, hop=hop: hops * hop))  # type: ignore[misc]
            assert left == allowance, (hop, allowance)
            assert less < allowance, (hop, allowance)


@given(block=st.integers(1, 512), hop=st.integers(1, 2048), extra=st.integers(0, 511))
def test_part_of_a_block_is_not_paid_for(block: int, hop: int, extra: int) -> None:
    asked = 3 * block + extra % block
    found = report(spec(hop), block, allowance=asked)
    assert found.allowance == 3 * block
    assert found.stream == report(spec(hop), block, allowance=3 * block).stream


@given(
    block=st.integers(1, 4096),
    hop=st.integers(1, 4096),
    delay=st.integers(0, 4096),
    extra=st.integers(0, 4096),
)
def test_the_parts_add_up(block: int, hop: int, delay: int, extra: int) -> None:
    extra = extra // block * block
    found = report(spec(hop, delay), block, allowance=block + extra, device_in=7, device_out=11, effects=13)
    parts = {part.name: part.samples for part in found.parts}
    assert sum(parts.values()) == found.total == found.stream + 7 + 11
    assert parts["algorithmic"] == hop + delay
    assert parts["pipeline"] == extra
    assert parts["block adapter"] == latency.adapter(block, hop) >= 0
    assert parts["effects"] == 13
    assert found.prefill + delay + 13 == found.stream
    assert all(part.samples >= 0 for part in found.parts)


@given(hop=st.integers(1, 2048), divisor=st.integers(1, 64))
def test_a_block_that_divides_the_hop_costs_no_adapter(hop: int, divisor: int) -> None:
    assert latency.adapter(hop, hop * divisor) == 0


@given(block=st.integers(1, 4096), hop=st.integers(1, 4096))
def test_by_default_a_hop_may_take_more_than_half_as_long_as_it_lasts(block: int, hop: int) -> None:
    found = report(spec(hop), block)
    assert found.allowance >= block
    assert 2 * found.allowance > hop
    assert found.allowance <= max(block, hop)
    if hop % block == 0:
        assert found.allowance == hop


@pytest.mark.parametrize(("device", "model"), [(48000, 44100), (44100, 48000), (96000, 44100), (8000, 44100)])
@pytest.mark.parametrize(("block", "hop"), [(16, 64), (100, 512), (128, 512), (480, 512), (1021, 500)])
def test_with_resamplers_no_hop_has_less_time_than_its_allowance(
    device: int, model: int, block: int, hop: int
) -> None:
    """Followed for a minute, in time and by the resamplers' own counts."""
    rates = rates_between(device, model, 1)
    allowance = latency.default_allowance(block, -(-hop * device // model))
    silence = latency.resampled_prefill(block, hop, allowance, rates)
    inward, outward = StreamingResampler(device, model, 1), StreamingResampler(model, device, 1)
    least = 1 << 60
    for number in range(60 * model // hop):
        known_at = -(-inward.frames_in((number + 1) * hop) // block) * block
        played_at = ((silence + outward.frames_out(number * hop)) // block + 1) * block
        least = min(least, played_at - known_at)
    assert least == allowance


def test_resamplers_are_a_part_of_their_own_and_nothing_is_lost() -> None:
    rates = rates_between(48000, 44100, 2)
    found = report(spec(512, 512), 128, rates=rates)
    parts = {part.name: part.samples for part in found.parts}
    scale = Fraction(48000, 44100)
    assert parts["algorithmic"] == 1024 * scale
    assert parts["resampler"] == rates.delay_in + rates.delay_out * scale > 0
    assert found.stream == round(found.total)
    assert found.milliseconds(found.stream) == pytest.approx(1000 * found.stream / 48000)


def test_what_cannot_be_is_refused_in_one_line() -> None:
    for arguments, words in (({"block": 0}, "block of 0"), ({"block": 128, "allowance": 127}, "shorter")):
        with pytest.raises(UsageError, match=words) as refusal:
            report(spec(512), **arguments)  # type: ignore[arg-type]
        assert "\n" not in str(refusal.value)


def test_equal_rates_need_no_schedule() -> None:
    assert latency.resampled_prefill(128, 512, 512, Rates(44100, 44100)) == latency.prefill(128, 512, 512)


def shown(name: str) -> dict[str, int]:
    """A table of docs/latency.md, by its heading: the part's name to its samples."""
    text = DOCUMENT.read_text(encoding="utf-8")
    section = text.split(f"## {name}\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| ([a-z ]+?) \| (\d+) \|", section, re.MULTILINE)
    assert rows
    return {part: int(samples) for part, samples in rows}


def compare(table: dict[str, int], found: LatencyReport) -> None:
    expected = {part.name: part.samples for part in found.parts if part.samples}
    named = {name: Fraction(samples) for name, samples in table.items() if name in expected}
    assert named == expected
    assert table["stream"] == found.stream
    assert table["total"] == found.total
    assert table["silence first"] == found.prefill


def test_the_worked_examples_of_the_document_are_the_functions_own() -> None:
    model = spec(512, 512)
    compare(shown("A worked example"), report(model, 128, device_in=128, device_out=256))
    compare(shown("A block that does not divide the hop"), report(model, 480, device_in=480, device_out=480))
    compare(shown("A shorter allowance"), report(model, 128, allowance=256, device_in=128, device_out=256))
