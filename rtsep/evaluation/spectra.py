"""The transform of oracles; the same that offline signal processing takes."""

from rtsep.dsp.spectra import BLOCK, Audio, Spectra, Transform

__all__ = ["BLOCK", "Audio", "Spectra", "Transform"]
