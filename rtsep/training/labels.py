"""Which parts of a track are known, and which stems each is the sum of."""

from __future__ import annotations

from rtsep.spec import STEMS
from rtsep.training.corpus import ACCOMPANIMENT, REST, Track, backing
from rtsep.training.corpus import VOCALS as VOICE

VOCALS, DRUMS, BASS, OTHER = range(4)
Group = tuple[int, ...]
"""Stems that a part is the sum of, by their place in the set of stems (below: in STEMS)."""
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
    if track.classes != STEMS:
        return _of_any_set(track)
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


def _of_any_set(track: Track) -> list[Label]:
    """As `labels_of`, for whatever stems are told apart and with whatever is included in which file."""
    place = {name: index for index, name in enumerate(track.classes)}
    behind = backing(track.classes)
    labels: list[Label] = [((place[n],), (n,)) for n in track.classes if n in track.stems]
    if ACCOMPANIMENT in track.stems:
        # Beside it a part of it would count twice; `corpus` leaves none where stems may be unknown.
        labels = [label for label in labels if label[1] == (VOICE,)]
        labels.append((tuple(place[n] for n in behind), (ACCOMPANIMENT,)))
    if REST in track.stems:
        labels.append((tuple(place[n] for n in track.rest), (REST,)))
    for stem, inner in track.includes.items():
        if stem in track.stems and ACCOMPANIMENT not in track.stems:
            together = {place[stem], *(place[n] for n in inner)}
            met = [label for label in labels if together & set(label[0])]
            group = tuple(sorted(together.union(*(g for g, _ in met))))
            names = tuple(name for _, found in met for name in found)
            first = labels.index(met[0])
            labels = [label for label in labels if label not in met]
            labels.insert(first, (group, names))
    if track.unknown:
        return labels
    known = {s for group, _ in labels for s in group}
    return labels + [((s,), ()) for s in range(len(track.classes)) if s not in known]


def knows_backing(track: Track, bass_in_other: bool) -> bool:
    """Whether all but the vocals are known without a voice among them, alone or in groups.

    Of the four stems, drums stand for a whole backing. Of another set, two stems of a backing do: one alone
    may be a recording of an instrument, and says nothing of what plays beside it.
    """
    if track.classes != STEMS:
        everything = {s for s, name in enumerate(track.classes) if name != VOICE}
        behind = [(group, names) for group, names in labels_of(track, False) if set(group) <= everything]
        heard = [name for _, names in behind for name in names]
        enough = len(heard) > 1 or ACCOMPANIMENT in heard
        return enough and {s for group, _ in behind for s in group} == everything
    if not track.unknown:
        return ACCOMPANIMENT in track.stems or "drums" in track.stems
    inner = [group for group, _ in labels_of(track, bass_in_other) if group != (VOCALS,)]
    return {s for group in inner for s in group} == set(BACKING)


def place_of(stems: tuple[str, ...], name: str) -> int:
    """Where a stem stands; -1, which no group has, where there is none."""
    return stems.index(name) if name in stems else -1
