"""Published weights that can be asked for by name: where they lie, what they must be, under which licence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Remote:
    """A file on a server.

    Attributes:
        url: where.
        sha256: its SHA-256 in hexadecimal, or as many of the first digits as the publisher gives; empty
            where none are given, and then the user has to know it.
    """

    url: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Published:
    """A published model.

    Attributes:
        layout: what its files are: Open-Unmix's state dicts, one a target; the Cadenza project's; or the
            demucs package's, one a network.
        title, description: for people.
        licence: of the weights: SPDX identifier, or a sentence.
        terms: what the licence asks for, in a sentence.
        page: where its publisher describes it.
        files: the files by target; a network for all stems at once is a single file, by "". Those of a bag of
            networks are numbered in its order.
        config: what the publisher's own code builds the network with, where the weights do not show it; of a
            bag its weights, and how much it hears at once.
    """

    layout: Literal["open-unmix", "cadenza", "demucs"]
    title: str
    description: str
    licence: str
    terms: str
    page: str
    files: dict[str, Remote]
    config: dict[str, Any] | None = None


def _open_unmix(record: int, prefixes: dict[str, str]) -> dict[str, Remote]:
    # The names carry the first eight digits of the SHA-256, the convention of torch.hub.
    return {
        target: Remote(f"https://zenodo.org/records/{record}/files/{target}-{prefix}.pth", prefix)
        for target, prefix in prefixes.items()
    }


def _demucs(root: str, *names: str) -> dict[str, Remote]:
    # <signature>-<first eight digits of the SHA-256>.th, as the package's own list has them.
    return {
        str(index): Remote(f"https://dl.fbaipublicfiles.com/demucs/{root}/{name}.th", name.partition("-")[2])
        for index, name in enumerate(names)
    }


_DEMUCS_PAGE = "https://github.com/facebookresearch/demucs"
_DEMUCS_LICENCE = "MIT (the demucs package's)"
_PACKAGE = "MIT (the openunmix package's)"
_TERMS = "The package says nothing of these weights alone: read their page. Notices have to stay."

PUBLISHED: dict[str, Published] = {
    "umx": Published(
        layout="open-unmix",
        title="Open-Unmix, MUSDB18",
        description="Bidirectional LSTM for each of four stems with a Wiener filter; offline reference.",
        licence=_PACKAGE,
        terms=_TERMS,
        page="https://zenodo.org/records/3370486",
        files=_open_unmix(
            3370486,
            {"vocals": "c8df74a5", "drums": "5a48008b", "bass": "646024d3", "other": "f8e132cc"},
        ),
    ),
    "umxhq": Published(
        layout="open-unmix",
        title="Open-Unmix HQ, MUSDB18-HQ",
        description="Bidirectional LSTM for each of four stems with a Wiener filter; offline reference.",
        licence=_PACKAGE,
        terms=_TERMS,
        page="https://zenodo.org/records/3370489",
        files=_open_unmix(
            3370489,
            {"vocals": "b62c91ce", "drums": "9619578f", "bass": "8d85a5bd", "other": "b52fbbf7"},
        ),
    ),
    "umxl": Published(
        layout="open-unmix",
        title="Open-Unmix L, private data",
        description="The larger Open-Unmix, trained on more music than MUSDB18 has; offline reference.",
        licence="CC-BY-NC-SA-4.0",
        terms="Not for commercial use; name the authors; share what you make of it under the same licence.",
        page="https://zenodo.org/records/5069601",
        files=_open_unmix(
            5069601,
            {"vocals": "bccbd9aa", "drums": "69e0ebd4", "bass": "2ca1ce51", "other": "c8c5b3e6"},
        ),
    ),
    "cadenza-convtasnet": Published(
        layout="cadenza",
        title="Cadenza causal Conv-TasNet, MUSDB18-HQ",
        description="Causal Conv-TasNet for vocals and accompaniment, baseline of the challenge CAD2.",
        licence="Apache-2.0",
        terms="Free for any use; licence and notices have to stay, changes have to be said.",
        page="https://huggingface.co/cadenzachallenge/ConvTasNet_LyricsSeparation_Causal",
        files={
            "": Remote(
                "https://huggingface.co/cadenzachallenge/ConvTasNet_LyricsSeparation_Causal"
                "/resolve/main/model.safetensors",
                "",
            )
        },
        # As the model's card lists it.
        config={
            "N": 256, "L": 20, "B": 256, "H": 512, "P": 3, "X": 10, "R": 4, "C": 2,
            "audio_channels": 2, "samplerate": 44100,
            "norm_type": "cLN", "causal": True, "mask_nonlinear": "relu",
        },
    ),
    "htdemucs": Published(
        layout="demucs",
        title="Hybrid Transformer Demucs",
        description="Waveform and spectrogram with a transformer between; four stems; offline reference.",
        licence=_DEMUCS_LICENCE,
        terms=_TERMS,
        page=_DEMUCS_PAGE,
        files=_demucs("hybrid_transformer", "955717e8-8726e21a"),
    ),
    "htdemucs_ft": Published(
        layout="demucs",
        title="Hybrid Transformer Demucs, fine-tuned for each stem",
        description="Four networks, one a stem: four times the work of htdemucs; offline reference.",
        licence=_DEMUCS_LICENCE,
        terms=_TERMS,
        page=_DEMUCS_PAGE,
        files=_demucs(
            "hybrid_transformer",
            "f7e0c4bc-ba3fe64a", "d12395a8-e57c48e6", "92cfc3b6-ef3bcb9c", "04573f0d-f3cf25b2",
        ),
        # One network a stem.
        config={"weights": [[float(row == column) for column in range(4)] for row in range(4)]},
    ),
    "htdemucs_6s": Published(
        layout="demucs",
        title="Hybrid Transformer Demucs, six stems",
        description="With guitar and piano beside the four; its authors call it experimental; offline.",
        licence=_DEMUCS_LICENCE,
        terms=_TERMS,
        page=_DEMUCS_PAGE,
        files=_demucs("hybrid_transformer", "5c90dfd2-34c22ccb"),
    ),
    "hdemucs_mmi": Published(
        layout="demucs",
        title="Hybrid Demucs, MUSDB and 800 songs",
        description="Waveform and spectrogram side by side; four stems; offline reference.",
        licence=_DEMUCS_LICENCE,
        terms=_TERMS,
        page=_DEMUCS_PAGE,
        files=_demucs("hybrid_transformer", "75fc33f5-1941ce65"),
        config={"segment": 44.0},
    ),
}  # fmt: skip
"""By the name that `rtsep models add` takes. Open-Unmix's addresses and digits, and the licence of umxl, are
those that the openunmix package 1.3.0 gives, Demucs' those that the demucs package 4.0.1 gives; the
Conv-TasNet's licence and sizes are those of its card."""
