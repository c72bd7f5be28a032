"""The training loop: every step a function of its number, so that a killed run goes on as if nothing was.

Example k of step n is drawn from a generator seeded with (seed, n, k): the number of workers, a
restart or a crash changes nothing in what the network sees. A checkpoint holds weights, their moving
average, the optimiser, the step and how far it was validated, and replaces the last one in one rename.

What a batch is and how it becomes a loss is the objective's affair (`rtsep.training.objective`); who else
works on the same step is that of `rtsep.training.processes`.
"""

from __future__ import annotations

import copy
import io
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rtsep.separators.offline_network import OfflineNetwork
from rtsep.spec import ModelError, UsageError
from rtsep.training.autocasting import TYPES, choose_precision
from rtsep.training.batches import Batches
from rtsep.training.checkpoints import (
    BEST,
    CHECKPOINT,
    copied,
    is_kept,
    kept,
    mean_of,
    read_checkpoint,
    write_checkpoint,
)
from rtsep.training.compilation import compile_parts
from rtsep.training.config import TrainConfig
from rtsep.training.corpus import Track, load_training
from rtsep.training.events import Events, NoEvents, open_events
from rtsep.training.fine_tuning import freeze
from rtsep.training.mixing import Example, Mixer
from rtsep.training.networks import (
    TrainableNetwork,
    decides_masks,
    make_network,
    make_objective,
    separate,
    take_weights,
)
from rtsep.training.objective import Objective, moved
from rtsep.training.processes import Processes, choose_device
from rtsep.training.report import draw_responses, show_excerpt, write_report
from rtsep.training.scores import overall, score_tracks

Report = Callable[[str], None]
LOG = "log.jsonl"
MOST_LEFT_OUT = 30
"""Steps in a row whose gradients are not finite that end a run, or half of its steps if these are fewer: more
than a scaled loss takes to settle."""


class _Loss(nn.Module):
    """Network and objective in one module, so that what averages gradients sees the loss being made."""

    def __init__(self, network: nn.Module, objective: Objective[Any]) -> None:
        super().__init__()
        self.network = network
        self.objective = objective

    def forward(self, batch: Any) -> Tensor:
        return self.objective.loss(self.network, batch)


class Trainer:
    """One run in one folder: `<output>/<name>/`.

    Args:
        config: the run.
        report: takes lines of text about how it goes.
        processes: this one among those that train together; alone by default.

    Raises (here and from `run`):
        UsageError, ModelError: for a network that cannot be, a device that is not there, folders that are
            missing, a checkpoint that is damaged or another network's, or when nothing is learnt any more.
    """

    def __init__(self, config: TrainConfig, report: Report, processes: Processes | None = None) -> None:
        self.config = config
        self.report = report
        self.processes = processes or Processes(0, 1, 0, choose_device(config.compute.device))
        self.device = self.processes.device
        self.folder = config.output / config.name
        torch.manual_seed(config.optimiser.seed)
        self.network: TrainableNetwork = make_network(config).to(self.device)
        masks = decides_masks(config, self.network)
        self.precision = precision = choose_precision(config.compute.precision, masks, self.device)
        # bfloat16 halves the time of matrix products; their sums stay exact.
        autocast = partial(torch.autocast, self.device.type, TYPES[precision], enabled=precision != "fp32")
        self.objective = make_objective(config, self.network, autocast)
        self.average = copied(self.network.state_dict())
        o = config.optimiser
        if config.fine_tune is not None:
            trained = freeze(self.network, config.architecture, config.fine_tune)
            report(f"{config.fine_tune.mode} of {config.fine_tune.model}: {len(trained)} tensors are trained")
        self.optimiser = torch.optim.AdamW(
            [p for p in self.network.parameters() if p.requires_grad],
            lr=o.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=o.weight_decay,
        )
        # Only sixteen-bit floats of five exponent bits need it; it does nothing otherwise.
        self.scaler = torch.amp.GradScaler("cuda", enabled=precision == "fp16")
        self.events: Events = NoEvents()
        self.step = 0
        self.seconds_spent = 0.0
        self.left_out = 0
        self.validated: int | None = None
        self.best: float | None = None

    # -- the run -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train from the last checkpoint, or from the beginning, to the configured number of steps."""
        c = self.config
        report = self.report
        # Gradients fade away over hundreds of frames, into numbers that processors handle very slowly.
        torch.set_flush_denormal(True)
        # Of a GPU's ways to add up, one that gives the same every time.
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        shares = self.processes.share(c.optimiser.batch, c.compute.accumulate)
        if c.compute.compile:
            compile_parts(self.network, self.device)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the run's folder {self.folder}: {error.strerror}") from None
        report(f"reading {len(c.data.roots)} training folders")
        if self.processes.local:
            # The first process of each machine decodes what the cache lacks.
            self.processes.wait()
        tracks, validation = load_training(c.data, self.network.spec.sample_rate, self.network.spec.stems)
        if not self.processes.local:
            self.processes.wait()
        mixer = self._mixer(tracks)
        batches = Batches(mixer, self.objective, c, shares)
        report(
            f"{len(tracks)} tracks, {_millions(self.network)} parameters, {self.device.type}"
            f" {self.precision}, {self.processes.world} processes, run in {self.folder}"
        )
        there = (self.folder / CHECKPOINT).exists()
        if self.processes.told(there):
            self.load()
            report(f"resumed at step {self.step} after {self.seconds_spent / 60:.0f} min of training")
        elif c.begins_with is not None:
            take_weights(self.network, c)
            self.average = copied(self.network.state_dict())
            report(f"started from the weights of {c.begins_with}")
        else:
            self._begin(batches)
        if self.processes.leads:
            self.events = open_events(c.monitor.tensorboard, self.folder, self.step)
        if self.step == 0 and is_kept(0, c):
            self._save(kept(0))
        try:
            self._train(batches.from_step(self.step), validation)
            self._save(CHECKPOINT)
            if self.processes.leads and not validation:
                self._tell(None)
        finally:
            self.events.close()

    def examples(self, count: int) -> Iterator[Example]:
        """Mixtures as training draws them, but none that a step has drawn."""
        spec = self.network.spec
        mixer = self._mixer(load_training(self.config.data, spec.sample_rate, spec.stems)[0])
        # The seeds of steps have three numbers.
        return (mixer.draw(np.random.default_rng((self.config.optimiser.seed, n))) for n in range(count))

    def _mixer(self, tracks: list[Track]) -> Mixer:
        c, spec = self.config, self.network.spec
        samples = int(c.optimiser.seconds * spec.sample_rate)
        return Mixer(tracks, c.data, c.mix, samples, c.augment, spec.sample_rate, spec.stems)

    def _train(self, batches: Iterator[list[Any]], validation: list[Track]) -> None:
        o = self.config.optimiser
        module: nn.Module = _Loss(self.network, self.objective)
        if self.processes.world > 1:
            # The first process' statistics of batch norms are those that are saved.
            module = DistributedDataParallel(module, broadcast_buffers=False)
        if validation and self._validates() and self.validated != self.step:
            # It was stopped between its checkpoint and the end of that step's validation.
            self._validate_at_once(validation)
        started = time.monotonic()
        recent: list[float] = []
        for passes in batches:
            rate = o.learning_rate * schedule(self.step, o.steps, o.warm_up, o.decay_fraction, o.decay)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            # What is left out, by the run's dropout or a network's own, is a function of the step too.
            torch.manual_seed((o.seed + self.processes.rank * 7919) * 1_000_003 + self.step)
            self.optimiser.zero_grad(set_to_none=True)
            recent.append(self._accumulate(module, passes))
            self.scaler.unscale_(self.optimiser)
            norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), o.clip)
            if torch.isfinite(norm):
                self.scaler.step(self.optimiser)
                self.left_out = 0
            else:
                self.left_out += 1
            self.scaler.update()
            self._average()
            self.step += 1
            now = time.monotonic()
            self.seconds_spent += now - started
            started = now
            if self.step % 10 == 0:
                mean = self.processes.total(float(np.mean(recent)))
                self._log({"step": self.step, "loss": mean, "rate": rate, "seconds": self.seconds_spent})
                self.events.figures(self.step, {"loss": mean, "learning rate": rate})
                pace = self.seconds_spent / self.step
                self.report(
                    f"step {self.step}/{o.steps}  loss {mean:.3f}{self.objective.unit}  {pace:.2f} s/step"
                    f"  {(o.steps - self.step) * pace / 60:.0f} min left"
                )
                recent.clear()
            if self.left_out >= min(MOST_LEFT_OUT, (o.steps + 1) // 2):
                raise ModelError(
                    f"nothing is learnt any more: up to step {self.step} the gradients of {self.left_out}"
                    " steps in a row were not finite; begin anew, under another name, with a lower"
                    " [optimiser] learning_rate"
                )
            due = bool(validation) and self._validates()
            if due or self.step % o.checkpoint_every == 0:
                self._save(CHECKPOINT)
            if is_kept(self.step, self.config):
                self._save(kept(self.step))
            if due:
                self._validate_at_once(validation)

    def _accumulate(self, module: nn.Module, passes: list[Any]) -> float:
        """Gradients of the whole batch's mean loss; returns what this process' share adds to that."""
        world = self.processes.world
        weights = [self.objective.weight(batch) for batch in passes]
        total = self.processes.total(sum(weights))
        value = 0.0
        for number, (batch, weight) in enumerate(zip(passes, weights, strict=True)):
            last = number == len(passes) - 1
            # Gradients travel once a step. What averages them divides by the number of processes.
            quiet = module.no_sync() if isinstance(module, DistributedDataParallel) and not last else None
            with quiet or nullcontext():
                part = module(moved(batch, self.device)) * (weight / total * world)
                self.scaler.scale(part).backward()
            value += float(part.detach()) / world
        return value

    def _begin(self, batches: Batches) -> None:
        """Let the fresh network take from the data what it should begin with."""
        first = [moved(batches.whole(index), self.device) for index in range(2)]
        self.objective.begin(self.network, first)
        self.average = copied(self.network.state_dict())

    # -- averaging, validation -----------------------------------------------------------------------

    def _average(self) -> None:
        # A young average forgets fast, or it would remember the random start for ever.
        decay = min(self.config.optimiser.ema, (1.0 + self.step) / (10.0 + self.step))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, 1.0 - decay)
                else:
                    self.average[name].copy_(value)

    def averaged(self, stream: dict[str, Any] | None = None) -> TrainableNetwork:
        """The network with the moving average of its weights: what is validated and shipped.

        Args:
            stream: fields in which the network's configuration is to differ.

        Raises:
            UsageError: when there is no such network, or the weights do not fit it.
        """
        if stream:
            network = make_network(
                self.config.model_copy(update={"network": self.config.network | stream})
            ).to(self.device)
        else:
            network = copy.deepcopy(self.network)
        wanted = {name: value.shape for name, value in network.state_dict().items()}
        if wanted != {name: value.shape for name, value in self.average.items()}:
            raise UsageError(f"[release.streams] {stream}: the run's weights do not fit such a network")
        network.load_state_dict(self.average)
        return network.eval()

    def _validates(self) -> bool:
        """Whether this step is one after which there is a validation."""
        o = self.config.optimiser
        return self.step > 0 and (self.step % o.validate_every == 0 or self.step == o.steps)

    def _validate_at_once(self, tracks: list[Track]) -> None:
        """Validate while the other processes wait, and keep that it was done, and what the best is now."""
        self.validated = self.step
        if self.processes.leads:
            self._validate(tracks)
        self._save(CHECKPOINT)
        self.processes.wait()

    def _validate(self, tracks: list[Track]) -> None:
        network = self.averaged()
        scores = validate(network, tracks, self.device)
        self._log({"step": self.step, **scores})
        self.events.figures(self.step, {f"validation/{name}": score for name, score in scores.items()})
        self.report("validation: " + "  ".join(f"{k} {v:.2f}" for k, v in scores.items()))
        score = overall(scores)
        # Against a best that is no number, as older checkpoints may have it, every score is better.
        if self.best is None or not score < self.best:
            self.best = score
            self._save(BEST)
        if self.config.monitor.report or not isinstance(self.events, NoEvents):
            self._tell(self._excerpt(network, tracks[0]))

    def _excerpt(self, network: TrainableNetwork, track: Track) -> tuple[str, bytes] | None:
        """What a piece of the validation sounds like by now, as a picture."""
        try:
            from rtsep.evaluation.picture import draw_spectrograms
        except ModuleNotFoundError:
            return None
        rate = network.spec.sample_rate
        title, panels = show_excerpt(lambda mix: self._separate(network, mix), track, rate)
        picture = io.BytesIO()
        draw_spectrograms(panels, rate, picture)
        self.events.picture(self.step, "validation", picture.getvalue())
        return title, picture.getvalue()

    def _separate(self, network: TrainableNetwork, mix: NDArray[np.float32]) -> NDArray[np.float32]:
        stems: NDArray[np.float32] = separate(network, torch.from_numpy(mix).to(self.device)).cpu().numpy()
        return stems

    def _tell(self, excerpt: tuple[str, bytes] | None) -> None:
        """Write the report."""
        if not self.config.monitor.report:
            return
        about = {
            "network": f"{self.config.architecture}, {_millions(self.network)} parameters",
            "computed by": f"{self.processes.world} x {self.device.type}, {self.precision}",
            "time": f"{self.seconds_spent / 60.0:.1f} minutes of training",
        }
        try:
            unit = self.objective.unit
            write_report(self.folder, self.config, self.folder / LOG, unit, excerpt, about, self._responses())
        except ModuleNotFoundError as error:
            self.report(f"no report: {error.name} is not installed")

    def _responses(self) -> bytes | None:
        """A picture of what the network has learnt by frequency, if it has any such thing."""
        network = self.averaged()
        learnt = network.responses() if isinstance(network, OfflineNetwork) else {}
        if not learnt:
            return None
        gains = {name: gain.cpu().numpy() for name, gain in learnt.items()}
        return draw_responses(gains, network.spec.sample_rate)

    # -- files -----------------------------------------------------------------------------------------

    def _log(self, row: dict[str, Any]) -> None:
        if not self.processes.leads:
            return
        with open(self.folder / LOG, "a", encoding="utf-8") as log:
            log.write(
                json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}) + "\n"
            )

    def _save(self, name: str) -> None:
        if not self.processes.leads:
            return
        content = {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "seconds_spent": self.seconds_spent,
            "left_out": self.left_out,
            "validated": self.validated,
            "best": self.best,
        }
        write_checkpoint(self.folder / name, self.config, content)

    def load(self, name: str = CHECKPOINT) -> None:
        """Take up a checkpoint of this run: the first process reads it and tells the others.

        Raises:
            UsageError: when it is not one, or of another network.
        """
        leads = self.processes.leads
        content = self.processes.told(read_checkpoint(self.folder / name, self.config) if leads else {})
        self.network.load_state_dict(content["network"])
        self.average = {k: v.to(self.device) for k, v in content["average"].items()}
        self.optimiser.load_state_dict(content["optimiser"])
        if content.get("scaler") and self.scaler.is_enabled():
            self.scaler.load_state_dict(content["scaler"])
        self.step = content["step"]
        self.seconds_spent = content["seconds_spent"]
        # Older checkpoints do not say these two.
        self.left_out = content.get("left_out", 0)
        self.validated = content.get("validated")
        self.best = content["best"]

    def take_average(self, steps: tuple[int, ...]) -> None:
        """Put the mean of kept checkpoints in the place of the moving average.

        Args:
            steps: of which checkpoints were kept; the run is then as far as the last of them.

        Raises:
            UsageError: when one is not there, or is of another network.
        """
        averages = []
        for step in sorted(steps):
            self.load(kept(step))
            averages.append(self.average)
        self.average = mean_of(averages)


def _millions(network: nn.Module) -> str:
    return f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M"


def schedule(
    step: int, steps: int, warm_up: int, decay_fraction: float, decay: Literal["linear", "cosine"] = "linear"
) -> float:
    """Share of the learning rate at a step: up linearly, flat, then down to a fiftieth.

    Down in a line, or along half a wave (I. Loshchilov, F. Hutter, "SGDR", ICLR 2017, arXiv:1608.03983,
    without restarts).
    """
    rise = min(1.0, (step + 1) / max(warm_up, 1))
    decay_steps = max(int(steps * decay_fraction), 1)
    fall = min(1.0, max(0.0, (steps - step) / decay_steps))
    if decay == "cosine":
        fall = 0.5 - 0.5 * math.cos(math.pi * fall)
    return rise * max(fall, 0.02)


@torch.no_grad()
def validate(
    network: TrainableNetwork, tracks: list[Track], device: torch.device | str = "cpu"
) -> dict[str, float]:
    """`score_tracks` of a network on its device, every track at once."""
    return score_tracks(
        lambda mix: separate(network, torch.from_numpy(mix).to(device)).cpu().numpy(),
        tracks,
        network.spec.sample_rate,
        network.spec.stems,
    )
