"""Gather instrumental music from Debian's game packages, as accompaniments to train on.

    python scripts/game_music.py games
    python scripts/game_music.py held-out --held-out

Free games carry hours of finished productions of many hands and styles, nearly all without a voice: what a
network needs to hear to know what is not one. The music of other games is kept apart, to measure on. All is
from Debian's main archive, so under free licences (GPL, CC BY, CC BY-SA, CC0 and others, by the piece); each
package's copyright file, which names authors and licences, is laid beside its tracks. Packages are
downloaded, never installed.

Writes `DIR/<package>/<track>/accompaniment.<suffix>`. Takes a Debian or a system built on it.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import soundfile

PACKAGES = (
    "0ad-data",
    "asc-music",
    "btanks-data",
    "colobot-common-sounds",
    "extremetuxracer-data",
    "flare-game",
    "freedroidrpg-data",
    "fretsonfire-songs-muldjord",
    "fretsonfire-songs-sectoid",
    "frozen-bubble-data",
    "hedgewars-data",
    "hyperrogue-music",
    "lincity-ng-data",
    "marsshooter-data",
    "megaglest-data",
    "naev-data",
    "nexuiz-music",
    "pinball-data",
    "redeclipse-data",
    "singularity-music",
    "starfighter-data",
    "supertux-data",
    "supertuxkart-data",
    "ufoai-music",
    "unknown-horizons",
    "warmux-data",
    "warzone2100-music",
    "wesnoth-1.16-music",
    "zaz-data",
)
"""What is trained on; of Debian 12."""
HELD_OUT = (
    "amoebax-data",
    "drascula-music",
    "fillets-ng-data",
    "gunroar-data",
    "mu-cade-data",
    "planetblupi-music-ogg",
    "powermanga-data",
    "titanion-data",
    "torus-trooper-data",
    "widelands-data",
)
"""What is never trained on: by other musicians than those above."""
KEPT = (".ogg", ".mp3", ".flac", ".wav")
"""Suffixes that a corpus is read by; `.opus` is written anew as FLAC."""
ARCHIVES = (".pk3", ".zip")
LEAST_SECONDS = 40.0
"""What is shorter is a sound, a jingle or a loop."""
NOT_MUSIC = re.compile(
    r"(^|/)(sounds?|sfx|ambient|ambience|environment|weather|water|dayscape|building)/[^/]*$"
    r"|[^/]*(speech|airport|radio|locomotive|_fast)[^/]*$"
    r"|(^|/)(rain|wind)[^/]*$",
    re.IGNORECASE,
)
"""Folders of sounds, unless there is one of music in them, and names of what is none."""
SUNG = frozenset({"nunc_dimittis"})
"""Tracks with a choir in front."""


class GatheringError(Exception):
    """Something a person can put right, in one line."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the tracks go")
    parser.add_argument(
        "--debs", type=Path, help="take the packages that lie in this folder; nothing is downloaded"
    )
    parser.add_argument("--held-out", action="store_true", help="the games that no model of rtsep has heard")
    options = parser.parse_args(arguments)
    names = HELD_OUT if options.held_out else PACKAGES
    try:
        with tempfile.TemporaryDirectory() as scratch:
            found = packages(names, options.debs, Path(scratch))
            seconds = sum(gather(deb, options.folder, Path(scratch)) for deb in found)
    except (GatheringError, OSError) as error:
        print(f"game_music: {error}", file=sys.stderr)
        return 1
    print(f"{seconds / 3600.0:.1f} h of music in {options.folder}")
    return 0


def packages(names: tuple[str, ...], debs: Path | None, scratch: Path) -> Iterator[Path]:
    """Package files: those in `debs`, or else, by name, downloaded ones, gone when the next is asked for.

    Raises:
        GatheringError: no package there, no apt, or a download that fails.
    """
    if debs is not None:
        found = sorted(debs.glob("*.deb"))
        if not found:
            raise GatheringError(f"no package (*.deb) in {debs}")
        yield from found
        return
    if shutil.which("apt-get") is None:
        raise GatheringError(
            "no apt-get here: run it on Debian, or lay its packages in a folder and name that with --debs"
        )
    for name in names:
        got = subprocess.run(["apt-get", "download", "-q", name], cwd=scratch, capture_output=True, text=True)
        if got.returncode != 0:
            said = (got.stderr.strip().splitlines() or ["apt-get gave no reason"])[-1]
            raise GatheringError(f"cannot download {name}: {said}")
        for deb in scratch.glob("*.deb"):
            yield deb
            deb.unlink()


def gather(deb: Path, folder: Path, scratch: Path) -> float:
    """Lay a package's music below `folder`. Returns its length in seconds.

    Raises:
        GatheringError: a package that cannot be unpacked.
    """
    name = deb.name.split("_")[0]
    with tempfile.TemporaryDirectory(dir=scratch) as unpacked:
        inside = Path(unpacked)
        got = subprocess.run(["dpkg-deb", "-x", str(deb), str(inside)], capture_output=True, text=True)
        if got.returncode != 0:
            raise GatheringError(f"cannot unpack {deb}: {got.stderr.strip()}")
        for archive in [f for f in inside.rglob("*") if f.suffix in ARCHIVES and zipfile.is_zipfile(f)]:
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(archive.with_name(archive.name + ".unpacked"))
        seconds, known = 0.0, set[str]()
        for file in sorted(inside.rglob("*")):
            length = music(file, inside)
            if length == 0.0:
                continue
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            if content not in known:
                known.add(content)
                lay(file, folder / name / f"{len(known):03d}-{file.stem}")
                seconds += length
        for copyright_file in inside.glob(f"usr/share/doc/{name}/copyright"):
            if known:
                shutil.copyfile(copyright_file, folder / name / "copyright")
    print(f"{name}: {len(known)} tracks, {seconds / 60.0:.0f} min", flush=True)
    return seconds


def music(file: Path, root: Path) -> float:
    """Length in seconds of a file that is a piece of music, else 0."""
    if file.suffix.lower() not in (*KEPT, ".opus") or file.is_symlink() or file.stem in SUNG:
        return 0.0
    if NOT_MUSIC.search(str(file.relative_to(root))):
        return 0.0
    try:
        facts = soundfile.info(str(file))
    except soundfile.LibsndfileError:
        return 0.0
    return float(facts.duration) if facts.duration >= LEAST_SECONDS else 0.0


def lay(file: Path, track: Path) -> None:
    """Copy a piece to its track's folder, in a format that a corpus is read by; whole or not at all."""
    track.mkdir(parents=True, exist_ok=True)
    as_it_is = file.suffix.lower() in KEPT
    target = track / f"accompaniment{file.suffix.lower() if as_it_is else '.flac'}"
    partial = target.with_name(f"partial{target.suffix}")
    if as_it_is:
        shutil.copyfile(file, partial)
    else:
        audio, rate = soundfile.read(str(file), dtype="float32")
        soundfile.write(str(partial), audio, rate)
    partial.replace(target)


if __name__ == "__main__":
    sys.exit(main())
