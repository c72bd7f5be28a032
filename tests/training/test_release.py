"""From a run to a model folder: what was trained is what ships, with its figures and its card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rtsep.separators.catalogue import load_weights
from rtsep.separators.registry import ModelPackage
from rtsep.spec import UsageError
from rtsep.training.checkpoints import BEST, CHECKPOINT
from rtsep.training.config import OptimiserConfig, ReleaseConfig, TrainConfig
from rtsep.training.loop import Trainer
from rtsep.training.release import CARD, MEANING, release
from rtsep.training.scores import overall
from tests.training.corpora import run_config


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    config = run_config(
        corpus,
        tmp_path_factory.mktemp("runs"),
        optimiser={"steps": 4, "validate_every": 2},
        data={"validation": corpus / "songs"},
    )
    Trainer(config, lambda _: None).run()
    return config


def test_the_average_of_the_best_weights_ships(trained: TrainConfig, tmp_path: Path) -> None:
    package = release(
        trained, "rtsep train tiny.toml", tmp_path / "models" / "mine", "About it.", lambda _: None
    )
    package.verify()
    best = torch.load(trained.output / trained.name / BEST, weights_only=True)
    weights = load_weights(package).state_dict()
    assert weights.keys() == best["average"].keys()
    assert all(torch.equal(weights[name], value) for name, value in best["average"].items())
    manifest = ModelPackage.read(tmp_path / "models" / "mine").manifest
    assert manifest.name == "mine" and manifest.training["steps"] == best["step"]
    assert manifest.scores.keys() <= MEANING.keys() and np.isfinite(list(manifest.scores.values())).all()
    assert overall(manifest.scores) == pytest.approx(best["best"], abs=0.006)


def test_vocals_may_be_favoured(trained: TrainConfig, tmp_path: Path) -> None:
    plain = release(trained, "c", tmp_path / "plain", "", lambda _: None)
    config = trained.model_copy(update={"release": ReleaseConfig(favour_vocals=1.5)})
    favoured = release(config, "c", tmp_path / "favoured", "", lambda _: None)
    before, after = load_weights(plain).state_dict(), load_weights(favoured).state_dict()
    shift = (after["to_masks.bias"] - before["to_masks.bias"]).view(4, -1)
    assert torch.allclose(shift[0], torch.tensor(1.5)) and not shift[1:].any()
    assert all(torch.equal(value, after[name]) for name, value in before.items() if name != "to_masks.bias")
    assert favoured.manifest.training["favour_vocals"] == 1.5


def test_kept_checkpoints_are_averaged(corpus: Path, tmp_path: Path) -> None:
    config = run_config(corpus, tmp_path, optimiser={"steps": 4, "keep_every": 2})
    trainer = Trainer(config, lambda _: None)
    trainer.run()
    names = ["checkpoint-0.pt", "checkpoint-2.pt", "checkpoint-4.pt"]
    assert sorted(path.name for path in trainer.folder.glob("checkpoint-*")) == names
    first, last = (torch.load(trainer.folder / names[k], weights_only=True)["average"] for k in (0, 2))
    wanted = config.model_copy(update={"release": ReleaseConfig(average=(4, 0))})
    package = release(wanted, "train", tmp_path / "mine", "", lambda _: None)
    weights = load_weights(package).state_dict()
    for name, value in weights.items():
        torch.testing.assert_close(value, (first[name] + last[name]) / 2)
    assert any(not torch.equal(first[name], last[name]) for name in first)
    assert package.manifest.training["average"] == [4, 0] and package.manifest.training["steps"] == 4
    card = (package.root / CARD).read_text(encoding="utf-8")
    assert "the mean of the weights after 0 and 4 steps" in card


def test_what_will_be_averaged_is_kept(corpus: Path, tmp_path: Path) -> None:
    config = run_config(corpus, tmp_path, optimiser={"steps": 4})
    trainer = Trainer(config.model_copy(update={"release": ReleaseConfig(average=(0, 3))}), lambda _: None)
    trainer.run()
    names = ["checkpoint-0.pt", "checkpoint-3.pt"]
    assert sorted(path.name for path in trainer.folder.glob("checkpoint-*")) == names


def test_a_checkpoint_that_was_not_kept_is_missed(trained: TrainConfig, tmp_path: Path) -> None:
    absent = trained.model_copy(update={"release": ReleaseConfig(average=(3,))})
    with pytest.raises(UsageError, match=r"checkpoint-3\.pt is not a checkpoint"):
        release(absent, "train", tmp_path / "mine", "", lambda _: None)


def test_the_card_says_where_it_comes_from_and_what_it_scores(trained: TrainConfig, tmp_path: Path) -> None:
    package = release(trained, "rtsep train tiny.toml", tmp_path / "mine", "Two songs, CC0.", lambda _: None)
    card = (package.root / CARD).read_text(encoding="utf-8")
    assert "`rtsep train tiny.toml`" in card and "Two songs, CC0." in card
    for name, score in package.manifest.scores.items():
        assert f"| {MEANING[name]} | {score:.2f} dB |" in card


def test_a_release_replaces_the_last_one_and_leaves_the_run_alone(
    trained: TrainConfig, tmp_path: Path
) -> None:
    folder = trained.output / trained.name
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for _ in range(2):
        release(trained, "train", tmp_path / "mine", "", lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_without_a_best_checkpoint_the_last_one_ships(trained: TrainConfig, tmp_path: Path) -> None:
    folder = trained.output / trained.name
    (tmp_path / "runs" / trained.name).mkdir(parents=True)
    (tmp_path / "runs" / trained.name / CHECKPOINT).write_bytes((folder / CHECKPOINT).read_bytes())
    data = trained.data.model_copy(update={"validation": None})
    config = trained.model_copy(update={"output": tmp_path / "runs", "data": data})
    package = release(config, "train", tmp_path / "mine", "", lambda _: None)
    assert package.manifest.training["steps"] == 4 and package.manifest.scores == {}


def test_a_run_that_has_not_begun(trained: TrainConfig, tmp_path: Path) -> None:
    config = trained.model_copy(update={"output": tmp_path / "none"})
    with pytest.raises(UsageError, match="nothing has been trained in .*none"):
        release(config, "train", tmp_path / "mine", "", lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_a_run_can_start_from_a_finished_model(trained: TrainConfig, tmp_path: Path) -> None:
    model = release(trained, "train", tmp_path / "mine", "", lambda _: None).root
    further = trained.model_copy(update={"name": "further", "start_from": model})
    lines: list[str] = []
    run = Trainer(further.model_copy(update={"optimiser": _no_steps(further)}), lines.append)
    run.run()
    assert any(str(model) in line for line in lines)
    first = load_weights(ModelPackage.read(model)).state_dict()
    # One step at a vanishing rate: still the model's weights, not new random ones.
    for name, value in run.network.state_dict().items():
        torch.testing.assert_close(value, first[name], rtol=1e-4, atol=1e-4)


def test_a_model_of_another_size_is_no_start(trained: TrainConfig, tmp_path: Path) -> None:
    model = release(trained, "train", tmp_path / "mine", "", lambda _: None).root
    wider = {**trained.network, "width": 2 * int(trained.network["width"])}
    other = trained.model_copy(update={"name": "wider", "start_from": model, "network": wider})
    with pytest.raises(UsageError, match="cannot start from there"):
        Trainer(other, lambda _: None).run()


def _no_steps(config: TrainConfig) -> OptimiserConfig:
    return config.optimiser.model_copy(update={"steps": 1, "learning_rate": 1e-9, "weight_decay": 0.0})
