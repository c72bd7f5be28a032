"""What others have published of latency and SDR: reference marks, never rows of a table measured here.

Means over four stems of MUSDB18, as their authors state them; scored by other scorers on other data than what
`rtsep bench pareto` measures.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A system's own account of itself.

    Attributes:
        name: of the system.
        latency: algorithmic, ms; None for the whole song.
        sdr: mean over the four stems of MUSDB18, dB.
        source: where that is said.
    """

    name: str
    latency: float | None
    sdr: float
    source: str


PUBLISHED = (
    Published("StemgenRT", 2.9, 4.56, "its repository's README, on a panel of its own"),
    Published("causal X-UMX", 23.0, 3.93, "as compared in arXiv:2402.17701"),
    Published("HS-TasNet-Small", 23.0, 4.48, "arXiv:2402.17701"),
    Published("HS-TasNet", 23.0, 4.65, "arXiv:2402.17701"),
    Published("RT-STT", 23.0, 5.17, "arXiv:2511.13146"),
    Published("HS-TasNet, extra data", 23.0, 5.55, "arXiv:2402.17701"),
    Published("Online SCNet", 92.0, 7.09, "its paper"),
    Published("Band-SCNet", 92.0, 7.79, "its paper"),
    Published("distilled band-split GRU", 186.0, 3.79, "its paper"),
    Published("xumx-sliCQ-V2 realtime", 410.0, 4.07, "its repository; latency derived"),
    Published("Wave-U-Net", None, 3.2, "as compared in the repository of Demucs"),
    Published("Open-Unmix umx", None, 5.33, "its repository"),
    Published("Open-Unmix umxhq", None, 5.41, "its repository"),
    Published("Meta-TasNet", None, 5.52, "its paper"),
    Published("Conv-TasNet", None, 5.73, "as compared in the repository of Demucs"),
    Published("X-UMX", None, 5.79, "its repository"),
    Published("Spleeter", None, 5.9, "its paper"),
    Published("Demucs v2", None, 6.3, "its repository"),
    Published("Open-Unmix umxl", None, 6.32, "its repository"),
    Published("Demucs v3", None, 7.7, "its repository"),
    Published("BSRNN", None, 8.24, "its paper"),
    Published("HTDemucs ft", None, 9.0, "its repository"),
    Published("BS-RoFormer", None, 9.80, "arXiv:2309.02612"),
)
