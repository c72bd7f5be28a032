"""What takes pedalboard: stretching, transposing, MP3, an artificial room, a hard drive.

Every function takes and returns float32 (channels, samples), in time with its input. pedalboard is under the
GPL, version 3; nothing but these augmentations needs it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from rtsep.spec import UsageError
from rtsep.training.spectra import Audio, irfft, rfft

CODEC_LONGEST_DELAY = 4096
"""Samples within which a codec's delay is looked for; LAME's and a decoder's together are below 2300."""


def pedalboard():  # type: ignore[no-untyped-def]  # a module
    """The package. Raises UsageError where it is missing."""
    try:
        import pedalboard as package
    except ModuleNotFoundError:
        raise UsageError("these augmentations take pedalboard: pip install 'rtsep[augment]'") from None
    return package


def stretch(audio: Audio, rate: int, tempo: float, semitones: float, samples: int) -> Audio:
    """Play `tempo` times faster and transpose, each without the other; cut or padded to `samples`.

    Channels are stretched as one, so give the parts of a song together: they stay in time with each other. By
    Rubber Band's finer engine with a single short window, about as fast as its coarser one.
    """
    if audio.any():
        stretched = pedalboard().time_stretch(
            np.ascontiguousarray(audio),
            float(rate),
            stretch_factor=tempo,
            pitch_shift_in_semitones=semitones,
            high_quality=True,
            use_long_fft_window=False,
        )
    else:
        stretched = audio
    result = np.zeros((audio.shape[0], samples), np.float32)
    length = min(samples, stretched.shape[1])
    result[:, :length] = stretched[:, :length]
    return result


def compress(audio: Audio, rate: int, quality: float) -> Audio:
    """Through MP3 at a variable bit rate and back, its delay taken out.

    Args:
        audio: stereo.
        rate: Hz, one that MP3 knows: 8, 11.025, 12, 16, 22.05, 24, 32, 44.1 or 48 kHz.
        quality: LAME's, 0 the best to 9.9 the worst.

    Raises:
        UsageError: when MP3 does not know the rate.
    """
    peak = float(np.abs(audio).max(initial=0.0))
    if peak == 0.0:
        return audio
    delay = codec_delay(rate)
    # The codec clips above full scale and spends nothing on what is far below.
    padded = np.pad(audio * np.float32(0.5 / peak), ((0, 0), (0, delay)))
    coded = _mp3(padded, rate, quality)[:, delay : delay + audio.shape[1]]
    return np.ascontiguousarray(coded * np.float32(2.0 * peak))


@lru_cache(maxsize=8)
def codec_delay(rate: int) -> int:
    """Samples by which what comes out of the codec is late, by cross-correlation with noise.

    pedalboard takes most of it out by itself, as far as its release does.
    """
    noise = 0.1 * np.random.default_rng(0).standard_normal((2, 8 * CODEC_LONGEST_DELAY), np.float32)
    heard = _mp3(noise.astype(np.float32), rate, 2.0)
    length = 2 * noise.shape[1]
    correlation = irfft(rfft(heard, length) * np.conj(rfft(noise, length)), length).sum(axis=0)
    return int(np.argmax(correlation[:CODEC_LONGEST_DELAY]))


def reverberate(audio: Audio, rate: int, rng: np.random.Generator) -> Audio:
    """An artificial room of random size, damping, width and level around a sound that stays as it is."""
    room = pedalboard().Reverb(
        room_size=float(rng.uniform(0.1, 0.9)),
        damping=float(rng.uniform(0.0, 1.0)),
        wet_level=float(rng.uniform(0.05, 0.4)),
        dry_level=0.5,  # pedalboard doubles it
        width=float(rng.uniform(0.3, 1.0)),
    )
    wet: Audio = room(np.ascontiguousarray(audio), float(rate))
    return wet


def distort(audio: Audio, rate: int, drive_db: float) -> Audio:
    """Driven into a soft limit, then as strong as before."""
    energy = float(np.vdot(audio, audio))
    if energy == 0.0:
        return audio
    driven: Audio = pedalboard().Distortion(drive_db=drive_db)(np.ascontiguousarray(audio), float(rate))
    return driven * np.float32((energy / max(float(np.vdot(driven, driven)), 1e-12)) ** 0.5)


def _mp3(audio: Audio, rate: int, quality: float) -> Audio:
    try:
        coded: Audio = pedalboard().MP3Compressor(vbr_quality=quality)(
            np.ascontiguousarray(audio), float(rate)
        )
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"MP3 cannot be made at {rate} Hz: {str(error).splitlines()[0]}") from None
    return coded
