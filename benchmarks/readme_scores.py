"""Writes the shipped models' figures from their manifests into README.md, so that no one types them.

python -m benchmarks.readme_scores            # write
python -m benchmarks.readme_scores --check    # exit code 1 if README.md says something else
"""

from __future__ import annotations

import sys
from pathlib import Path

from rtsep.separators.registry import DEFAULT_MODEL, AnyPackage, ModelPackage, read_package
from rtsep.spec import ModelError

ROOT = Path(__file__).parents[1]
BEGIN = "<!-- scores: written by python -m benchmarks.readme_scores -->\n"
END = "<!-- end of scores -->\n"

MEANING = {
    "vocals_sdr": "vocals, SDR",
    "drums_sdr": "drums, SDR",
    "bass_sdr": "bass, SDR",
    "other_sdr": "other, SDR",
    "vocals_sdr_gain": "vocals, SDR above the mixture's own",
    "vocal_attenuation": "vocals when muted: attenuation",
    "damage": "music without vocals when vocals are muted: what is taken from it",
}


def describe(root: Path) -> str:
    """The part of the README between the marks, for a folder of models: the default one first."""
    packages = [read_package(folder) for folder in sorted(root.iterdir()) if folder.is_dir()]
    packages.sort(key=_rank)
    if not packages:
        return "No model is in this checkout yet.\n"
    lines = []
    for package in packages:
        m = package.manifest
        if isinstance(package, ModelPackage):
            spec = package.spec
            milliseconds = 1000.0 * spec.algorithmic_latency / spec.sample_rate
            runs = (
                f"Algorithmic latency {spec.algorithmic_latency} samples ({milliseconds:.1f} ms),"
                f" hop {spec.hop}, graph {package.files.onnx.bytes / 1e6:.1f} MB"
            )
        else:
            runs = "For files only: it hears what is still to come"
        lines.append(f"- `{m.name}`: {m.description} {runs}, licence {m.licence}.")
    lines += ["", "On the validation song, which was not trained on:", ""]
    lines += [
        f"| measure | {' | '.join(f'`{package.name}`' for package in packages)} |",
        "|---|" + "---|" * len(packages),
    ]
    for name, meaning in MEANING.items():
        scores = [package.manifest.scores.get(name) for package in packages]
        cells = ("not measured" if score is None else f"{score:.1f} dB" for score in scores)
        lines.append(f"| {meaning} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _rank(package: AnyPackage) -> tuple[int, str]:
    """The default model, the other causal ones, then those for files."""
    if package.name == DEFAULT_MODEL:
        return (0, "")
    return (1 if isinstance(package, ModelPackage) else 2, package.name)


def fill(readme: str, text: str) -> str:
    """The README with `text` between the marks."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or not after:
        raise ModelError("README.md has lost the marks around the scores")
    return before + BEGIN + text + END + after


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    path = ROOT / "README.md"
    now = path.read_text(encoding="utf-8")
    wanted = fill(now, describe(ROOT / "models"))
    if arguments == ["--check"]:
        return int(now != wanted)
    path.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
