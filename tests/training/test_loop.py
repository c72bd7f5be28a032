"""Runs that are stopped, killed and resumed end as if nothing had been; what goes wrong is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from rtsep.spec import STEMS, ModelError, UsageError
from rtsep.training import loop
from rtsep.training.batches import Batches
from rtsep.training.checkpoints import BEST, CHECKPOINT
from rtsep.training.config import TrainConfig
from rtsep.training.corpus import Track, load_corpus
from rtsep.training.loop import Trainer, schedule, validate
from rtsep.training.mixing import Example, Mixer
from rtsep.training.networks import TrainableNetwork
from rtsep.training.objective import MaskObjective
from rtsep.training.scores import overall
from rtsep.training.statistics import Statistics
from tests.training.corpora import NETWORK, RATE, run_config, write_track

STEPS = 6

SPEC = SimpleNamespace(sample_rate=RATE, hop=100, algorithmic_latency=0, stems=STEMS)
"""Of a stand-in for a network."""


class Killed(BaseException):
    """Stands in for the signal: nothing in the loop catches it."""


@pytest.fixture(scope="module")
def straight(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The last checkpoint of a run that nothing disturbed."""
    torch.set_num_threads(1)
    return run(run_config(corpus, tmp_path_factory.mktemp("straight")))


def run(config: TrainConfig) -> dict[str, Any]:
    Trainer(config, lambda _: None).run()
    return read(config)


def read(config: TrainConfig, name: str = CHECKPOINT) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(config.output / config.name / name, weights_only=True)
    return content


def flat(content: Any, path: str = "") -> dict[str, Any]:
    """Leaves of nested tables by where they stand, but for the clock."""
    if isinstance(content, dict):
        items = {str(k): v for k, v in content.items() if k != "seconds_spent"}
    elif isinstance(content, list):
        items = {str(k): v for k, v in enumerate(content)}
    else:
        return {path: content}
    return {k: v for key, value in items.items() for k, v in flat(value, f"{path}/{key}").items()}


def assert_identical(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Bit for bit: weights, their average, the optimiser's memory, the step."""
    a, b = flat(first), flat(second)
    assert a.keys() == b.keys()
    for name, value in a.items():
        same = torch.equal(value, b[name]) if isinstance(value, Tensor) else value == b[name]
        assert same, f"{name} differs"


# -- resuming -----------------------------------------------------------------------------------------


def test_two_runs_are_the_same_and_training_changes_every_weight(
    corpus: Path, tmp_path: Path, straight: dict[str, Any]
) -> None:
    config = run_config(corpus, tmp_path)
    fresh = Trainer(config, lambda _: None).network.state_dict()
    assert_identical(straight, run(config))
    assert straight["step"] == STEPS
    assert not [name for name, value in straight["network"].items() if torch.equal(value, fresh[name])]


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("step", range(1, STEPS))
def test_a_run_killed_in_any_step_goes_on_exactly(
    corpus: Path,
    tmp_path: Path,
    straight: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    every: int,
) -> None:
    config = run_config(corpus, tmp_path, optimiser={"checkpoint_every": every})
    with monkeypatch.context() as patch:
        calls = iter(range(STEPS))

        def deadly_loss(*arguments: Any) -> Tensor:
            if next(calls) == step:
                raise Killed
            return loss(*arguments)

        loss = MaskObjective.loss
        patch.setattr(MaskObjective, "loss", deadly_loss)
        with pytest.raises(Killed):
            run(config)
    if step >= every:
        assert read(config)["step"] == step // every * every
    assert_identical(straight, run(config))


def test_a_run_killed_while_it_saves_keeps_the_last_checkpoint(
    corpus: Path, tmp_path: Path, straight: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_config(corpus, tmp_path)
    with monkeypatch.context() as patch:
        saves = iter(range(STEPS))

        def deadly_save(content: object, path: Path) -> None:
            if next(saves) == 3:
                path.write_bytes(b"half of a check")
                raise Killed
            save(content, path)

        save = torch.save
        patch.setattr(torch, "save", deadly_save)
        with pytest.raises(Killed):
            run(config)
    assert read(config)["step"] == 3
    assert_identical(straight, run(config))


def test_a_killed_process_goes_on_exactly(corpus: Path, tmp_path: Path, straight: dict[str, Any]) -> None:
    """The same with a real signal, and the rest of the run in this process."""
    config = run_config(corpus, tmp_path)
    program = (
        "import os, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from rtsep.training.loop import Trainer\n"
        "from tests.training.corpora import run_config\n"
        "torch.set_num_threads(1)\n"
        "trainer = Trainer(run_config(Path(sys.argv[1]), Path(sys.argv[2])), print)\n"
        "save = trainer._save\n"
        "def deadly(name):\n"
        "    save(name)\n"
        "    if trainer.step == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "trainer._save = deadly\n"
        "trainer.run()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, corpus, tmp_path],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert read(config)["step"] == 3
    assert_identical(straight, run(config))


def test_workers_change_nothing(corpus: Path, tmp_path: Path, straight: dict[str, Any]) -> None:
    assert_identical(straight, run(run_config(corpus, tmp_path, data={"workers": 2})))


def test_a_killed_worker_is_told_in_one_line(
    corpus: Path, tmp_path: Path, straight: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_config(corpus, tmp_path, data={"workers": 1}, optimiser={"checkpoint_every": 1})
    prepare, trainer = MaskObjective.prepare, os.getpid()

    def killed(self: MaskObjective, examples: Sequence[Example], numbers: Sequence[int]) -> Statistics:
        if numbers[0] >= 2 * config.optimiser.batch and os.getpid() != trainer:
            os.kill(os.getpid(), signal.SIGKILL)
        return prepare(self, examples, numbers)

    with monkeypatch.context() as patch:
        patch.setattr(MaskObjective, "prepare", killed)
        with pytest.raises(UsageError, match=r"was killed.*\[data\] workers"):
            run(config)
    assert_identical(straight, run(config))


def test_a_finished_run_is_left_alone(corpus: Path, tmp_path: Path, straight: dict[str, Any]) -> None:
    config = run_config(corpus, tmp_path)
    run(config)
    assert_identical(straight, run(config))


def test_the_seed_makes_another_run(corpus: Path, tmp_path: Path, straight: dict[str, Any]) -> None:
    other = run(run_config(corpus, tmp_path, optimiser={"seed": 1}))
    assert not torch.equal(other["network"]["encoder.weight"], straight["network"]["encoder.weight"])


def test_what_dropout_leaves_out_depends_on_the_step_alone(
    corpus: Path, tmp_path: Path, straight: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = run(run_config(corpus, tmp_path / "a", optimiser={"dropout": 0.3}))
    config = run_config(corpus, tmp_path / "b", optimiser={"dropout": 0.3})
    with monkeypatch.context() as patch:
        calls = iter(range(STEPS))

        def deadly_loss(*arguments: Any) -> Tensor:
            if next(calls) == 3:
                raise Killed
            return loss(*arguments)

        loss = MaskObjective.loss
        patch.setattr(MaskObjective, "loss", deadly_loss)
        with pytest.raises(Killed):
            run(config)
    torch.manual_seed(12345)
    assert_identical(undisturbed, run(config))
    name = "encoder.weight"
    assert not torch.equal(undisturbed["network"][name], straight["network"][name])


# -- the best so far -----------------------------------------------------------------------------------


def validated_config(corpus: Path, output: Path, **optimiser: Any) -> TrainConfig:
    return run_config(corpus, output, optimiser=optimiser, data={"validation": corpus / "songs"})


def killed_at(
    config: TrainConfig, scores: dict[int, float], monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """A run whose validations find these scores, killed in a step's loss or, if negative, in one of them."""
    trainer = Trainer(config, lambda _: None)
    with monkeypatch.context() as patch:
        losses, made = iter(range(STEPS)), []

        def deadly_loss(*arguments: Any) -> Tensor:
            if next(losses) == calls:
                raise Killed
            return loss(*arguments)

        def found(*_: Any) -> dict[str, float]:
            made.append(trainer.step)
            if len(made) == -calls:
                raise Killed
            return {"vocals_sdr": scores[trainer.step]}

        loss = MaskObjective.loss
        patch.setattr(MaskObjective, "loss", deadly_loss)
        patch.setattr(loop, "validate", found)
        try:
            trainer.run()
        except Killed:
            return


@pytest.mark.parametrize(("saved", "validated"), [(1, 2), (2, 2), (3, 2), (4, 2), (100, 2), (2, 1), (4, 1)])
@pytest.mark.parametrize("kill", [2, 3, 4, 5, -1, -2, -3])
def test_a_killed_run_has_the_best_checkpoint_of_one_that_was_not(
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    saved: int,
    validated: int,
    kill: int,
) -> None:
    """The best comes in the middle: what follows must not take its place, whatever was forgotten."""
    scores = {1: 0.0, 2: 5.0, 3: 8.0, 4: 9.0, 5: 6.0, 6: 7.0}
    config = validated_config(corpus, tmp_path, checkpoint_every=saved, validate_every=validated)
    killed_at(config, scores, monkeypatch, kill)
    killed_at(config, scores, monkeypatch, STEPS)
    last, best = read(config), read(config, BEST)
    assert (last["step"], last["validated"], last["best"]) == (STEPS, STEPS, 9.0)
    assert (best["step"], best["best"]) == (4, 9.0)


def test_a_run_killed_in_its_last_validation_is_validated_after_all(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = run(validated_config(corpus, tmp_path / "a"))
    config = validated_config(corpus, tmp_path / "b")
    killed_at(config, {}, monkeypatch, -1)
    assert read(config)["step"] == STEPS and not (tmp_path / "b" / "tiny" / BEST).exists()
    assert_identical(undisturbed, run(config))
    assert_identical(read(config, BEST), undisturbed)
    # And once is enough.
    log = (tmp_path / "b" / "tiny" / "log.jsonl").read_text()
    run(config)
    assert (tmp_path / "b" / "tiny" / "log.jsonl").read_text() == log


def test_a_score_that_is_no_number_is_the_worst(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = validated_config(corpus, tmp_path, validate_every=2)
    killed_at(config, {2: float("nan"), 4: 3.0, 6: float("nan")}, monkeypatch, STEPS)
    assert read(config, BEST)["step"] == 4 and read(config)["best"] == 3.0
    assert overall({"vocals_sdr": float("nan"), "drums_sdr": 7.0}) == float("-inf")


def test_older_checkpoints_are_gone_on_from(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that do not say how far they were validated, and whose best may be no number."""
    config = validated_config(corpus, tmp_path, validate_every=2)
    killed_at(config, {2: float("nan"), 4: 4.0, 6: 4.0}, monkeypatch, 3)
    path = tmp_path / "tiny" / CHECKPOINT
    old = torch.load(path, weights_only=True) | {"best": float("nan")}
    torch.save({k: v for k, v in old.items() if k not in ("validated", "left_out")}, path)
    killed_at(config, {2: 1.0, 4: 4.0, 6: 3.0}, monkeypatch, STEPS)
    assert read(config, BEST)["step"] == 4


# -- batches seen more than once ------------------------------------------------------------------------

REPEATED = {"steps": 37, "repeats": 2, "batch": 1, "checkpoint_every": 1, "ema": 0.5}


def seen(config: TrainConfig, first: int = 0) -> list[float]:
    """A mark of each batch that the steps from `first` on would see."""
    trainer = Trainer(config, lambda _: None)
    trainer.step = first
    tracks = load_corpus(config.data.roots, config.data.cache, RATE)
    mixer = Mixer(tracks, config.data, config.mix, int(config.optimiser.seconds * RATE))
    shares = [range(config.optimiser.batch)]
    batches = Batches(mixer, trainer.objective, config, shares).from_step(first)
    return [float(batch.mixture.sum()) for (batch,) in batches]


def test_repeats_come_a_block_later(corpus: Path, tmp_path: Path) -> None:
    marks = seen(run_config(corpus, tmp_path, optimiser=REPEATED))
    assert len(marks) == 37
    for start in (0, 16):
        assert marks[start : start + 8] == marks[start + 8 : start + 16]
    assert len(set(marks)) == 8 + 8 + 5
    once = seen(run_config(corpus, tmp_path, optimiser=REPEATED | {"repeats": 1}))
    assert marks[:8] == once[:8] and marks[16:24] == once[8:16]


def test_a_run_resumed_anywhere_sees_the_same_batches(corpus: Path, tmp_path: Path) -> None:
    config = run_config(corpus, tmp_path, optimiser=REPEATED)
    marks = seen(config)
    for first in (3, 8, 11, 16, 20, 31, 36):
        assert seen(config, first) == marks[first:], f"from step {first}"


# -- learning, validating -----------------------------------------------------------------------------


def test_the_loss_falls_and_the_log_says_so(corpus: Path, tmp_path: Path) -> None:
    config = run_config(
        corpus,
        tmp_path,
        optimiser={"steps": 60, "checkpoint_every": 60, "learning_rate": 0.02, "validate_every": 30},
        data={"roots": [corpus / "songs"], "bass_in_other": [], "validation": corpus / "songs"},
        mix={"aligned": 1.0, "over_backing": 0.0, "remixed": 0.0, "instrumental": 0.0, "vocal": 0.0},
    )
    lines: list[str] = []
    Trainer(config, lines.append).run()
    rows = [json.loads(line) for line in (tmp_path / "tiny" / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert [row["step"] for row in rows if "loss" in row] == [10, 20, 30, 40, 50, 60]
    assert losses[-1] < losses[0] - 1.0
    scores = [row for row in rows if "vocals_sdr_gain" in row]
    assert [row["step"] for row in scores] == [30, 60]
    best = read(config, BEST)
    assert best["best"] == pytest.approx(max(overall(row) for row in scores), abs=1e-5)
    assert any(line.startswith("step 60/60  loss ") for line in lines)


def test_the_best_network_is_chosen_by_every_stem() -> None:
    scores = {"vocals_sdr": 4.0, "drums_sdr": 7.0, "vocals_sdr_gain": 20.0, "damage": -3.0}
    assert overall(scores) == pytest.approx((2 * 4.0 + 7.0) / 3)
    assert overall({"damage": -3.0}) == float("-inf")


def test_validation_without_a_voice_ends_no_run(corpus: Path, tmp_path: Path) -> None:
    config = run_config(
        corpus, tmp_path, optimiser={"validate_every": 3}, data={"validation": corpus / "beats"}
    )
    run(config)
    assert read(config, BEST)["step"] == STEPS


@pytest.mark.parametrize(
    ("share", "sdr", "gain", "attenuation"),
    [(1.0, 120.0, 120.0, 120.0), (0.9, 20.0, 20.0, 20.0), (0.0, 0.0, 0.0, 0.0)],
)
def test_scores_of_known_stems(
    tmp_path: Path, share: float, sdr: float, gain: float, attenuation: float
) -> None:
    """A network that gives so much of each true stem, on noise in which each stem is as loud as the rest."""
    rng = np.random.default_rng(0)
    stems = {s: rng.integers(-3000, 3000, (3 * RATE, 2)).astype(np.int16) for s in ("vocals", "drums")}
    truth = np.zeros((4, 2, 3 * RATE))
    for stem, samples in stems.items():
        truth[STEMS.index(stem)] = samples.T / 32768.0

    def network(mix: Tensor) -> Tensor:
        assert mix.shape == (1, 2, 3 * RATE)
        return torch.from_numpy(np.float32(share * truth))[None]

    network.spec = SPEC  # type: ignore[attr-defined]
    scores = validate(cast(TrainableNetwork, network), [Track("song", "root", stems)])
    assert scores["vocals_sdr"] == pytest.approx(sdr, abs=0.1)
    assert scores["drums_sdr"] == pytest.approx(sdr, abs=0.1)
    assert scores["vocals_sdr_gain"] == pytest.approx(gain, abs=0.3)  # the mixture's own is about 0 dB
    assert scores["vocal_attenuation"] == pytest.approx(attenuation, abs=0.1)
    assert "bass_sdr" not in scores and "damage" not in scores


def test_damage_is_scored_where_the_voice_rests(corpus: Path, tmp_path: Path) -> None:
    write_track(tmp_path / "root" / "song", ("vocals", "drums"), seconds=4.0)
    (track,) = load_corpus([tmp_path / "root"], tmp_path / "cache", RATE)
    vocals = np.array(track.stems["vocals"])
    vocals[2 * RATE :] = 0
    quiet = Track(track.name, track.root, {**track.stems, "vocals": vocals})

    def network(mix: Tensor) -> Tensor:
        stems = torch.zeros(1, 4, *mix.shape[1:])
        stems[:, 0] = 0.1 * mix
        return stems

    network.spec = SPEC  # type: ignore[attr-defined]
    assert validate(cast(TrainableNetwork, network), [quiet])["damage"] == pytest.approx(-20.0, abs=1e-3)


def test_the_average_follows_the_weights(straight: dict[str, Any]) -> None:
    for name, average in straight["average"].items():
        weights = straight["network"][name]
        assert average.shape == weights.shape and not torch.equal(average, weights)
        assert (average - weights).abs().max() < 0.1


def test_the_schedule_rises_stays_and_falls() -> None:
    rates = [schedule(step, 100, 10, 0.4) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[59] == 1.0
    assert np.all(np.diff(rates[:10]) > 0) and np.all(np.diff(rates[60:]) < 0)
    assert rates[-1] == pytest.approx(1 / 40) and schedule(100, 100, 10, 0.4) == 0.02
    assert schedule(0, 100, 0, 0.0) == 1.0
    wave = [schedule(step, 100, 10, 0.4, "cosine") for step in range(101)]
    assert wave[:61] == rates[:61] and wave[80] == pytest.approx(0.5) and wave[100] == 0.02
    assert np.all(np.diff(wave[60:96]) < 0) and wave[70] > rates[70] and wave[90] < rates[90]


# -- what goes wrong ----------------------------------------------------------------------------------


def test_a_network_that_cannot_be(corpus: Path, tmp_path: Path) -> None:
    config = run_config(corpus, tmp_path, network={"witdh": 3})
    with pytest.raises(UsageError, match=r"^\[network\] witdh: Extra inputs are not permitted$"):
        Trainer(config, print)
    with pytest.raises(UsageError, match=r"hop 63 must divide"):
        Trainer(run_config(corpus, tmp_path, network={"hop": 63}), print)
    for change, complaint in (
        ({"channels": 1}, "only stereo networks"),
        ({"stems": ["vocals"]}, "stems: there must be two at least"),
        ({"stems": ["vocals", "rest"]}, "stems: 'rest' is what others add up to"),
    ):
        with pytest.raises(UsageError, match=complaint):
            Trainer(run_config(corpus, tmp_path, network=change, data={"bass_in_other": []}), print)
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 half of one"])
def test_a_damaged_checkpoint(corpus: Path, tmp_path: Path, content: bytes) -> None:
    config = run_config(corpus, tmp_path)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / CHECKPOINT).write_bytes(content)
    with pytest.raises(UsageError, match="checkpoint.pt is not a checkpoint") as caught:
        run(config)
    assert "\n" not in str(caught.value)


def test_something_else_for_a_checkpoint(corpus: Path, tmp_path: Path) -> None:
    config = run_config(corpus, tmp_path)
    (tmp_path / "tiny").mkdir()
    torch.save({"network": SPEC}, tmp_path / "tiny" / CHECKPOINT)
    with pytest.raises(UsageError, match="is not a checkpoint: it holds more than tensors and tables"):
        run(config)
    torch.save({"network": {}}, tmp_path / "tiny" / CHECKPOINT)
    with pytest.raises(UsageError, match="is not a checkpoint of a training run"):
        run(config)


def test_another_networks_checkpoint(corpus: Path, tmp_path: Path) -> None:
    run(run_config(corpus, tmp_path))
    before = (tmp_path / "tiny" / CHECKPOINT).read_bytes()
    with pytest.raises(UsageError, match=r"another \[network\] table; give the run another name"):
        run(run_config(corpus, tmp_path, network=NETWORK | {"width": 16}))
    assert (tmp_path / "tiny" / CHECKPOINT).read_bytes() == before


@pytest.mark.parametrize("steps", [4, 40])
def test_a_run_that_learns_nothing_any_more_says_so(corpus: Path, tmp_path: Path, steps: int) -> None:
    config = run_config(
        corpus,
        tmp_path,
        optimiser={"steps": steps, "learning_rate": 1e30, "batch": 1, "warm_up": 0, "validate_every": 2},
        data={"validation": corpus / "songs"},
        loss={"objective": "waveform"},
        monitor={"report": True},
    )
    with pytest.raises(ModelError, match=r"nothing is learnt any more.*learning_rate") as caught:
        for _ in range(2):  # a start anew does not forget
            run(config)
    assert "\n" not in str(caught.value)


def test_some_steps_may_be_left_out(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = iter(range(STEPS))
    loss = MaskObjective.loss

    def sometimes(*arguments: Any) -> Tensor:
        return loss(*arguments) * (float("nan") if next(count) in (1, 2, 4) else 1.0)

    monkeypatch.setattr(MaskObjective, "loss", sometimes)
    content = run(run_config(corpus, tmp_path))
    assert content["step"] == STEPS and content["left_out"] == 0
    assert all(torch.isfinite(value).all() for value in content["network"].values())


def test_a_folder_that_cannot_be_made(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot make the run's folder"):
        run(run_config(corpus, tmp_path / "file"))
