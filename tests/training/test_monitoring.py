"""What a run shows of itself: the report, and curves for TensorBoard."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtsep.spec import STEMS, UsageError
from rtsep.training.corpus import Track, load_corpus
from rtsep.training.events import FOLDER, NoEvents, open_events
from rtsep.training.loop import LOG, Trainer
from rtsep.training.report import CONTEXT_SECONDS, REPORT, read_log, show_excerpt
from tests.browser import chromium, needs_browser
from tests.training.corpora import RATE, run_config, write_track


def short_run(corpus: Path, output: Path, steps: int = 20, **monitor: Any) -> Path:
    config = run_config(
        corpus,
        output,
        optimiser={"steps": steps, "validate_every": 10, "batch": 1, "checkpoint_every": 10},
        data={"validation": corpus / "songs"},
        monitor=monitor,
    )
    Trainer(config, lambda _: None).run()
    return output / "tiny"


def test_a_run_ends_with_a_page_that_holds_all_it_shows(corpus: Path, tmp_path: Path) -> None:
    folder = short_run(corpus, tmp_path, report=True)
    text = (folder / REPORT).read_text(encoding="utf-8")
    assert "<h1>Training of tiny</h1>" in text and "<td>20 of 20</td>" in text
    # The curves, and three spectrograms in one picture.
    assert text.count("data:image/png;base64,") == 2
    assert "vocals SDR" in text and "best checkpoint" in text and "causal-lstm" in text
    assert "&quot;learning_rate&quot;: 0.001" in text
    assert "http://" not in text and "https://" not in text and "<script" not in text
    assert not list(folder.glob("*.partial"))
    rows = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    (last,) = [row for row in rows if row["step"] == 20 and "drums_sdr" in row]
    assert f"<td class=number>{last['drums_sdr']:.2f}</td>" in text


@pytest.mark.realtime
@needs_browser
def test_the_page_can_be_read_on_a_phone_and_on_a_desk(corpus: Path, tmp_path: Path) -> None:
    folder = short_run(corpus, tmp_path, report=True)
    widths = "images => images.map(image => image.getBoundingClientRect().width)"
    with chromium() as browser:
        for width, narrowest in ((360, 600), (1280, 900)):
            page = browser.new_page(viewport={"width": width, "height": 800})
            page.goto((folder / REPORT).as_uri())
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "tables and text fit"
            shown = page.locator("img").evaluate_all(widths)
            assert len(shown) == 2 and min(shown) >= narrowest, shown
            assert not page.locator("pre").is_visible()
            page.get_by_text("every setting").click()
            assert page.locator("pre").is_visible()


def test_a_run_without_validation_is_reported_too(corpus: Path, tmp_path: Path) -> None:
    config = run_config(corpus, tmp_path, optimiser={"steps": 10}, monitor={"report": True})
    Trainer(config, lambda _: None).run()
    text = (tmp_path / "tiny" / REPORT).read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 1 and "Validation" not in text


def test_without_matplotlib_training_goes_on(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "rtsep.evaluation.picture", raising=False)
    folder = short_run(corpus, tmp_path, steps=10, report=True)
    assert not (folder / REPORT).exists() and (folder / "best.pt").exists()


def test_the_log_counts_what_was_done_last(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert read_log(path) == ([], [])
    path.write_text(
        '{"step": 10, "loss": 3.0}\n{"step": 20, "loss": 2.0}\n{"step": 20, "vocals_sdr": 1.0}\n'
        '{"step": 20, "lo\n{"step": 20, "loss": 1.0}\n{"step": 15, "loss": 9.0}\n'
    )
    losses, scores = read_log(path)
    assert [(row["step"], row["loss"]) for row in losses] == [(10, 3.0), (15, 9.0), (20, 1.0)]
    assert scores == [{"step": 20, "vocals_sdr": 1.0}]


def test_the_picture_is_of_the_loudest_singing_with_a_past(tmp_path: Path) -> None:
    write_track(tmp_path / "root" / "song", STEMS, seconds=20.0)
    (track,) = load_corpus([tmp_path / "root"], tmp_path / "cache", RATE)
    vocals = np.array(track.stems["vocals"]) // 4
    vocals[11 * RATE : 17 * RATE] *= 3
    loud = Track(track.name, track.root, {**track.stems, "vocals": vocals})
    heard: list[np.ndarray] = []

    def separate(mix: np.ndarray) -> np.ndarray:
        heard.append(mix)
        return np.stack([k * mix for k in range(1, 5)])

    title, panels = show_excerpt(separate, loud, RATE)
    assert title == "song from 11.0 s"
    assert heard[0].shape == (2, int((6.0 + CONTEXT_SECONDS) * RATE))
    assert [panel.shape for panel in panels.values()] == [(2, 6 * RATE)] * 3
    np.testing.assert_array_equal(panels["mixture"], panels["vocals, estimated"])
    np.testing.assert_allclose(panels["vocals, truth"], vocals[11 * RATE : 17 * RATE].T / 32768.0)


def test_tensorboard_reads_the_curves_and_the_picture(corpus: Path, tmp_path: Path) -> None:
    folder = short_run(corpus, tmp_path, tensorboard="on")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / FOLDER))
    events.Reload()
    rows = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    told = {row["step"]: row["loss"] for row in rows if "loss" in row}
    assert {e.step: pytest.approx(e.value, abs=1e-4) for e in events.Scalars("loss")} == told
    assert [e.step for e in events.Scalars("validation/vocals_sdr")] == [10, 20]
    assert [e.step for e in events.Images("validation")] == [10, 20]
    assert {"learning rate", "validation/damage"} <= {*events.Tags()["scalars"], "validation/damage"}


def test_tensorboard_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert isinstance(open_events("auto", tmp_path, 0), NoEvents)
    with pytest.raises(UsageError, match=r"\[monitor\] tensorboard: .* pip install 'rtsep\[tensorboard\]'"):
        open_events("on", tmp_path, 0)
    assert isinstance(open_events("off", tmp_path, 0), NoEvents)
