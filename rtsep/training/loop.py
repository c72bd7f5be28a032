"""The training loop: every step a function of its number, so that a killed run goes on as if nothing was.

Example k of step n is drawn from a generator seeded with (seed, n, k): the number of workers, a
restart or a crash changes nothing in what the network sees. A checkpoint holds weights, their moving
average, the optimiser and the step, and replaces the last one in one rename.
"""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch.utils.data import DataLoader, Dataset

from rtsep.separators.catalogue import load_weights
from rtsep.separators.causal_lstm import CausalLSTM, CausalLSTMConfig
from rtsep.separators.registry import ModelPackage
from rtsep.spec import STEMS, UsageError
from rtsep.training.config import TrainConfig
from rtsep.training.corpus import Track, load_training
from rtsep.training.mixing import Mixer
from rtsep.training.objective import loss
from rtsep.training.scores import overall, score_tracks
from rtsep.training.statistics import Statistics, StatisticsExtractor, join

Report = Callable[[str], None]
CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"
ECHO_BLOCK = 8
"""Batches that are kept for their repeats."""
_CHECKPOINT_KEYS = {"config", "network", "average", "optimiser", "step", "seconds_spent", "best"}


@dataclass
class Steps(Dataset[Statistics]):
    """Item n is the whole n-th batch."""

    mixer: Mixer
    extractor: StatisticsExtractor
    config: TrainConfig

    def __len__(self) -> int:
        o = self.config.optimiser
        return -(-o.steps // (o.repeats * ECHO_BLOCK)) * ECHO_BLOCK if o.repeats > 1 else o.steps

    def __getitem__(self, index: int) -> Statistics:
        o = self.config.optimiser
        batch = []
        for k in range(o.batch):
            example = self.mixer.draw(np.random.default_rng((o.seed, index, k)))
            batch.append(self.extractor(torch.from_numpy(example.parts), torch.from_numpy(example.groups)))
        return join(batch)


class Trainer:
    """One run in one folder: `<output>/<name>/`.

    Args:
        config: the run.
        report: takes lines of text about how it goes.

    Raises (here and from `run`):
        UsageError, ModelError: for a network that cannot be, folders that are missing, a checkpoint that
            is damaged or another network's.
    """

    def __init__(self, config: TrainConfig, report: Report) -> None:
        self.config = config
        self.report = report
        self.folder = config.output / config.name
        torch.manual_seed(config.optimiser.seed)
        self.network = CausalLSTM(_network_config(config))
        self.network.dropout = config.optimiser.dropout
        self.average = {k: v.clone() for k, v in self.network.state_dict().items()}
        o = config.optimiser
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=o.learning_rate, betas=(0.9, 0.98), weight_decay=o.weight_decay
        )
        self.step = 0
        self.seconds_spent = 0.0
        self.best: float | None = None

    # -- the run -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train from the last checkpoint, or from the beginning, to the configured number of steps."""
        c = self.config
        report = self.report
        # Gradients fade away over hundreds of frames, into numbers that processors handle very slowly.
        torch.set_flush_denormal(True)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the run's folder {self.folder}: {error.strerror}") from None
        report(f"reading {len(c.data.roots)} training folders")
        rate = self.network.config.sample_rate
        tracks, validation = load_training(c.data, rate)
        mixer = Mixer(tracks, c.data, c.mix, int(c.optimiser.seconds * rate), c.augment, rate)
        steps = Steps(mixer, StatisticsExtractor(self.network), c)
        parameters = sum(p.numel() for p in self.network.parameters())
        report(f"{len(tracks)} tracks, {parameters / 1e6:.2f} M parameters, run in {self.folder}")
        if (self.folder / CHECKPOINT).exists():
            self.load()
            report(f"resumed at step {self.step} after {self.seconds_spent / 60:.0f} min of training")
        elif c.start_from is not None:
            self._take_weights(c.start_from)
            report(f"started from the weights of {c.start_from}")
        else:
            self._normalise_input(steps)
        self._train(self._batches(steps), validation)
        self._save(CHECKPOINT)

    def _train(self, batches: Iterator[Statistics], validation: list[Track]) -> None:
        o = self.config.optimiser
        segment = round(self.network.config.sample_rate / self.network.config.hop)
        started = time.monotonic()
        recent: list[float] = []
        for batch in batches:
            rate = o.learning_rate * schedule(self.step, o.steps, o.warm_up, o.decay_fraction)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            if o.dropout > 0.0:
                # What is left out is a function of the step too.
                torch.manual_seed(o.seed * 1_000_003 + self.step)
            # Matrix products in bfloat16, which halves their time; their sums stay exact.
            with torch.autocast("cpu", torch.bfloat16):
                logits, _ = self.network.decide(batch.features)
            value = loss(logits, batch, segment)
            self.optimiser.zero_grad(set_to_none=True)
            value.backward()
            norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), o.clip)
            if torch.isfinite(norm):
                self.optimiser.step()
            self._average()
            self.step += 1
            recent.append(float(value.detach()))
            now = time.monotonic()
            self.seconds_spent += now - started
            started = now
            if self.step % 10 == 0:
                mean = float(np.mean(recent))
                self._log({"step": self.step, "loss": mean, "rate": rate, "seconds": self.seconds_spent})
                pace = self.seconds_spent / self.step
                self.report(
                    f"step {self.step}/{o.steps}  loss {mean:.3f} dB  {pace:.2f} s/step"
                    f"  {(o.steps - self.step) * pace / 60:.0f} min left"
                )
                recent.clear()
            if self.step % o.checkpoint_every == 0:
                self._save(CHECKPOINT)
            if validation and (self.step % o.validate_every == 0 or self.step == o.steps):
                self._validate(validation)

    def _batches(self, steps: Steps) -> Iterator[Statistics]:
        """From this step's batch to the last. Repeats come a block later, not at once."""
        o = self.config.optimiser
        if o.repeats == 1:
            yield from self._mixed(steps, self.step)
            return
        # A run resumed within a block needs all its batches again.
        fresh = self._mixed(steps, self.step // (o.repeats * ECHO_BLOCK) * ECHO_BLOCK)
        kept: list[Statistics] = []
        block = -1
        for step in range(self.step, o.steps):
            if step // (o.repeats * ECHO_BLOCK) != block:
                block = step // (o.repeats * ECHO_BLOCK)
                kept = []
            within = step % (o.repeats * ECHO_BLOCK) % ECHO_BLOCK
            while len(kept) <= within:
                kept.append(next(fresh))
            yield kept[within]

    def _mixed(self, steps: Steps, first: int) -> Iterator[Statistics]:
        workers = self.config.data.processes
        loader = DataLoader(
            steps,
            batch_size=None,
            sampler=range(first, len(steps)),
            num_workers=workers,
            prefetch_factor=self.config.data.prefetch if workers else None,
            worker_init_fn=_one_thread,
        )
        return iter(loader)

    def _normalise_input(self, steps: Steps) -> None:
        """Start from the data's own mean and spread of every band; both are then learnt on."""
        features = torch.cat([steps[s].features for s in range(2)]).flatten(0, 1)
        with torch.no_grad():
            self.network.input_mean.copy_(features.mean(0))
            self.network.input_scale.copy_(1.0 / features.std(0).clamp_min(1e-3))
            # The masks start as the stems' rough shares, not as noise.
            self.network.to_masks.weight.mul_(0.5)
        self.average = {k: v.clone() for k, v in self.network.state_dict().items()}

    def _take_weights(self, folder: Path) -> None:
        """Begin with a finished model of the same configuration. Raises ModelError, UsageError."""
        model = load_weights(ModelPackage.read(folder))
        if not isinstance(model, CausalLSTM) or model.config != self.network.config:
            raise UsageError(f"{folder} is not of this run's [network]; it cannot start from there")
        self.network.load_state_dict(model.state_dict())
        self.average = {k: v.clone() for k, v in self.network.state_dict().items()}

    # -- averaging, validation -----------------------------------------------------------------------

    def _average(self) -> None:
        # A young average forgets fast, or it would remember the random start for ever.
        decay = min(self.config.optimiser.ema, (1.0 + self.step) / (10.0 + self.step))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.average[name].lerp_(value, 1.0 - decay)

    def averaged(self) -> CausalLSTM:
        """The network with the moving average of its weights: what is validated and shipped."""
        network = CausalLSTM(self.network.config)
        network.load_state_dict(self.average)
        return network.eval()

    def _validate(self, tracks: list[Track]) -> None:
        scores = validate(self.averaged(), tracks)
        self._log({"step": self.step, **scores})
        self.report("validation: " + "  ".join(f"{k} {v:.2f}" for k, v in scores.items()))
        score = overall(scores)
        if self.best is None or score >= self.best:
            self.best = score
            self._save(BEST)

    # -- files -----------------------------------------------------------------------------------------

    def _log(self, row: dict[str, Any]) -> None:
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as log:
            log.write(
                json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}) + "\n"
            )

    def _save(self, name: str) -> None:
        partial = self.folder / f"{name}.partial"
        content = {
            "config": self.config.network,
            "network": self.network.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds_spent": self.seconds_spent,
            "best": self.best,
        }
        torch.save(content, partial)
        partial.replace(self.folder / name)

    def load(self, name: str = CHECKPOINT) -> None:
        """Take up a checkpoint of this run. Raises UsageError when it is not one, or of another network."""
        path = self.folder / name
        try:
            content = torch.load(path, weights_only=True)
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise UsageError(f"{path} is not a checkpoint: {why}") from None
        if not isinstance(content, dict) or not content.keys() >= _CHECKPOINT_KEYS:
            raise UsageError(f"{path} is not a checkpoint of a training run")
        if content["config"] != self.config.network:
            raise UsageError(f"{path} was trained with another [network] table; give the run another name")
        self.network.load_state_dict(content["network"])
        self.average = content["average"]
        self.optimiser.load_state_dict(content["optimiser"])
        self.step = content["step"]
        self.seconds_spent = content["seconds_spent"]
        self.best = content["best"]


def _network_config(config: TrainConfig) -> CausalLSTMConfig:
    try:
        network = CausalLSTMConfig.model_validate(config.network)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"[network] {where}: {first['msg']}") from None
    if network.channels != 2 or network.stems != STEMS:
        raise UsageError(f"[network] only stereo networks for {', '.join(STEMS)} can be trained so far")
    return network


def schedule(step: int, steps: int, warm_up: int, decay_fraction: float) -> float:
    """Share of the learning rate at a step: up linearly, flat, then down linearly to a fiftieth."""
    rise = min(1.0, (step + 1) / max(warm_up, 1))
    decay_steps = max(int(steps * decay_fraction), 1)
    fall = min(1.0, max(0.0, (steps - step) / decay_steps))
    return rise * max(fall, 0.02)


@torch.no_grad()
def validate(network: CausalLSTM, tracks: list[Track]) -> dict[str, float]:
    """`score_tracks` of a network, every track at once."""
    return score_tracks(
        lambda mix: network(torch.from_numpy(mix)[None])[0].numpy(), tracks, network.config.sample_rate
    )


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
