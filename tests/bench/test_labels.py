"""Labels in a picture can be told apart, however near their marks are."""

from __future__ import annotations

from itertools import combinations

from matplotlib.figure import Figure

from rtsep.bench import labels, pictures
from rtsep.bench.labels import Mark
from rtsep.bench.published import PUBLISHED


def test_labels_of_marks_on_one_spot_lie_apart() -> None:
    axis = Figure(figsize=(6.0, 4.0), layout="constrained").subplots()
    axis.set_xlim(0.0, 1.0)
    axis.set_ylim(0.0, 1.0)
    marks = [Mark(0.5, 0.5 + 0.01 * k, f"number {k}", 8.0, "black") for k in range(8)]
    boxes = labels.write(axis, marks)
    assert [text.get_text() for text in axis.texts] == [mark.text for mark in marks]
    assert not any(one.meets(other) for one, other in combinations(boxes, 2))


def test_what_is_published_can_be_read_beside_what_is_measured() -> None:
    rows = [
        {"name": name, "kind": "causal", "latency_ms": late, "sdr_mean": sdr}
        for name, late, sdr in (("live", 11.6, 4.0), ("near", 11.7, 4.05), ("fast", 23.0, 4.5))
    ]
    (axis,) = pictures.pareto(rows, "somewhere").axes
    axis.figure.draw_without_rendering()
    texts = {text.get_text(): text.get_window_extent() for text in axis.texts}
    assert texts.keys() == {"live", "near", "fast", *(system.name for system in PUBLISHED)}
    # What is drawn at last, not what was reckoned with.
    assert not any(one.overlaps(other) for one, other in combinations(texts.values(), 2))


def test_every_anchor_of_the_offline_kind_is_there() -> None:
    names = {system.name for system in PUBLISHED if system.latency is None}
    assert names >= {"Wave-U-Net", "Meta-TasNet", "Conv-TasNet", "X-UMX", "Spleeter", "Demucs v2", "BSRNN"}
