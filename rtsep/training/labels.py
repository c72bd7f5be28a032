"""Which parts of a track are known, and which stems each is the sum of."""

from __future__ import annotations

from rtsep.spec import STEMS
from rtsep.training.corpus import ACCOMPANIMENT, REST, Track

VOCALS, DRUMS, BASS, OTHER = range(4)
Group = tuple[int, ...]
"""Stems that a part is the sum of, by their place in STEMS."""
BACKING: Group = (DRUMS, BASS, OTHER)
EVERYTHING: Group = (VOCALS, *BACKING)

Label = tuple[Group, tuple[str, ...]]
"""A group, and the names in `Track.stems` that sum to it; none where it is silent."""


def labels_of(track: Track, bass_in_other: bool) -> list[Label]:
    """The known parts of a track. No two share a stem; if the track is whole, they are all there is.

    Args:
        track: of any kind.
        bass_in_other: whether its bass line lies within its `other`, so that neither is known alone.
    """
    if track.unknown:
        return _found(track, bass_in_other)
    labels: list[Label] = []
    if "vocals" in track.stems:
        labels.append(((VOCALS,), ("vocals",)))
    if ACCOMPANIMENT in track.stems:
        return [*labels, (BACKING, (ACCOMPANIMENT,))]
    if "drums" in track.stems:
        labels.append(((DRUMS,), ("drums",)))
    if bass_in_other:
        return [*labels, ((BASS, OTHER), tuple(n for n in ("bass", "other") if n in track.stems))]
    # A stem that is missing beside others is silent, and that too is known.
    return labels + [((s,), (STEMS[s],) if STEMS[s] in track.stems else ()) for s in (BASS, OTHER)]


def _found(track: Track, bass_in_other: bool) -> list[Label]:
    """Only what there are sounds for."""
    labels: list[Label] = [((s,), (n,)) for s, n in enumerate(STEMS) if n in track.stems]
    if ACCOMPANIMENT in track.stems:
        labels.append((BACKING, (ACCOMPANIMENT,)))
    if REST in track.stems:
        labels.append((tuple(STEMS.index(name) for name in track.rest), (REST,)))
    if not bass_in_other:
        return labels
    apart = [label for label in labels if not {BASS, OTHER} & set(label[0])]
    low = [label for label in labels if {BASS, OTHER} & set(label[0])]
    if not low:
        return apart
    group = tuple(sorted({BASS, OTHER}.union(*(g for g, _ in low))))
    return [*apart, (group, tuple(name for _, names in low for name in names))]


def knows_backing(track: Track, bass_in_other: bool) -> bool:
    """Whether drums, bass and other are known without a voice among them, alone or in groups."""
    if not track.unknown:
        return ACCOMPANIMENT in track.stems or "drums" in track.stems
    inner = [group for group, _ in labels_of(track, bass_in_other) if group != (VOCALS,)]
    return {s for group in inner for s in group} == set(BACKING)
