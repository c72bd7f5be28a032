"""Two processes learn what one learns, also when both are killed and started again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rtsep.spec import UsageError
from rtsep.training.checkpoints import CHECKPOINT
from rtsep.training.config import TrainConfig, load_config
from rtsep.training.processes import Processes, choose_device, join_processes
from tests.cli.command import environment
from tests.training.corpora import run_config, write_corpus
from tests.training.test_architectures import config_of, run

PROGRAM = """
import os, signal, sys, torch
from rtsep.training.config import TrainConfig, load_config
from rtsep.training.loop import Trainer
from rtsep.training.processes import join_processes

torch.set_num_threads(1)
for text in sys.argv[2:]:
    config = TrainConfig.model_validate_json(text)
    with join_processes("cpu") as processes:
        trainer = Trainer(config, print, processes)
        accumulate = trainer._accumulate
        def deadly(*arguments):
            if trainer.step == int(sys.argv[1]):
                os.kill(os.getpid(), signal.SIGKILL)
            return accumulate(*arguments)
        trainer._accumulate = deadly
        trainer.run()
"""


def kill_two(config: TrainConfig, fatal: int) -> list[int]:
    """Both processes to the step in which they are killed; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(fatal), config.model_dump_json()],
            cwd=Path(__file__).parents[2],
            env=os.environ
            | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = [process.communicate(timeout=240)[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert set(codes) == {-signal.SIGKILL}, told
    return codes


def test_two_processes_killed_and_started_by_torchrun_learn_what_one_learns(tmp_path: Path) -> None:
    """Two or three examples each, some partly labelled, in two passes: no share weighs what another does."""
    root = tmp_path / "corpus"
    write_corpus(root)
    tables: dict[str, Any] = {
        "optimiser": {"batch": 5, "steps": 4},
        "data": {"validation": root / "songs"},
        "compute": {"accumulate": 2},
    }
    one = run(config_of("conv-tasnet", root, tmp_path / "one", **tables))
    two = config_of("conv-tasnet", root, tmp_path / "two", **tables)
    assert kill_two(two, fatal=3) == [-signal.SIGKILL] * 2
    path = tmp_path / "two" / "tiny" / CHECKPOINT
    assert torch.load(path, weights_only=True)["step"] == 3

    write_toml(two, tmp_path / "run.toml")
    result = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"),
            *("-m", "rtsep", "train", "run.toml"),
        ],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("resumed at step 3") == 1, "only the first process tells"
    content = torch.load(path, weights_only=True)
    assert content["step"] == 4
    for table in ("network", "average"):
        for name, value in one[table].items():
            torch.testing.assert_close(content[table][name], value, rtol=1e-3, atol=2e-5, msg=name)
    assert content["best"] == pytest.approx(one["best"], abs=0.01)
    log = (tmp_path / "two" / "tiny" / "log.jsonl").read_text().splitlines()
    assert len(log) == 1, "only the first process writes"


def write_toml(config: TrainConfig, path: Path) -> None:
    """The tables of a run that are not as they would be anyway."""
    content = config.model_dump(mode="json", exclude_defaults=True)
    plain = {name: value for name, value in content.items() if not isinstance(value, dict)}
    tables = {name: value for name, value in content.items() if isinstance(value, dict)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    path.write_text("\n".join(lines) + "\n")
    assert load_config(path) == config


def test_shares_cover_a_batch() -> None:
    for world, passes, batch in ((1, 1, 1), (2, 1, 5), (2, 3, 16), (4, 2, 9)):
        shares = [
            share
            for rank in range(world)
            for share in Processes(rank, world, rank, torch.device("cpu")).share(batch, passes)
        ]
        assert [k for share in shares for k in share] == list(range(batch))
        assert all(len(share) for share in shares)
    with pytest.raises(UsageError, match="3 examples cannot be shared by 2 processes in 2 passes each"):
        Processes(0, 2, 0, torch.device("cpu")).share(3, 2)


def test_alone_nothing_is_communicated(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with join_processes("cpu") as processes:
        assert processes == Processes(0, 1, 0, torch.device("cpu")) and processes.leads
        assert processes.total(2.5) == 2.5 and processes.told("word") == "word"
        processes.wait()
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(UsageError, match="the environment is not as torchrun sets it"):
        with join_processes("cpu"):
            pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    assert choose_device("auto") == torch.device("cpu") == choose_device("cpu")
    with pytest.raises(UsageError, match="torch finds no CUDA device here"):
        choose_device("cuda")
    config = run_config(tmp_path, tmp_path, compute={"device": "cuda"})
    assert config.compute.device == "cuda"
