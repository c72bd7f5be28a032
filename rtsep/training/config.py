"""What a training run is made of: one TOML file, validated before anything starts."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rtsep.spec import UsageError


class Strict(BaseModel):
    """A table of the file: unknown keys are mistakes, not wishes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(Strict):
    """Where the sound comes from.

    Attributes:
        roots: folders whose sub-folders are tracks, one file a stem.
        validation: a folder like them, never trained on.
        cache: where decoded tracks are kept, so that a resumed run starts at once.
        weights: how often each root is drawn from against the others, by the folder's name; 1 by default.
        bass_in_other: names of roots whose tracks carry the bass line inside `other`: there the two
            are trained as one.
        workers: processes that mix examples.
    """

    roots: tuple[Path, ...] = Field(min_length=1)
    validation: Path | None = None
    cache: Path = Path("runs/cache")
    weights: dict[str, float] = Field(default_factory=dict)
    bass_in_other: tuple[str, ...] = ()
    workers: int = Field(1, ge=0)

    @model_validator(mode="after")
    def _names_are_roots(self) -> Self:
        names = {root.name for root in self.roots}
        for name in (*self.weights, *self.bass_in_other):
            if name not in names:
                raise ValueError(f"'{name}' is the name of none of the roots: {', '.join(sorted(names))}")
        return self


class MixConfig(Strict):
    """How examples are drawn: relative odds of each kind of example, and levels.

    Attributes:
        aligned: an excerpt as it was produced.
        over_backing: any voice over any backing, known as vocals against accompaniment.
        remixed: every stem from another track.
        instrumental, vocal: one of the two alone.
        guitars: share of the examples in which a synthesised guitar joins the backing.
        vocal_db: range of the vocal's level against the backing's.
        level_db: range of the whole mixture's level against full scale.
    """

    aligned: float = Field(default=0.25, ge=0.0)
    over_backing: float = Field(default=0.35, ge=0.0)
    remixed: float = Field(default=0.2, ge=0.0)
    instrumental: float = Field(default=0.14, ge=0.0)
    vocal: float = Field(default=0.06, ge=0.0)
    guitars: float = Field(default=0.0, ge=0.0, le=1.0)
    vocal_db: tuple[float, float] = (-10.0, 6.0)
    level_db: tuple[float, float] = (-32.0, -12.0)


class OptimiserConfig(Strict):
    """AdamW with a linear warm-up, a plateau and a decay over the last part of the run.

    Attributes:
        steps: of the optimiser.
        batch, seconds: examples of a step, and their length.
        repeats: how many steps see each batch (D. Choi et al., "Faster neural network training with data
            echoing", 2019): more than one where mixing takes longer than learning.
        windows: lengths in samples of the synthesis windows that examples take by turns; none: the network's
            own. With several, the weights serve streams of each of these latencies (`[release.streams]`).
        learning_rate, warm_up, decay_fraction, decay, weight_decay, clip: of AdamW and its schedule.
        dropout: share of the units between layers that each step leaves out.
        ema: decay of the weights' moving average, which is what ships.
        seed: of everything that is drawn.
        checkpoint_every, validate_every: in steps.
    """

    steps: int = Field(ge=1)
    batch: int = Field(16, ge=1)
    repeats: int = Field(1, ge=1)
    seconds: float = Field(4.0, gt=0.1)
    windows: tuple[int, ...] = ()
    learning_rate: float = Field(1e-3, gt=0.0)
    warm_up: int = Field(50, ge=0)
    decay_fraction: float = Field(0.4, ge=0.0, le=1.0)
    decay: Literal["linear", "cosine"] = "linear"
    weight_decay: float = Field(1e-4, ge=0.0)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    clip: float = Field(1.0, gt=0.0)
    ema: float = Field(0.998, ge=0.0, lt=1.0)
    seed: int = 0
    checkpoint_every: int = Field(100, ge=1)
    validate_every: int = Field(250, ge=1)


class LossConfig(Strict):
    """What is learnt, and from which errors.

    Attributes:
        objective: "masks", the fast loss of networks that decide masks (see `rtsep.training.mask_loss`);
            "waveform", the terms below; "auto": masks where the network decides some and no term is given.
        l1, mse, magnitude, dual, si_sdr, mr_stft, complex, compressed, consistency, silence: weights of the
            terms in `rtsep.training.losses`. With the waveform objective and none of them, `l1` alone.
        vocals: how much a part with vocals counts against one without.
    """

    objective: Literal["auto", "masks", "waveform"] = "auto"
    l1: float = Field(default=0.0, ge=0.0)
    mse: float = Field(default=0.0, ge=0.0)
    magnitude: float = Field(default=0.0, ge=0.0)
    dual: float = Field(default=0.0, ge=0.0)
    si_sdr: float = Field(default=0.0, ge=0.0)
    mr_stft: float = Field(default=0.0, ge=0.0)
    complex: float = Field(default=0.0, ge=0.0)
    compressed: float = Field(default=0.0, ge=0.0)
    consistency: float = Field(default=0.0, ge=0.0)
    silence: float = Field(default=0.0, ge=0.0)
    vocals: float = Field(default=1.0, gt=0.0)

    @model_validator(mode="after")
    def _terms_are_of_the_waveform(self) -> Self:
        if self.objective == "masks" and (self.terms() or self.vocals != 1.0):
            raise ValueError("objective 'masks' has no terms to weigh; they are those of 'waveform'")
        return self

    def terms(self) -> dict[str, float]:
        """The terms that have a weight."""
        return {
            name: value
            for name, value in self.model_dump(exclude={"objective", "vocals"}).items()
            if value > 0.0
        }


class ComputeConfig(Strict):
    """What computes, and how finely.

    Attributes:
        device: "auto" is a CUDA GPU where torch finds one.
        precision: of matrix products. "bf16" needs no scaling; "fp16" is for older GPUs and scales the loss
            so that gradients stay in range. "auto" is bf16 with the masks objective, fp32 otherwise.
        accumulate: passes in which a process takes its share of a batch: more need less memory.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    accumulate: int = Field(default=1, ge=1)


class MonitorConfig(Strict):
    """What can be watched while it goes on.

    Attributes:
        tensorboard: event files in the run's folder; "auto": where TensorBoard is installed.
        report: a page with curves and pictures, written anew at every validation.
    """

    tensorboard: Literal["auto", "on", "off"] = "auto"
    report: bool = True


class ReleaseConfig(Strict):
    """What is done to the trained weights before they ship.

    Attributes:
        favour_vocals: added to the vocals' logits before the softmax. A network that meets music unlike its
            training data doubts too often that what it hears is a voice. One more doubles, roughly, what
            the vocals' mask gets from where it is in doubt, and changes little where it is sure.
        streams: what differs in `[network]` when the run is exported as a model of that name: a shorter
            window, a shorter hop. The weights must fit.
    """

    favour_vocals: float = Field(default=0.0, ge=-6.0, le=6.0)
    streams: dict[str, dict[str, Any]] = Field(default_factory=dict)


class TrainConfig(Strict):
    """One run: the network, its data, its schedule, and what ships."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    architecture: str = "causal-lstm"
    output: Path = Path("runs")
    start_from: Path | None = None
    network: dict[str, Any] = Field(default_factory=dict)
    data: DataConfig
    mix: MixConfig = MixConfig()
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig
    compute: ComputeConfig = ComputeConfig()
    monitor: MonitorConfig = MonitorConfig()
    release: ReleaseConfig = ReleaseConfig()


def load_config(path: Path) -> TrainConfig:
    """Read and check a training file; relative paths in it are relative to the working folder.

    Raises:
        UsageError: one line that names the file and the first thing wrong with it.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no such training file: {path}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    try:
        return TrainConfig.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise UsageError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from None
