"""From a finished model on: what is trained, what is not, and where a run begins; and live augmentation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from pydantic import ValidationError

from rtsep.separators.catalogue import all_architectures, classes
from rtsep.spec import STEMS, UsageError
from rtsep.training.config import FineTuneConfig, TrainConfig, load_config
from rtsep.training.corpus import load_training
from rtsep.training.data_config import AugmentConfig, MixConfig
from rtsep.training.fine_tuning import LAST_LAYERS, freeze
from rtsep.training.loop import Trainer
from rtsep.training.mixing import Mixer
from rtsep.training.networks import make_network
from rtsep.training.release import release
from tests.training.corpora import NETWORK, RATE, run_config, write_corpus
from tests.training.test_architectures import NETWORKS


@pytest.fixture(autouse=True)
def denormals_as_they_were() -> Iterator[None]:
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    write_corpus(root)
    return root


@pytest.fixture(scope="module")
def model(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model to begin with."""
    config = run_config(corpus, tmp_path_factory.mktemp("runs"), optimiser={"steps": 2})
    Trainer(config, lambda _: None).run()
    target = tmp_path_factory.mktemp("models") / "studio-one"
    release(config, "rtsep train studio.toml", target, "", lambda _: None)
    return target


def tuned(
    model: Path, corpus: Path, output: Path, mode: str, **more: Any
) -> tuple[Trainer, dict[str, torch.Tensor]]:
    """A run of two steps in a mode, and the weights that it began with."""
    table = {"model": str(model), "mode": mode} | more
    config = run_config(
        corpus, output, optimiser={"steps": 2, "weight_decay": 0.1, "seed": 5}, fine_tune=table
    )
    trainer = Trainer(config, lambda _: None)
    trainer.run()
    from rtsep.separators.catalogue import load_any
    from rtsep.separators.registry import read_package

    return trainer, load_any(read_package(model)).state_dict()


def changed(trainer: Trainer, before: dict[str, torch.Tensor]) -> set[str]:
    return {n for n, value in trainer.network.state_dict().items() if not torch.equal(value, before[n])}


def test_last_layers_change_and_nothing_else(model: Path, corpus: Path, tmp_path: Path) -> None:
    trainer, before = tuned(model, corpus, tmp_path, "last-layers")
    last = {"to_masks.weight", "to_masks.bias", "decoder.weight", "decoder.bias"}
    assert changed(trainer, before) == last | {"decoder_norm.weight", "decoder_norm.bias"}
    one, before = tuned(model, corpus, tmp_path / "one", "last-layers", layers=1)
    assert changed(one, before) == {"to_masks.weight", "to_masks.bias"}
    named, before = tuned(model, corpus, tmp_path / "named", "last-layers", parameters=("encoder.w*",))
    assert changed(named, before) == {"encoder.weight"}
    # What is killed goes on: the optimiser knows the same few weights.
    resumed = Trainer(trainer.config, lambda _: None)
    resumed.load()
    assert resumed.step == 2


def test_fine_tuning_changes_all_and_retraining_begins_anew(
    model: Path, corpus: Path, tmp_path: Path
) -> None:
    fine, before = tuned(model, corpus, tmp_path / "fine", "finetune")
    assert {name for name, _ in fine.network.named_parameters()} <= changed(fine, before)
    moved = max(float((fine.network.state_dict()[n] - before[n]).abs().max()) for n in before)
    assert moved < 0.02, "two small steps from where it began"
    anew, before = tuned(model, corpus, tmp_path / "anew", "retrain")
    weights = anew.network.state_dict()
    assert (
        max(float((weights[n] - before[n]).abs().max()) for n in ("encoder.weight", "to_masks.weight")) > 0.05
    )


@pytest.mark.parametrize("architecture", sorted(NETWORKS))
def test_last_layers_are_known_of_every_architecture_here(architecture: str) -> None:
    assert architecture in all_architectures() and len(LAST_LAYERS[architecture]) >= 2
    network_class, config_class = classes(architecture)
    network = network_class(config_class.model_validate(NETWORKS[architecture])).train()
    trained = freeze(network, architecture, FineTuneConfig(model="x", mode="last-layers"))
    known = dict(network.named_parameters())
    assert 0 < len(trained) < len(known)
    assert {name for name, value in known.items() if value.requires_grad} == set(trained)
    # The weights before them get no gradient, those in them do.
    estimate = getattr(network, "estimate", network)
    estimate(torch.randn(1, 2, 4000)).square().mean().backward()
    assert all((value.grad is not None) <= (name in trained) for name, value in known.items())
    assert sum(known[name].grad is not None for name in trained) > 0
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            assert module.training == any(n.startswith(f"{name}.") for n in trained)


def test_what_the_model_says_need_not_be_said_again(model: Path, corpus: Path, tmp_path: Path) -> None:
    text = (
        f'name = "on"\n[fine_tune]\nmodel = "{model}"\nmode = "last-layers"\n'
        f'[data]\nroots = ["{corpus / "songs"}"]\n[optimiser]\nsteps = 1\n'
    )
    file = tmp_path / "on.toml"
    file.write_text(text)
    config = load_config(file)
    assert config.architecture == "causal-lstm" and config.network["width"] == NETWORK["width"]
    assert config.begins_with == str(model)
    file.write_text(text.replace(str(model), "kazoo"))
    with pytest.raises(UsageError, match=r"on\.toml: fine_tune\.model: no model is called 'kazoo'"):
        load_config(file)


@pytest.mark.parametrize(
    "table,complaint",
    [
        ({"fine_tune": {"model": "x", "mode": "finetune", "parameters": ["a"]}}, "parameters are for mode"),
        ({"fine_tune": {"model": "x"}, "start_from": "x"}, "both say what to begin with"),
    ],
)
def test_contradictions_are_said(corpus: Path, tmp_path: Path, table: dict[str, Any], complaint: str) -> None:
    whole = run_config(corpus, tmp_path).model_dump() | table
    with pytest.raises(ValidationError, match=complaint):
        TrainConfig.model_validate(whole)


def test_what_cannot_be_frozen_is_said(corpus: Path, tmp_path: Path) -> None:
    network = make_network(run_config(corpus, tmp_path))
    for architecture, table, complaint in (
        ("new", {}, "the last layers of new are not known"),
        ("causal-lstm", {"layers": 9}, "of causal-lstm the last 2 are known"),
        ("causal-lstm", {"parameters": ("nothing.*",)}, "is called 'nothing.*'"),
    ):
        config = FineTuneConfig.model_validate({"model": "x", "mode": "last-layers"} | table)
        with pytest.raises(UsageError) as told:
            freeze(network, architecture, config)
        assert complaint in str(told.value)
    built_in = run_config(corpus, tmp_path, fine_tune={"model": "hpss"}, optimiser={"steps": 1})
    with pytest.raises(UsageError, match="hpss is built in: it has no weights to begin with"):
        Trainer(built_in, lambda _: None).run()


def mixer(corpus: Path, stems: tuple[str, ...] = STEMS, **extra: Any) -> Mixer:
    data = run_config(corpus, corpus).data.model_copy(
        update={"roots": (corpus / "songs",), "bass_in_other": ()}
    )
    tracks, _ = load_training(data, RATE, stems)
    mix = MixConfig(aligned=1.0, over_backing=0.0, remixed=0.0, instrumental=0.0, vocal=0.0, procedure="sum")
    return Mixer(tracks, data, mix, 4000, AugmentConfig.model_validate(extra), RATE, stems)


def test_bleed_and_crowd_stay_within_their_parts(corpus: Path) -> None:
    def drawn(**extra: Any) -> np.ndarray:
        return mixer(corpus, **extra).draw(np.random.default_rng(3)).parts

    plain = drawn()
    assert np.array_equal(plain, drawn(bleed_db=(-10.0, -5.0), crowd_db=(-10.0, -5.0))), "off draws nothing"
    bled = drawn(bleed=1.0, bleed_db=(-15.0, -15.0))
    for before, after in zip(plain, bled, strict=True):
        share = np.sum((after - before) ** 2) / np.sum(before**2)
        assert 1e-4 < share < 0.2
    crowded = drawn(crowd=1.0, crowd_db=(-10.0, -10.0))
    assert np.array_equal(crowded[:3], plain[:3])
    noise = crowded[3] - plain[3]
    ratio = np.sum(noise**2) / np.sum(plain.sum(axis=0) ** 2)
    assert 10.0 * np.log10(ratio) == pytest.approx(-10.0, abs=0.05)


def test_a_crowd_may_be_recorded_or_a_class_of_its_own(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "crowds").mkdir()
    # Shorter than an example: it goes round.
    tone = 0.5 * np.sin(2.0 * np.pi * 1000.0 * np.arange(2000) / RATE)
    soundfile.write(tmp_path / "crowds" / "one.wav", tone, RATE, subtype="FLOAT")
    options: dict[str, Any] = {"crowd": 1.0, "crowd_noise": tmp_path / "crowds"}
    rng = np.random.default_rng(3)
    added = (
        mixer(corpus, **options).draw(rng).parts[3] - mixer(corpus).draw(np.random.default_rng(3)).parts[3]
    )
    spectrum = np.abs(np.fft.rfft(added[0]))
    assert np.argmax(spectrum) == 500 and spectrum[500] ** 2 > 0.9 * np.sum(spectrum**2)
    stems = ("vocals", "drums", "bass", "other", "crowd")
    example = mixer(corpus, stems, crowd=1.0).draw(np.random.default_rng(0))
    row = int(np.flatnonzero(example.groups[:, 4])[0])
    assert example.groups[row].sum() == 1.0 and example.parts[row].any()
    with pytest.raises(UsageError, match="no stem can have it in it"):
        mixer(corpus, ("vocals", "drums"), crowd=1.0)
    for folder, complaint in (
        (tmp_path / "none", "no such folder of noise"),
        (corpus / "x", "no sound files"),
    ):
        (corpus / "x").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match=complaint):
            mixer(corpus, crowd=1.0, crowd_noise=folder)
