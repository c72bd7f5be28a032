"""Every architecture trains, by every objective that fits it, and what it has learnt ships and separates."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rtsep.engine.separator import load
from rtsep.separators.catalogue import all_architectures, build, load_any
from rtsep.separators.registry import OfflinePackage, read_package
from rtsep.spec import STEMS, UsageError
from rtsep.training import networks
from rtsep.training.autocasting import has_bfloat16
from rtsep.training.checkpoints import CHECKPOINT
from rtsep.training.config import TrainConfig
from rtsep.training.loop import LOG, Trainer
from rtsep.training.networks import decides_masks
from rtsep.training.objective import WaveformObjective
from rtsep.training.release import CARD, release
from rtsep.training.report import REPORT
from tests.training.corpora import NETWORK, RATE, run_config

SPECTROGRAM: dict[str, Any] = {"sample_rate": RATE, "frame": 256, "hop": 64, "bins": 100}
NETWORKS: dict[str, dict[str, Any]] = {
    "band-split": {
        "sample_rate": RATE, "analysis": 256, "synthesis": 128, "hop": 64, "bandwidth": 3500.0,
        "linear_below": 1000.0, "wide_bands": 6, "group": 4, "features": 8, "memory": 6, "across": 4,
        "depth": 1, "dilation": 2,
    },
    "causal-lstm": NETWORK,
    "conv-tasnet": {
        "sample_rate": RATE, "hop": 64, "window": 32, "filters": 24, "bottleneck": 12, "hidden": 16,
        "skip": 12, "blocks": 2, "repeats": 1, "norm_seconds": 0.5,
    },
    "hs-tasnet": {"sample_rate": RATE, "window": 128, "filters": 20, "width": 12},
    "cadenza-tasnet": {
        "sample_rate": RATE, "stems": STEMS, "hop": 80, "window": 20, "filters": 16, "bottleneck": 12,
        "hidden": 16, "blocks": 2, "repeats": 1,
    },
    "band-split-offline": {
        "sample_rate": RATE, "analysis": 256, "synthesis": 128, "hop": 64, "bandwidth": 3500.0,
        "linear_below": 1000.0, "wide_bands": 6, "group": 4, "features": 8, "memory": 6, "across": 4,
        "depth": 1,
    },
    "conv-tasnet-offline": {
        "sample_rate": RATE, "bank": "stft", "stft_frame": 64, "filters": 12, "window": 16, "stride": 16,
        "bottleneck": 8, "hidden": 8, "blocks": 2, "repeats": 1,
    },
    "demucs": {"sample_rate": RATE, "width": 4, "depth": 2, "lstm_layers": 1},
    "demucs-2d": SPECTROGRAM | {"width": 4, "depth": 2, "kernel": 4, "stride": 2, "lstm_layers": 1},
    "meta-tasnet": {
        "sample_rate": RATE, "rates": (2000, 4000), "filters": 16, "bands": 6, "bottleneck": 8, "hidden": 8,
        "blocks": 2, "repeats": 1, "groups": 4,
    },
    "spleeter": SPECTROGRAM | {"filters": (4, 6)},
    "spleeter-1d": {"sample_rate": RATE, "filters": (4, 6)},
    "stack-u-net": SPECTROGRAM | {"width": 4, "depth": 2, "kernel": 4, "stride": 2, "refining_width": 3},
    "wave-u-net": {"sample_rate": RATE, "levels": 2, "filters": 4},
    "wave-u-net-2d": SPECTROGRAM | {"levels": 2, "filters": 3},
    "umx-reference": {"sample_rate": RATE, "frame": 256, "hop": 64, "bins": 100, "width": 12, "depth": 1},
    "umx-variant": {
        "sample_rate": RATE, "frame": 256, "hop": 64, "bandwidth": 3000.0, "width": 12, "depth": 1,
        "premask": True, "prefilter": 5, "core": "transformer", "heads": 2,
    },
    "umx-waveform": {
        "sample_rate": RATE, "levels": 3, "features": 3, "down_kernel": 5, "width": 12, "depth": 1,
    },
}  # fmt: skip
PACKAGED = "demucs-package"
"""Of what a package makes; see tests/importing/test_demucs.py."""
STEPS = 4


def config_of(architecture: str, corpus: Path, output: Path, **tables: dict[str, Any]) -> TrainConfig:
    optimiser = {"steps": STEPS} | tables.pop("optimiser", {})
    config = run_config(corpus, output, optimiser=optimiser, **tables)
    return TrainConfig.model_validate(
        config.model_dump() | {"architecture": architecture, "network": NETWORKS[architecture]}
    )


def run(config: TrainConfig) -> dict[str, Any]:
    Trainer(config, lambda _: None).run()
    content: dict[str, Any] = torch.load(config.output / config.name / CHECKPOINT, weights_only=True)
    return content


def assert_equal(first: dict[str, Any], second: dict[str, Any]) -> None:
    for table in ("network", "average"):
        assert first[table].keys() == second[table].keys()
        assert all(torch.equal(value, second[table][name]) for name, value in first[table].items())


def test_all_are_tried() -> None:
    assert sorted([*NETWORKS, PACKAGED]) == all_architectures()


@pytest.mark.parametrize("architecture", sorted(NETWORKS))
def test_trains_resumes_ships_and_separates(architecture: str, corpus: Path, tmp_path: Path) -> None:
    config = config_of(
        architecture,
        corpus,
        tmp_path / "runs",
        data={"validation": corpus / "songs"},
        loss={"objective": "waveform"},
        optimiser={"validate_every": STEPS},
    )
    trainer = Trainer(config, lambda _: None)
    fresh = {name: value.clone() for name, value in trainer.network.named_parameters()}
    assert isinstance(trainer.objective, WaveformObjective)
    trainer.run()
    moved = {n for n, v in trainer.network.named_parameters() if not torch.equal(v, fresh[n])}
    assert moved == fresh.keys()
    rows = [json.loads(line) for line in (trainer.folder / LOG).read_text().splitlines()]
    assert np.isfinite([row["drums_sdr"] for row in rows if "drums_sdr" in row]).all()

    package = release(config, "rtsep train tiny.toml", tmp_path / "models" / "mine", "", lambda _: None)
    assert package.manifest.architecture == architecture and package.manifest.scores
    assert "Algorithmic latency" in (package.root / CARD).read_text() or isinstance(package, OfflinePackage)
    shipped = load_any(read_package(package.root)).state_dict()
    assert all(torch.equal(value, shipped[name]) for name, value in trainer.averaged().state_dict().items())
    mix = 0.1 * np.random.default_rng(0).standard_normal((2, RATE)).astype(np.float32)
    with load(package.root) as separator:
        stems = separator.separate(mix, RATE)
    assert tuple(stems) == STEMS and all(np.isfinite(stem).all() for stem in stems.values())
    assert np.abs(stems["vocals"]).max() > 0.0


@pytest.mark.parametrize(("architecture", "drawn"), [("umx-variant", True), ("umx-reference", False)])
def test_what_networks_learn_by_frequency_is_drawn(
    architecture: str, drawn: bool, corpus: Path, tmp_path: Path
) -> None:
    config = config_of(architecture, corpus, tmp_path, monitor={"report": True}, optimiser={"steps": 1})
    run(config)
    assert ("frequency responses" in (tmp_path / "tiny" / REPORT).read_text()) is drawn


@pytest.mark.parametrize(
    ("architecture", "loss", "masks"),
    [
        ("band-split", {}, True),
        ("causal-lstm", {}, True),
        ("causal-lstm", {"si_sdr": 0.1}, False),
        ("causal-lstm", {"objective": "masks"}, True),
        ("conv-tasnet", {}, False),
    ],
)
def test_the_objective_follows_the_network_and_the_terms(
    architecture: str, loss: dict[str, Any], masks: bool, corpus: Path, tmp_path: Path
) -> None:
    config = config_of(architecture, corpus, tmp_path, loss=loss)
    trainer = Trainer(config, lambda _: None)
    assert decides_masks(config, trainer.network) is masks
    assert trainer.precision == ("bf16" if masks and has_bfloat16(trainer.device) else "fp32")


@pytest.mark.parametrize(
    ("architecture", "changes", "complaint"),
    [
        ("conv-tasnet", {"loss": {"objective": "masks"}}, r"conv-tasnet decides no masks"),
        ("conv-tasnet", {"optimiser": {"dropout": 0.1}}, r"\[optimiser\] dropout: conv-tasnet has none"),
        ("conv-tasnet", {"compute": {"precision": "fp16"}}, r"fp16 is for GPUs"),
        (
            "causal-lstm",
            {"compute": {"compile": True}},
            r"compile: causal-lstm has no parts that are compiled",
        ),
        ("causal-lstm", {"compute": {"accumulate": 3}}, r"2 examples cannot be shared by 1 processes in 3"),
    ],
)
def test_what_does_not_go_together_is_told(
    architecture: str, changes: dict[str, Any], complaint: str, corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=complaint):
        run(config_of(architecture, corpus, tmp_path, **changes))
    assert not (tmp_path / "tiny").exists()


def test_an_architecture_that_does_not_exist(corpus: Path, tmp_path: Path) -> None:
    config = run_config(corpus, tmp_path).model_copy(update={"architecture": "perceptron"})
    with pytest.raises(UsageError, match="no architecture is called 'perceptron'; there are: .*conv-tasnet"):
        Trainer(config, print)


def test_a_checkpoint_of_another_architecture(corpus: Path, tmp_path: Path) -> None:
    run(config_of("conv-tasnet", corpus, tmp_path, optimiser={"steps": 1}))
    with pytest.raises(UsageError, match="is of conv-tasnet; give the run another name"):
        run(config_of("causal-lstm", corpus, tmp_path))


def test_learning_from_waveforms_learns(corpus: Path, tmp_path: Path) -> None:
    config = config_of(
        "conv-tasnet",
        corpus,
        tmp_path,
        loss={"l1": 1.0, "si_sdr": 0.01, "mr_stft": 0.02, "silence": 0.01},
        optimiser={"steps": 40, "learning_rate": 0.01, "checkpoint_every": 40},
        data={"roots": [corpus / "songs"], "bass_in_other": []},
        mix={"aligned": 1.0, "over_backing": 0.0, "remixed": 0.0, "instrumental": 0.0, "vocal": 0.0},
    )
    run(config)
    rows = [json.loads(line) for line in (tmp_path / "tiny" / LOG).read_text().splitlines()]
    losses = [row["loss"] for row in rows]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("passes", [3])
@pytest.mark.parametrize("architecture", ["causal-lstm", "conv-tasnet"])
def test_a_batch_in_passes_is_the_same_batch(
    architecture: str, passes: int, corpus: Path, tmp_path: Path
) -> None:
    """Up to rounding; partly labelled examples weigh what they weigh, wherever a batch is cut."""
    compute = {"precision": "fp32"}
    table = {"batch": 3, "steps": 3}
    whole = run(config_of(architecture, corpus, tmp_path / "whole", optimiser=table, compute=compute))
    cut = run(
        config_of(
            architecture, corpus, tmp_path / "cut", optimiser=table, compute=compute | {"accumulate": passes}
        )
    )
    for name, value in whole["network"].items():
        torch.testing.assert_close(cut["network"][name], value, rtol=1e-3, atol=2e-5)


@pytest.mark.skipif(not has_bfloat16(torch.device("cpu")), reason="this CPU has no bf16")
def test_bf16_learns_from_waveforms_too(corpus: Path, tmp_path: Path) -> None:
    for architecture in ("causal-lstm", "hs-tasnet", "umx-reference"):
        loss = {"l1": 1.0, "mr_stft": 0.1, "compressed": 0.1}
        content = run(
            config_of(
                architecture, corpus, tmp_path / architecture, loss=loss, compute={"precision": "bf16"},
                optimiser={"steps": 2},
            )
        )  # fmt: skip
        assert all(torch.isfinite(value.float()).all() for value in content["network"].values())
        assert all(v.dtype in (torch.float32, torch.int64) for v in content["network"].values())


class Killed(BaseException):
    """Stands in for the signal: nothing in the loop catches it."""


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("architecture", ["causal-lstm", "hs-tasnet", "spleeter", "umx-reference"])
def test_a_run_killed_in_any_step_goes_on_exactly(
    architecture: str, step: int, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables: dict[str, Any] = {"loss": {"l1": 1.0}, "compute": {"accumulate": 2}}
    straight = run(config_of(architecture, corpus, tmp_path / "straight", **tables))
    config = config_of(architecture, corpus, tmp_path / "killed", **tables)
    with monkeypatch.context() as patch:
        calls = itertools.count()

        def deadly_loss(*arguments: Any) -> Tensor:
            # In the second of a step's two passes.
            if next(calls) == 2 * step + 1:
                raise Killed
            return loss(*arguments)

        loss = WaveformObjective.loss
        patch.setattr(WaveformObjective, "loss", deadly_loss)
        with pytest.raises(Killed):
            run(config)
    assert_equal(straight, run(config))


def test_a_killed_process_goes_on_exactly(corpus: Path, tmp_path: Path) -> None:
    """SIGKILL at a random moment of a run that saves every other step."""
    architecture = "conv-tasnet"
    table = {"steps": 12, "checkpoint_every": 2}
    straight = run(config_of(architecture, corpus, tmp_path / "straight", optimiser=table))
    config = config_of(architecture, corpus, tmp_path / "killed", optimiser=table)
    program = (
        "import sys, torch\n"
        "from rtsep.training.config import TrainConfig\n"
        "from rtsep.training.loop import Trainer\n"
        "torch.set_num_threads(1)\n"
        "trainer = Trainer(TrainConfig.model_validate_json(sys.argv[1]), print)\n"
        "accumulate = trainer._accumulate\n"
        "def told(*arguments):\n"
        "    print('step', trainer.step, flush=True)\n"
        "    return accumulate(*arguments)\n"
        "trainer._accumulate = told\n"
        "trainer.run()\n"
    )
    fatal = int(np.random.default_rng(os.getpid()).integers(3, 12))
    with subprocess.Popen(
        [sys.executable, "-c", program, config.model_dump_json()],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == f"step {fatal}\n":
                process.send_signal(signal.SIGKILL)
                break
        list(itertools.islice(process.stdout, 100))
    assert process.returncode == -signal.SIGKILL, f"at step {fatal}"
    assert (tmp_path / "killed" / "tiny" / CHECKPOINT).exists()
    assert_equal(straight, run(config))


def test_a_long_song_is_heard_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a past as long as the network's memory, the pieces are the whole."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build("conv-tasnet", NETWORKS["conv-tasnet"] | {"norm_seconds": 1e-6})
    mix = 0.1 * torch.randn(2, RATE, generator=torch.Generator().manual_seed(1))
    whole = network(mix[None])[0].detach()
    monkeypatch.setattr(networks, "PIECE_SECONDS", 0.11)
    monkeypatch.setattr(networks, "PAST_SECONDS", 0.05)
    torch.testing.assert_close(networks.separate(network, mix), whole, rtol=0.0, atol=1e-5)
    monkeypatch.setattr(networks, "PAST_SECONDS", 0.0)
    assert not torch.allclose(networks.separate(network, mix), whole, rtol=0.0, atol=1e-4)


def test_one_run_gives_models_of_several_latencies(corpus: Path, tmp_path: Path) -> None:
    streams = {"quick": {"synthesis": 32, "hop": 16, "dilation": 8}, "odd": {"group": 5}}
    config = config_of(
        "band-split", corpus, tmp_path, optimiser={"steps": 2, "windows": [32, 256]},
        release={"streams": streams},
    )  # fmt: skip
    run(config)
    quick = release(config, "rtsep train x", tmp_path / "quick", "Noise.", lambda _: None)
    assert quick.spec.algorithmic_latency == 32 and quick.spec.hop == 16
    own = release(config, "rtsep train x", tmp_path / "other-name", "Noise.", lambda _: None)
    assert own.spec.algorithmic_latency == 128 and own.spec.hop == 64
    with pytest.raises(UsageError, match=r"\[release.streams\] .*'group': 5.* do not fit"):
        release(config, "rtsep train x", tmp_path / "odd", "Noise.", lambda _: None)
