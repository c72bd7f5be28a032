"""What a training run is made of: one TOML file, validated before anything starts."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from rtsep.separators.registry import find_any
from rtsep.spec import STEMS, ModelError, UsageError
from rtsep.training.data_config import AugmentConfig, DataConfig, MixConfig, Strict, Weight

BESIDE_STEMS = ("accompaniment", "mixture")
"""What a sound file of a track may hold that is no stem; no stem can be called so, nor `rest`."""
Step = Annotated[int, Field(ge=0)]


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
        keep_every: in steps, from step 0 on: checkpoints that later ones do not replace, beside those that
            `[release] average` names; 0 keeps no others.
    """

    steps: int = Field(ge=1)
    batch: int = Field(16, ge=1)
    repeats: int = Field(1, ge=1)
    seconds: float = Field(4.0, gt=0.1)
    windows: tuple[Annotated[int, Field(ge=1)], ...] = ()
    learning_rate: float = Field(1e-3, gt=0.0)
    warm_up: int = Field(50, ge=0)
    decay_fraction: float = Field(0.4, ge=0.0, le=1.0)
    decay: Literal["linear", "cosine"] = "linear"
    weight_decay: float = Field(1e-4, ge=0.0)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    clip: float = Field(1.0, gt=0.0)
    ema: float = Field(0.998, ge=0.0, lt=1.0)
    seed: int = Field(0, ge=0, lt=2**32)
    checkpoint_every: int = Field(100, ge=1)
    validate_every: int = Field(250, ge=1)
    keep_every: int = Field(0, ge=0)


class LossConfig(Strict):
    """What is learnt, and from which errors.

    Attributes:
        objective: "masks", the fast loss of networks that decide masks (see `rtsep.training.mask_loss`);
            "waveform", the terms below; "auto": masks where the network decides some and no term is given.
        l1, mse, magnitude, magnitude_l1, dual, si_sdr, mr_stft, complex, compressed, consistency, silence:
            weights of the terms in `rtsep.training.losses`. With objective "waveform" and none, `l1` alone.
        vocals: how much a part with vocals counts against one without.
        scale_free: how much of objective "masks" is SI-SDR over whole excerpts; the rest is the level of the
            error, second by second.
        silent_parts: how much is added to objective "masks" for what is given to silent parts: SI-SDR says
            nothing of them.
    """

    objective: Literal["auto", "masks", "waveform"] = "auto"
    l1: Weight = 0.0
    mse: Weight = 0.0
    magnitude: Weight = 0.0
    magnitude_l1: Weight = 0.0
    dual: Weight = 0.0
    si_sdr: Weight = 0.0
    mr_stft: Weight = 0.0
    complex: Weight = 0.0
    compressed: Weight = 0.0
    consistency: Weight = 0.0
    silence: Weight = 0.0
    vocals: float = Field(default=1.0, gt=0.0)
    scale_free: float = Field(default=0.0, ge=0.0, le=1.0)
    silent_parts: Weight = 0.0

    @model_validator(mode="after")
    def _terms_are_of_the_waveform(self) -> Self:
        waveforms = self.objective == "waveform" or bool(self.terms())
        if self.scale_free and waveforms:
            raise ValueError("scale_free is of objective 'masks'; with waveforms say si_sdr")
        if self.silent_parts and waveforms:
            raise ValueError("silent_parts is of objective 'masks'; with waveforms say silence")
        if self.objective == "masks" and (self.terms() or self.vocals != 1.0):
            raise ValueError("objective 'masks' has no terms to weigh; they are those of 'waveform'")
        return self

    def terms(self) -> dict[str, float]:
        """The terms that have a weight."""
        others = {"objective", "vocals", "scale_free", "silent_parts"}
        return {name: value for name, value in self.model_dump(exclude=others).items() if value > 0.0}


class ComputeConfig(Strict):
    """What computes, and how finely.

    Attributes:
        device: "auto" is a CUDA GPU where torch finds one.
        precision: of matrix products. "bf16" needs no scaling; "fp16" is for older GPUs and scales the loss
            so that gradients stay in range. "auto" is bf16 with the masks objective where the device has it,
            fp32 otherwise.
        accumulate: passes in which a process takes its share of a batch: more need less memory.
        compile: have torch compile parts of the network: needs a C++ compiler, on a GPU Triton.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    accumulate: int = Field(default=1, ge=1)
    compile: bool = False


class MonitorConfig(Strict):
    """What can be watched while it goes on.

    Attributes:
        tensorboard: event files in the run's folder; "auto": where TensorBoard is installed.
        report: a page with curves and pictures, written anew at every validation.
    """

    tensorboard: Literal["auto", "on", "off"] = "auto"
    report: bool = True


class StreamConfig(BaseModel):
    """What differs when the run is exported under one name: fields of `[network]`, and

    Attributes:
        favour_vocals: in place of the release's.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    favour_vocals: float | None = Field(default=None, ge=-6.0, le=6.0)

    @property
    def network(self) -> dict[str, Any]:
        """The fields of `[network]`."""
        return dict(self.model_extra or {})


class FineTuneConfig(Strict):
    """From a finished model on; see `rtsep.training.fine_tuning`.

    `architecture` and `[network]` are the model's where they are left out.

    Attributes:
        model: a model's name or folder.
        mode: "last-layers" begins with its weights and trains only the last layers; "finetune" trains all of
            them; "retrain" begins anew, for comparison.
        layers: how many layers count as the last.
        parameters: names of what "last-layers" trains, with * and ?, in place of the architecture's own.
    """

    model: str = Field(min_length=1)
    mode: Literal["last-layers", "retrain", "finetune"] = "finetune"
    layers: int = Field(2, ge=1)
    parameters: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _parameters_are_for_last_layers(self) -> Self:
        if self.parameters and self.mode != "last-layers":
            raise ValueError(f"parameters are for mode 'last-layers', not '{self.mode}'")
        return self


class ReleaseConfig(Strict):
    """What is done to the trained weights before they ship.

    Attributes:
        favour_vocals: added to the vocals' logits before the softmax. A network that meets music unlike its
            training data doubts too often that what it hears is a voice. One more doubles, roughly, what
            the vocals' mask gets from where it is in doubt, and changes little where it is sure.
        average: steps whose checkpoints are kept and averaged, weight by weight, in place of one checkpoint.
            The mean of early and late weights can do better on other songs than either (M. Wortsman et al.,
            "Model soups", ICML 2022, arXiv:2203.05482).
        balance: examples of the training data on which `balance` of a network that has such is fitted; 0
            leaves it. A loss without a scale says nothing of how loud a stem should be.
        streams: what differs in `[network]` when the run is exported as a model of that name: a shorter
            window, a shorter hop. The weights must fit.
    """

    favour_vocals: float = Field(default=0.0, ge=-6.0, le=6.0)
    average: tuple[Step, ...] = ()
    balance: int = Field(default=0, ge=0)
    streams: dict[str, StreamConfig] = Field(default_factory=dict)


class TrainConfig(Strict):
    """One run: the network, its data, its schedule, and what ships."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    architecture: str = "causal-lstm"
    output: Path = Path("runs")
    start_from: Path | None = None
    fine_tune: FineTuneConfig | None = None
    network: dict[str, Any] = Field(default_factory=dict)
    data: DataConfig
    mix: MixConfig = MixConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig
    compute: ComputeConfig = ComputeConfig()
    monitor: MonitorConfig = MonitorConfig()
    release: ReleaseConfig = ReleaseConfig()

    @property
    def stems(self) -> tuple[str, ...]:
        """What the run's network tells apart: `stems` of `[network]` (Open-Unmix says `targets`)."""
        named = self.network.get("stems") or self.network.get("targets")
        # What is no list of names, the network's own configuration complains of.
        listed = isinstance(named, list | tuple) and all(isinstance(name, str) for name in named)
        return tuple(named) if named and listed else STEMS

    @property
    def begins_with(self) -> str | Path | None:
        """The model whose weights a new run begins with; None for fresh ones."""
        if self.fine_tune is not None:
            return None if self.fine_tune.mode == "retrain" else self.fine_tune.model
        return self.start_from

    @model_validator(mode="after")
    def _one_beginning(self) -> Self:
        if self.fine_tune is not None and self.start_from is not None:
            raise ValueError("start_from and [fine_tune] both say what to begin with; leave one out")
        return self

    @model_validator(mode="after")
    def _what_is_averaged_is_trained(self) -> Self:
        beyond = [step for step in self.release.average if step > self.optimiser.steps]
        if beyond:
            raise ValueError(f"release.average: there is no step {beyond[0]} in {self.optimiser.steps} steps")
        return self

    @field_validator("network")
    @classmethod
    def _finite(cls, network: dict[str, Any]) -> dict[str, Any]:
        for key, value in network.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{key} should be a finite number")
        return network

    @model_validator(mode="after")
    def _data_speak_of_the_stems(self) -> Self:
        stems = self.stems
        for stem in stems:
            # What files, options and OSC addresses can be called.
            if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", stem):
                raise ValueError(f"network.stems: '{stem}': take small letters, digits, hyphens")
        if stems == STEMS and self.data.includes:
            raise ValueError("data.includes is for other sets of stems; of these four say data.bass_in_other")
        for file, held in self.data.names.items():
            if held not in (*stems, *BESIDE_STEMS):
                known = ", ".join((*stems, *BESIDE_STEMS))
                raise ValueError(f"data.names: '{file}' cannot hold '{held}'; there are: {known}")
        for root, held_there in self.data.includes.items():
            for name in (n for stem, inner in held_there.items() for n in (stem, *inner)):
                if name not in stems:
                    raise ValueError(f"data.includes.{root}: '{name}' is none of {', '.join(stems)}")
        if stems != STEMS and self.data.bass_in_other:
            raise ValueError("data.bass_in_other is for the four stems; say data.includes")
        if stems != STEMS and self.mix.silent_source > 0.0:
            raise ValueError(f"mix.silent_source is for {', '.join(STEMS)}")
        return self


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
    _take_from_model(document, path)
    try:
        return TrainConfig.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise UsageError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from None


def _take_from_model(document: dict[str, Any], path: Path) -> None:
    """Fill in what a file that fine-tunes leaves to its model. What is no table, pydantic complains of."""
    table = document.get("fine_tune")
    if not isinstance(table, dict) or not isinstance(table.get("model"), str):
        return
    if "network" in document and "architecture" in document:
        return
    try:
        manifest = find_any(table["model"]).manifest
    except ModelError as error:
        raise UsageError(f"{path}: fine_tune.model: {error}") from None
    document.setdefault("architecture", manifest.architecture)
    document.setdefault("network", manifest.config)
