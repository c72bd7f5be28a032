"""From a run to a model that ships: the averaged weights, scored, exported, with a card beside them."""

from __future__ import annotations

from pathlib import Path

import torch

from rtsep.separators.registry import ModelPackage
from rtsep.spec import UsageError
from rtsep.training.config import TrainConfig
from rtsep.training.corpus import load_validation
from rtsep.training.export import export
from rtsep.training.loop import BEST, CHECKPOINT, Report, Trainer, validate

CARD = "README.md"


def release(config: TrainConfig, command: str, target: Path, about: str, report: Report) -> ModelPackage:
    """Export a run's best weights as the model `target`, and write its card.

    Args:
        config: the run's.
        command: the command line that trained it, for the card.
        target: the model's folder; its name is the model's. Replaced if it exists.
        about: what the card says of the data: sources and licences, Markdown.
        report: told what is being done.

    Raises:
        UsageError: when the run has not begun.
        ModelError: when the exported graph does not equal the network.
    """
    trainer = Trainer(config, report)
    checkpoint = BEST if (trainer.folder / BEST).exists() else CHECKPOINT
    if not (trainer.folder / checkpoint).exists():
        raise UsageError(f"nothing has been trained in {trainer.folder}")
    trainer.load(checkpoint)
    network = trainer.averaged()
    with torch.no_grad():
        biases = network.to_masks.bias.view(len(network.config.stems), -1)
        biases[network.config.stems.index("vocals")] += config.release.favour_vocals
    scores: dict[str, float] = {}
    tracks = load_validation(config.data, network.config.sample_rate)
    if tracks:
        report(f"scoring step {trainer.step} on {len(tracks)} validation tracks")
        scores = {name: round(score, 2) for name, score in validate(network, tracks).items()}
    minutes = trainer.seconds_spent / 60.0
    latency = 1000.0 * network.spec.algorithmic_latency / network.spec.sample_rate
    parameters = sum(p.numel() for p in network.parameters())
    package = export(
        network,
        target.parent,
        target.name,
        title=f"Causal LSTM, {latency:.0f} ms",
        description=f"Four stems from one causal LSTM of {parameters / 1e6:.1f} M parameters.",
        version="1",
        licence="MIT",
        scores=scores,
        training={
            "command": command,
            "steps": trainer.step,
            "minutes": round(minutes, 1),
            "batch": config.optimiser.batch,
            "seconds": config.optimiser.seconds,
            "favour_vocals": config.release.favour_vocals,
        },
        overwrite=True,
    )
    card = _card(package, command, trainer.step, minutes, about)
    (target / CARD).write_text(card, encoding="utf-8")
    return package


MEANING = {
    "vocals_sdr": "SDR of the vocals",
    "drums_sdr": "SDR of the drums",
    "bass_sdr": "SDR of the bass",
    "other_sdr": "SDR of the rest",
    "vocals_sdr_gain": "SDR of the vocals above the mixture's own",
    "vocal_attenuation": "how far muting attenuates the vocals",
    "damage": "what muting takes from seconds without vocals, against the mixture",
}


def _card(package: ModelPackage, command: str, steps: int, minutes: float, about: str) -> str:
    m = package.manifest
    milliseconds = 1000.0 * package.spec.algorithmic_latency / m.sample_rate
    rows = "\n".join(f"| {MEANING.get(name, name)} | {score:.2f} dB |" for name, score in m.scores.items())
    sizes = "\n".join(f"- {key} = {value}" for key, value in m.config.items())
    return f"""# {m.name}

{m.title}: {m.description}

Separates {m.channels}-channel audio at {m.sample_rate} Hz into {", ".join(m.stems)}. Algorithmic latency
{package.spec.algorithmic_latency} samples ({milliseconds:.1f} ms), hop {m.hop} samples. The masks sum to one,
so the stems sum to the mixture.

## Scores

On the validation song, which was never trained on (it was used to choose the checkpoint). Medians over the
one-second chunks in which the stem sounds.

| measure | |
|---|---|
{rows}

## Training

`{command}`: {steps} steps, {minutes:.0f} minutes on two CPU cores.

{about}

## Configuration

{sizes}
"""
