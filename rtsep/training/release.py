"""From a run to a model that ships: the averaged weights, scored, exported, with a card beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rtsep.separators.mask_network import masks_of
from rtsep.separators.offline_network import OfflineNetwork
from rtsep.separators.registry import AnyPackage, ModelPackage
from rtsep.spec import UsageError
from rtsep.training.balance import fit_balance
from rtsep.training.checkpoints import BEST, CHECKPOINT
from rtsep.training.config import StreamConfig, TrainConfig
from rtsep.training.corpus import load_validation
from rtsep.training.export import export, export_offline
from rtsep.training.loop import Report, Trainer, validate
from rtsep.training.placing import check_place

CARD = "README.md"


def release(config: TrainConfig, command: str, target: Path, about: str, report: Report) -> AnyPackage:
    """Export a run's best weights as the model `target`, and write its card.

    Args:
        config: the run's.
        command: the command line that trained it, for the card.
        target: the model's folder; its name is the model's, and that of one of the run's streams if it has
            such. A model that is there is replaced.
        about: what the card says of the data: sources and licences, Markdown.
        report: told what is being done.

    Raises:
        UsageError: when the run has not begun, or no model can be called so.
        ModelError: when something that is no model is in the way, or the exported graph does not equal the
            network.
    """
    check_place(target.parent, target.name, overwrite=True)
    trainer = Trainer(config, report)
    checkpoint = BEST if (trainer.folder / BEST).exists() else CHECKPOINT
    if config.release.average:
        trainer.take_average(config.release.average)
    elif (trainer.folder / checkpoint).exists():
        trainer.load(checkpoint)
    else:
        raise UsageError(f"nothing has been trained in {trainer.folder}")
    stream = config.release.streams.get(target.name, StreamConfig())
    network = trainer.averaged(stream.network)
    if config.release.balance:
        if "balance" not in type(network.config).model_fields:
            raise UsageError(f"[release] balance: {config.architecture} has no balance to fit")
        report(f"balancing the stems on {config.release.balance} examples")
        unbalanced = trainer.averaged(stream.network | {"balance": ()})
        rows = fit_balance(unbalanced, trainer.examples(config.release.balance))
        network = trainer.averaged(stream.network | {"balance": rows})
    favour = config.release.favour_vocals if stream.favour_vocals is None else stream.favour_vocals
    if favour:
        masks = masks_of(network)
        if masks is None:
            raise UsageError("[release] favour_vocals: only a network that decides masks can be in doubt")
        if "vocals" not in network.spec.stems:
            raise UsageError("[release] favour_vocals: vocals are none of the stems")
        masks.favour("vocals", favour)
    spec = network.spec
    scores: dict[str, float] = {}
    tracks = load_validation(config.data, spec.sample_rate, spec.stems)
    if tracks:
        report(f"scoring step {trainer.step} on {len(tracks)} validation tracks")
        found = validate(network, tracks, trainer.device)
        scores = {name: round(score, 2) for name, score in found.items()}
    minutes = trainer.seconds_spent / 60.0
    parameters = sum(p.numel() for p in network.parameters())
    kind = KINDS.get(config.architecture, config.architecture)
    if isinstance(network, OfflineNetwork):
        kind = network.title
    count = _count(len(spec.stems))
    about_it: dict[str, Any] = {
        "description": f"{count} stems from one {kind} of {parameters / 1e6:.1f} M parameters.",
        "version": "1",
        "licence": "MIT",
        "scores": scores,
        "training": {
            "command": command,
            "steps": trainer.step,
            "minutes": round(minutes, 1),
            "batch": config.optimiser.batch,
            "seconds": config.optimiser.seconds,
            "favour_vocals": favour,
            "average": list(config.release.average),
        },
        "overwrite": True,
    }
    title = kind[0].upper() + kind[1:]
    package: AnyPackage
    if isinstance(network, OfflineNetwork):
        package = export_offline(network, target.parent, target.name, title=f"{title}, offline", **about_it)
    else:
        milliseconds = 1000.0 * network.spec.algorithmic_latency / spec.sample_rate
        about_it["title"] = f"{title}, {milliseconds:.0f} ms"
        package = export(network, target.parent, target.name, **about_it)
    card = _card(package, command, minutes, about)
    (target / CARD).write_text(card, encoding="utf-8")
    return package


KINDS = {
    "band-split": "causal band-split RNN",
    "causal-lstm": "causal LSTM",
    "conv-tasnet": "causal Conv-TasNet",
    "cadenza-tasnet": "causal Conv-TasNet of the Cadenza challenges",
    "hs-tasnet": "HS-TasNet",
}
"""Causal architectures, as people call them; offline networks know their own titles."""


MEANING = {
    "vocals_sdr": "SDR of the vocals",
    "drums_sdr": "SDR of the drums",
    "bass_sdr": "SDR of the bass",
    "other_sdr": "SDR of the rest",
    "vocals_sdr_gain": "SDR of the vocals above the mixture's own",
    "vocal_attenuation": "how far muting attenuates the vocals",
    "damage": "what muting takes from seconds without vocals, against the mixture",
}


def _count(stems: int) -> str:
    return {2: "Two", 3: "Three", 4: "Four", 5: "Five", 6: "Six", 7: "Seven", 8: "Eight"}.get(
        stems, str(stems)
    )


def _list(steps: list[int]) -> str:
    *first, last = map(str, sorted(steps))
    return f"{', '.join(first)} and {last}" if first else last


def _meaning(score: str) -> str:
    """What a figure is, for the card."""
    stem = score.removesuffix("_sdr")
    return MEANING.get(score, f"SDR of the {stem}" if stem != score else score)


def _card(package: AnyPackage, command: str, minutes: float, about: str) -> str:
    m = package.manifest
    averaged = m.training["average"]
    of = f" What ships is the mean of the weights after {_list(averaged)} steps." if averaged else ""
    if isinstance(package, ModelPackage):
        latency = package.spec.algorithmic_latency
        timing = (
            f"Algorithmic latency {latency} samples ({1000.0 * latency / m.sample_rate:.1f} ms),"
            f" hop {package.spec.hop} samples."
        )
    else:
        timing = "It needs the whole song, or a long piece of it, at once: not for live sound."
    rows = "\n".join(f"| {_meaning(name)} | {score:.2f} dB |" for name, score in m.scores.items())
    sizes = "\n".join(f"- {key} = {value}" for key, value in m.config.items())
    sums = SUMS.get(m.architecture, "")
    return f"""# {m.name}

{m.title}: {m.description}

Separates {m.channels}-channel audio at {m.sample_rate} Hz into {", ".join(m.stems)}. {timing}
{sums}

## Scores

On the validation songs, which were never trained on (they were used to choose the checkpoint). Medians over
the one-second chunks in which the stem sounds.

| measure | |
|---|---|
{rows}

## Training

`{command}`: {m.training["steps"]} steps, {minutes:.0f} minutes.{of}

{about}

## Configuration

{sizes}
"""


SUMS = {
    "band-split": "The masks sum to one, so the stems sum to the mixture.",
    "causal-lstm": "The masks sum to one, so the stems sum to the mixture.",
    "conv-tasnet": "What the stems lack of the mixture is shared out, so they sum to it.",
    "hs-tasnet": "What the stems lack of the mixture is shared out, so they sum to it.",
}
"""What is sure of the sum of the stems."""
