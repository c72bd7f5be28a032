"""Training files: what is wrong with one is said in one line before anything starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rtsep.spec import UsageError
from rtsep.training.config import LossConfig, TrainConfig, load_config
from rtsep.training.losses import LOSSES
from rtsep.training.networks import make_network

ROOT = Path(__file__).parents[2]

GOOD = """
name = "mine"
[data]
roots = ["a/one", "b/two"]
[optimiser]
steps = 10
"""


def data(line: str) -> str:
    """The good file with one more line in its [data] table."""
    return GOOD.replace("[optimiser]", f"{line}\n[optimiser]")


def load(folder: Path, text: str) -> TrainConfig:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def test_every_loss_has_a_weight() -> None:
    other = {"objective", "vocals", "scale_free", "silent_parts"}
    assert {*LossConfig.model_fields} - other == {*LOSSES, "consistency"}
    assert LossConfig(l1=1.0, si_sdr=0.5).terms() == {"l1": 1.0, "si_sdr": 0.5}


def test_three_tables_suffice(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    assert config.data.roots == (Path("a/one"), Path("b/two"))
    assert config.optimiser.steps == 10 and config.optimiser.batch == 16
    assert sum((config.mix.aligned, config.mix.over_backing, config.mix.remixed)) < 1.0


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda p: p.name)
def test_the_configs_that_come_with_rtsep_are_good(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    make_network(config)
    for stream in config.release.streams.values():
        make_network(config.model_copy(update={"network": config.network | stream.network}))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name = ", "Invalid value"),
        (GOOD.replace("steps", "step"), "optimiser.steps: Field required"),
        (GOOD + "stpes = 3\n", "optimiser.stpes: Extra inputs are not permitted"),
        (GOOD.replace("10", "0"), "optimiser.steps: Input should be greater than or equal to 1"),
        (GOOD.replace("10", '"many"'), "optimiser.steps: Input should be a valid integer"),
        (GOOD.replace('"mine"', '"../mine"'), "name: String should match pattern"),
        (GOOD.replace('["a/one", "b/two"]', "[]"), "data.roots: Tuple should have at least 1 item"),
        (GOOD.replace("[optimiser]", "weights = {three = 2.0}\n[optimiser]"), "'three' is the name of none"),
        (GOOD.replace("[optimiser]", 'bass_in_other = ["x"]\n[optimiser]'), "data: 'x' is the name of none"),
        (GOOD + '[loss]\nobjective = "masks"\nl1 = 1.0\n', "loss: objective 'masks' has no terms to weigh"),
        (GOOD + "[loss]\nsi_sdr = -1.0\n", "loss.si_sdr: Input should be greater than or equal to 0"),
        (GOOD + '[compute]\ndevice = "tpu"\n', "compute.device: Input should be 'auto', 'cpu' or 'cuda'"),
        (GOOD + "[mix]\naligned = -1\n", "mix.aligned: Input should be greater than or equal to 0"),
        ("[optimiser]\nsteps = 1\n", "name: Field required"),
        (data('missing = {one = "gone"}'), "data.missing.one: Input should be"),
        (data('missing = {x = "silent"}'), "data: 'x' is the name of none"),
        (data('mastered = ["one"]'), "data: the mixtures of 'one' are not looked at"),
        (data('names = {lead = "voice"}'), "data.names: 'lead' cannot hold 'voice'"),
        (data('workers = "all"'), "data.workers"),
        (GOOD + '[mix]\nprocedure = "max"\n', "mix.procedure: Input should be 'levels', 'sum'"),
        (GOOD + "[augment]\npitch = 2\n", "augment.pitch: Input should be less than or equal to 1"),
        (GOOD + "[augment]\ntempo_factor = [1.2, 0.9]\n", "the range [1.2, 0.9] ends below its beginning"),
        (GOOD + "learning_rate = inf\n", "optimiser.learning_rate: Input should be a finite number"),
        (GOOD + "clip = nan\n", "optimiser.clip: Input should be a finite number"),
        (GOOD + "seed = -1\n", "optimiser.seed: Input should be greater than or equal to 0"),
        (GOOD + "seed = 99999999999999\n", "optimiser.seed: Input should be less than 4294967296"),
        (GOOD + "windows = [0]\n", "optimiser.windows.0: Input should be greater than or equal to 1"),
        (data("weights = {one = inf}"), "data.weights.one: Input should be a finite number"),
        (GOOD + "[mix]\naligned = inf\n", "mix.aligned: Input should be a finite number"),
        (GOOD + "[mix]\nlevel_db = [400, 500]\n", "mix.level_db.0: Input should be less than or equal to 20"),
        (GOOD + "[mix]\nvocal_db = [6, -10]\n", "mix.vocal_db: the range [6.0, -10.0] ends below"),
        (GOOD + "[mix]\nvocal_db = [nan, 6]\n", "mix.vocal_db.0: Input should be a finite number"),
        (GOOD + "[mix]\nsilence_db = -inf\n", "mix.silence_db: Input should be a finite number"),
        (GOOD + "[network]\nlevel = nan\n", "network: level should be a finite number"),
        (GOOD + "[release]\naverage = [4, 99]\n", "release.average: there is no step 99 in 10 steps"),
        (GOOD + "[release]\naverage = [-1]\n", "release.average.0: Input should be greater than or equal"),
        (GOOD + "[release.streams.x]\nfavour_vocals = nan\n", "favour_vocals: Input should be a finite"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'run.toml'}: ") and complaint in message
    assert "\n" not in message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such training file: .*missing.toml"):
        load_config(tmp_path / "missing.toml")
    with pytest.raises(UsageError, match="Is a directory"):
        load_config(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"binary.toml: .*decode"):
        load_config(tmp_path / "binary.toml")


def test_as_many_workers_as_cores(tmp_path: Path) -> None:
    assert load(tmp_path, data('workers = "auto"')).data.processes == len(os.sched_getaffinity(0))
    assert load(tmp_path, data("workers = 0")).data.processes == 0
    assert load(tmp_path, data("workers = 3")).data.processes == 3
