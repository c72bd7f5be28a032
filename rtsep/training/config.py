"""What a training run is made of: one TOML file, validated before anything starts."""

from __future__ import annotations

import math
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from rtsep.separators.registry import find_any
from rtsep.spec import STEMS, ModelError, UsageError

BESIDE_STEMS = ("accompaniment", "mixture")
"""What a sound file of a track may hold that is no stem; no stem can be called so, nor `rest`."""
Odds = Annotated[float, Field(ge=0.0, le=1.0)]
Level = Annotated[float, Field(ge=-80.0, le=0.0)]
Balance = Annotated[float, Field(ge=-60.0, le=60.0)]
Loudness = Annotated[float, Field(ge=-80.0, le=20.0)]
Step = Annotated[int, Field(ge=0)]
MUSDB = "musdb"
"""The word that stands for the musdb package's own choice of tracks to validate on."""


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"the range {list(value)} ends below its beginning")
    return value


class Strict(BaseModel):
    """A table of the file: unknown keys are mistakes, not wishes, and so are numbers without an end."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(Strict):
    """Where the sound comes from.

    Roots are called by their folder's name below, and by their path as it stands in `roots` where two share a
    name.

    Attributes:
        roots: folders whose sub-folders are tracks, one file a stem, or that hold MUSDB18 stem files.
        validation: a folder like them, never trained on.
        validation_tracks: tracks of the roots that are held out to validate on: names, or "musdb" for those
            that the musdb package sets apart.
        cache: where decoded tracks are kept, so that a resumed run starts at once.
        weights: how often each root is drawn from against the others; 1 by default.
        bass_in_other: roots whose tracks carry the bass line inside `other`: there the two are trained as
            one. For the four stems; other sets say the same in `includes`.
        includes: by root and stem, what else the stem's files there hold, such as
            `includes.musdb18.other = ["guitar", "piano"]`. There all of these are known as one.
        names: what files hold that are called otherwise: a stem, `accompaniment` or `mixture` by file name.
            Files that hold the same stem are summed.
        missing: by root, what stems are for which a track has no file: "silent", the default, or "unknown".
        mastered: roots whose `mixture` files are no plain sums: nothing is taken away from these.
        workers: processes that mix examples; 0 for none beside the training's own, "auto" for as many as
            there are cores.
        prefetch: batches that each worker keeps ready.
    """

    roots: tuple[Path, ...] = Field(min_length=1)
    validation: Path | None = None
    validation_tracks: Literal["musdb"] | tuple[str, ...] = ()
    cache: Path = Path("runs/cache")
    weights: dict[str, Annotated[float, Field(ge=0.0)]] = Field(default_factory=dict)
    bass_in_other: tuple[str, ...] = ()
    includes: dict[str, dict[str, tuple[str, ...]]] = Field(default_factory=dict)
    names: dict[str, str] = Field(default_factory=dict)
    missing: dict[str, Literal["silent", "unknown"]] = Field(default_factory=dict)
    mastered: tuple[str, ...] = ()
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = 1
    prefetch: int = Field(2, ge=1)

    @model_validator(mode="after")
    def _names_are_roots(self) -> Self:
        names = set(self.labels)
        told = (*self.weights, *self.bass_in_other, *self.includes, *self.missing, *self.mastered)
        for name in told:
            if name not in names:
                raise ValueError(f"'{name}' is the name of none of the roots: {', '.join(sorted(names))}")
        for name in self.mastered:
            if self.missing.get(name) != "unknown":
                raise ValueError(
                    f"the mixtures of '{name}' are not looked at unless missing.{name} is \"unknown\""
                )
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """What each root is called: its folder's name, or its path where several have that name."""
        names = [root.name for root in self.roots]
        return tuple(
            str(root) if names.count(name) > 1 else name for root, name in zip(self.roots, names, strict=True)
        )

    @property
    def processes(self) -> int:
        """Processes that mix examples beside the training's own."""
        if self.workers != "auto":
            return self.workers
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class MixConfig(Strict):
    """How examples are drawn: relative odds of each kind of example, and levels.

    Attributes:
        aligned: an excerpt as it was produced.
        over_backing: any voice over any backing, known as vocals against accompaniment.
        remixed: every stem from another track.
        instrumental, vocal: one of the two alone.
        guitars: share of the examples in which a synthesised guitar joins the backing.
        synths: share of those in which a synthesiser does, or plays in the place of `other`.
        silent_source: a stem over an excerpt in which that stem is known to be silent, whatever else sounds
            there (see `silence.py`).
        silence_db: the level, against its track's, below which a source counts as silent there.
        procedure: how parts become a mixture: "levels", drawn from the two ranges below, or one of the four
            of `procedures.py`, which keep the parts' own.
        vocal_db: range of the vocal's level against the backing's.
        level_db: range of the whole mixture's level against full scale.
    """

    aligned: float = Field(default=0.25, ge=0.0)
    over_backing: float = Field(default=0.35, ge=0.0)
    remixed: float = Field(default=0.2, ge=0.0)
    instrumental: float = Field(default=0.14, ge=0.0)
    vocal: float = Field(default=0.06, ge=0.0)
    guitars: float = Field(default=0.0, ge=0.0, le=1.0)
    synths: float = Field(default=0.0, ge=0.0, le=1.0)
    silent_source: float = Field(default=0.0, ge=0.0)
    silence_db: float = Field(default=-40.0, le=-20.0)
    procedure: Literal["levels", "sum", "average", "scale", "adaptive"] = "levels"
    vocal_db: tuple[Balance, Balance] = (-10.0, 6.0)
    level_db: tuple[Loudness, Loudness] = (-32.0, -12.0)

    _ranges = field_validator("vocal_db", "level_db")(_ascending)


class AugmentConfig(Strict):
    """What is done to excerpts beside what every kind of example brings: odds of each, and its range.

    Odds are 0 unless said otherwise, and what is off draws nothing: examples stay what they were.

    Attributes:
        pitch: odds that an excerpt is transposed; its tempo stays. All parts of a track move together, drums
            that are known apart do not.
        pitch_semitones: range.
        deep_voices: odds that a voice that is mixed over other music is played slower and as much lower, its
            formants too: few training sets have deep voices, and electronic music makes its own.
        deep_octaves: range of how much lower.
        tempo: odds that an excerpt is played faster or slower; its pitch stays.
        tempo_factor: range; above 1 is faster.
        codec: odds, for every part, of going through MP3.
        codec_quality: range of LAME's variable bit rate, 0 the best (about 245 kbit/s) to 9.9 the worst (65).
        reverb: odds, for every part, of an artificial room.
        distortion: odds, for every part but drums, of a hard drive.
        mono: odds that all of an example is one channel of itself, on both sides.
        drop: odds, for every part, of falling silent; one at least sounds on.
        lead_in: odds that an example begins with silence, as every set does: a network that has only ever
            been switched on in the middle of music takes what ends a silence for a voice.
        lead_in_seconds: range of its length.
        bleed: odds that an example sounds as if every part had been heard by the others' microphones too; see
            `rtsep.evaluation.live_conditions`. What is heard of a part remains part of it.
        bleed_db: range of the level of what each of them hears.
        crowd: odds of a crowd, which belongs to the stem `crowd` or, where there is none, `other`.
        crowd_db: range of its level against the mixture's.
        crowd_noise: folder of recordings of crowds; made by rtsep where none is named.
    """

    pitch: Odds = 0.0
    pitch_semitones: tuple[Annotated[float, Field(ge=-12.0)], Annotated[float, Field(le=12.0)]] = (-2.0, 2.0)
    deep_voices: Odds = 0.0
    deep_octaves: tuple[Annotated[float, Field(ge=0.0)], Annotated[float, Field(le=2.0)]] = (0.3, 1.0)
    tempo: Odds = 0.0
    tempo_factor: tuple[Annotated[float, Field(ge=0.5)], Annotated[float, Field(le=2.0)]] = (0.88, 1.12)
    codec: Odds = 0.0
    codec_quality: tuple[Annotated[float, Field(ge=0.0)], Annotated[float, Field(le=9.9)]] = (2.0, 9.0)
    reverb: Odds = 0.0
    distortion: Odds = 0.0
    mono: Odds = 0.0
    drop: Odds = 0.0
    lead_in: Odds = 0.0
    lead_in_seconds: tuple[Annotated[float, Field(ge=0.0)], Annotated[float, Field(le=60.0)]] = (0.3, 2.5)
    bleed: Odds = 0.0
    bleed_db: tuple[Level, Level] = (-30.0, -12.0)
    crowd: Odds = 0.0
    crowd_db: tuple[Level, Level] = (-35.0, -12.0)
    crowd_noise: Path | None = None

    _ranges = field_validator(
        "pitch_semitones",
        "deep_octaves",
        "tempo_factor",
        "codec_quality",
        "lead_in_seconds",
        "bleed_db",
        "crowd_db",
    )(_ascending)

    @property
    def needs_pedalboard(self) -> bool:
        """Whether any of these odds takes the pedalboard package."""
        return max(self.pitch, self.tempo, self.codec, self.reverb, self.distortion) > 0.0


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
    l1: float = Field(default=0.0, ge=0.0)
    mse: float = Field(default=0.0, ge=0.0)
    magnitude: float = Field(default=0.0, ge=0.0)
    magnitude_l1: float = Field(default=0.0, ge=0.0)
    dual: float = Field(default=0.0, ge=0.0)
    si_sdr: float = Field(default=0.0, ge=0.0)
    mr_stft: float = Field(default=0.0, ge=0.0)
    complex: float = Field(default=0.0, ge=0.0)
    compressed: float = Field(default=0.0, ge=0.0)
    consistency: float = Field(default=0.0, ge=0.0)
    silence: float = Field(default=0.0, ge=0.0)
    vocals: float = Field(default=1.0, gt=0.0)
    scale_free: float = Field(default=0.0, ge=0.0, le=1.0)
    silent_parts: float = Field(default=0.0, ge=0.0)

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
