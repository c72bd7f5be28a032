"""Peers load beside a torch that their compiled helpers were not built for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PACKAGE = """
from pathlib import Path
raise OSError("Could not load this library: it is another torch's")
"""


def python(code: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    """Run in a process of its own: what is imported here stays imported."""
    before = f"import sys; sys.path[:0] = {[str(path) for path in paths]!r}\n"
    return subprocess.run([sys.executable, "-c", before + code], capture_output=True, text=True, timeout=120)


def test_torchaudio_makes_spectrograms_whether_or_not_its_library_loads() -> None:
    done = python(
        "from rtsep.bench.stand_ins import load_torchaudio\n"
        "load_torchaudio()\n"
        "import torch, torchaudio\n"
        "x = torch.randn(2, 4000)\n"
        "heard = torchaudio.transforms.Spectrogram(n_fft=512, hop_length=128, power=1.0)(x)\n"
        "window = torch.hann_window(512)\n"
        "own = torch.stft(x, 512, 128, window=window, return_complex=True).abs()\n"
        "assert torch.allclose(heard, own, atol=1e-4)\n"
        "import demucs.htdemucs\n"
    )
    assert done.returncode == 0, done.stderr


def test_a_library_that_fails_to_load_leaves_nothing_behind(tmp_path: Path) -> None:
    """A torchaudio whose extension raises as torch's loader does, and a torchcodec that raises at once."""
    for name, body in {
        "torchaudio/__init__.py": "import torchaudio._extension\nfrom torchaudio import transforms\n",
        "torchaudio/_extension.py": PACKAGE,
        "torchaudio/transforms.py": "from torchaudio._extension import fail_if_no_align\nreal = True\n",
        "torchcodec/__init__.py": PACKAGE,
        "torchcodec/encoders.py": "",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(body)
    done = python(
        "from rtsep.bench.stand_ins import load_torchaudio, load_torchcodec\n"
        "load_torchaudio()\n"
        "load_torchcodec()\n"
        "import torchaudio, torchcodec\n"
        "from torchcodec.encoders import AudioEncoder\n"
        "assert torchaudio.transforms.real and AudioEncoder is None\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_what_is_not_there_at_all_is_said(tmp_path: Path) -> None:
    done = python(
        "sys.modules['torchaudio'] = None\n"
        "from rtsep.bench.stand_ins import load_torchaudio\n"
        "sys.path = [p for p in sys.path if 'site-packages' not in p]\n"
        "try:\n    load_torchaudio()\n"
        "except ImportError as error:\n    print(error)\n",
    )
    assert "torchaudio" in done.stdout, done.stderr
