"""The step of a causal band-split network, compiled as a whole for one core.

The network is `rtsep.separators.band_split.BandSplit`; its weights are taken apart once, in the order in
which they are read. Its layers are in `rtsep.backends.fused_band_split_layers`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rtsep.backends import fused_band_split_layers as layers
from rtsep.backends.fused_arithmetic import ROWS
from rtsep.backends.fused_weights import Weights, require, room
from rtsep.dsp.bands import band_average, band_centres, band_interpolation
from rtsep.dsp.kernel import Floats, Integers
from rtsep.dsp.loudness import kept, mean_square, mean_square_scale
from rtsep.dsp.presence import weights_of_bands
from rtsep.dsp.windows import asymmetric_pair
from rtsep.separators.manifest import Manifest, parse
from rtsep.separators.presence import MEMORIES, Presence
from rtsep.spec import ModelError

_CONFIGURED = ("bandwidth", "linear_below", "wide_bands", "stereo", "dilation")


class _Block:
    """The weights of a layer along time and one along the groups: (inputs, outputs), biases joined."""

    def __init__(self, weights: Weights, prefix: str, width: int) -> None:
        def lstm(name: str, suffix: str = "") -> tuple[Floats, Floats, Floats]:
            again = weights.matrix(f"{prefix}.{name}.weight_hh_l0{suffix}", None, None)
            gates = 4 * again.shape[0]
            weights.expect(again.shape[1] == gates, f"{prefix}.{name}")
            into = weights.matrix(f"{prefix}.{name}.weight_ih_l0{suffix}", gates, width)
            biases = (weights.take(f"{prefix}.{name}.bias_{part}_l0{suffix}", gates) for part in ("ih", "hh"))
            return into, again, np.sum(list(biases), axis=0)

        into, again, bias = lstm("time")
        self.time = (np.concatenate((into, again)), bias)
        up, down = lstm("along"), lstm("along", "_reverse")
        weights.expect(up[1].shape == down[1].shape, f"{prefix}.along")
        self.along = (
            np.ascontiguousarray(np.concatenate((up[0], down[0]), axis=1)),
            np.concatenate((up[2], down[2])),
            np.stack((up[1], down[1])),
        )
        self.memory, self.units = again.shape[0], up[1].shape[0]
        self.time_norm, self.group_norm = (
            weights.norm(f"{prefix}.{name}_norm", width) for name in ("time", "group")
        )
        self.time_out = weights.linear(f"{prefix}.time_out", width, self.memory)
        self.group_out = weights.linear(f"{prefix}.group_out", width, 2 * self.units)


class _Favour:
    """How a stem is favoured while it is there."""

    def __init__(self, config: Any, manifest: Manifest, triangles: Floats, path: Path) -> None:
        assert manifest.window is not None
        presence = parse(Presence, config, path.parent / "manifest.json")
        if presence.stem not in manifest.spec.stems:
            raise ModelError(f"{path.parent}: the manifest's presence: {presence.stem} is none of the stems")
        self.stem = manifest.spec.stems.index(presence.stem)
        bin_hz = manifest.sample_rate / manifest.window.analysis
        self.weights = weights_of_bands(triangles, bin_hz, presence.low_hz, presence.high_hz)
        keep = [kept(manifest.hop, seconds, manifest.sample_rate) for seconds in presence.seconds]
        self.keep = np.array(keep, np.float32)
        self.logits, self.from_db, self.to_db = (
            np.float32(value) for value in (presence.logits, presence.from_db, presence.to_db)
        )


class BandSplitStep:
    """What all streams of a model share: weights, and which bins make a band."""

    def __init__(self, manifest: Manifest, path: Path) -> None:
        config, window = manifest.config, manifest.window
        require(config, _CONFIGURED, path)
        if window is None:
            raise ModelError(f"{path.parent}: the manifest's config lacks windows")
        weights = Weights(path)
        self.stems, self.channels = len(manifest.spec.stems), manifest.spec.channels
        self.dilation = int(config["dilation"])
        self.mid_side = self.channels == 2 and config["stereo"] == "mid-side"
        self.views = 4 if self.channels == 2 else 1
        self.bins = window.analysis // 2 + 1
        centres = band_centres(
            self.bins,
            manifest.spec.sample_rate / window.analysis,
            float(config["linear_below"]),
            float(config["bandwidth"]),
            int(config["wide_bands"]),
        )
        # The compiled layers check no index: every size is checked here.
        weight = weights.take("encoder_weight", None, None, None)
        self.groups, self.into, self.width = weight.shape
        self.encoder = weight, weights.take("encoder_bias", self.groups, self.width)
        self.group = self.into // self.views
        weights.expect(self.into == self.views * self.group > 0, "encoder_weight")
        weights.expect(self.groups == -(-len(centres) // self.group), "encoder_weight")
        self.mean, self.scale = (
            weights.take(f"input_{name}", self.views * len(centres)) for name in ("mean", "scale")
        )
        self.decoder_norm = weights.norm("decoder_norm", self.width)
        wide, self.decisions = 2 * self.width, self.stems * self.channels * self.group
        self.decoder = (
            weights.take("decoder_weight", self.groups, self.width, wide),
            weights.take("decoder_bias", self.groups, wide),
        )
        self.masks = (
            weights.take("mask_weight", self.groups, wide, self.decisions),
            weights.take("mask_bias", self.groups, self.decisions),
        )
        depth = len({name.split(".")[1] for name in weights.names if name.startswith("blocks.")})
        self.blocks = [_Block(weights, f"blocks.{layer}", self.width) for layer in range(depth)]
        weights.finish()
        level = config.get("level")
        self.target = np.float32(0.0 if level is None else mean_square(float(level)))
        seconds = float(config.get("level_seconds", 1.0))
        self.keep = np.float32(kept(manifest.hop, seconds, manifest.sample_rate))
        taken, _ = asymmetric_pair(window.analysis, window.synthesis, manifest.hop)
        self.mean_square = np.float32(mean_square_scale(taken))
        # The manifest's state has the phases first.
        shapes = {entry.shape for entry in manifest.state if entry.name not in ("level", "presence")}
        memories = {(self.dilation, depth, 1, self.groups, block.memory) for block in self.blocks}
        weights.expect(shapes == memories, "state")
        average = band_average(self.bins, centres).T / np.float32(window.analysis)
        self.first, self.count, self.shares = _runs(average)
        triangles = band_interpolation(self.bins, centres)
        self.below, self.low, self.high = _neighbours(triangles)
        there = config.get("presence")
        self.presence = None if there is None else _Favour(there, manifest, triangles, path)
        matrices = sum(
            block.time[0].size
            + block.time_out[0].size
            + block.along[0].size
            + block.along[2].size
            + block.group_out[0].size
            for block in self.blocks
        )
        self.multiplications = (
            self.groups * matrices
            + sum(weight.size for weight in (self.encoder[0], self.decoder[0], self.masks[0]))
            + self.views * len(self.shares)
            + 2 * self.bins * self.stems * self.channels
        )

    def stream(self) -> BandSplitStream:
        """A stream with a state of its own."""
        return BandSplitStream(self)


class BandSplitStream:
    """One stream: its state, and memory to work in."""

    def __init__(self, network: BandSplitStep) -> None:
        n = self._network = network
        rows = -(-n.groups // ROWS) * ROWS

        self._power, self._features = room(n.views, n.bins), room(rows, n.into)
        self._x, self._normal, self._added = (room(rows, n.width) for _ in range(3))
        self._levels = room(len(n.mean))
        self._hidden, self._logits = room(2 * n.width), room(n.decisions)
        self._spread = room(2, n.channels * n.group)
        self._masks = room(n.groups * n.group, n.stems * n.channels)
        self._blocks = [
            (
                block,
                # Of interleaved phases, each with a memory of its own, one a hop.
                [(room(rows, block.memory), room(rows, block.memory)) for _ in range(n.dilation)],
                (room(rows, n.width + block.memory), room(rows, 4 * block.memory)),
                (room(rows, 8 * block.units), room(rows, 2 * block.units), room(block.units)),
            )
            for block in n.blocks
        ]
        self._phase = 0
        self._loudness = room(2)
        self._presence = room(MEMORIES, 2)

    def step(self, bins: Floats, out: Floats) -> None:
        """(channels, bins, 2) to (stems, channels, bins, 2)."""
        n, x, added = self._network, self._x, self._added
        heard = bins.reshape(n.channels, -1)
        layers.listen(
            heard,
            n.first,
            n.count,
            n.shares,
            n.mean,
            n.scale,
            n.mean_square,
            n.target,
            n.keep,
            self._loudness,
            self._power,
            self._levels,
            self._features,
        )
        layers.encode(self._features, *n.encoder, x)
        for block, phases, for_time, for_groups in self._blocks:
            layers.along_time(
                x, *block.time_norm, *block.time, *block.time_out, *phases[self._phase], *for_time, added
            )
            layers.along_groups(
                x,
                n.groups,
                *block.group_norm,
                *block.along,
                *block.group_out,
                self._normal,
                *for_groups,
                added,
            )
        layers.decide(
            x,
            *n.decoder_norm,
            *n.decoder,
            *n.masks,
            self._normal,
            self._hidden,
            self._logits,
            self._spread,
            self._masks,
        )
        there = n.presence
        if there is not None:
            layers.favour_while_there(
                self._power,
                n.first,
                n.count,
                n.shares,
                there.weights,
                there.keep,
                n.channels,
                2 if n.mid_side else 0,
                there.stem,
                there.logits,
                there.from_db,
                there.to_db,
                self._presence,
                self._masks,
            )
        layers.apply_masks(
            heard, self._masks, n.below, n.low, n.high, n.mid_side, out.reshape(n.stems, n.channels, -1)
        )
        self._phase = (self._phase + 1) % n.dilation

    def reset(self) -> None:
        """Back to silence."""
        for _, phases, _, _ in self._blocks:
            for state in phases:
                for tensor in state:
                    tensor.fill(0.0)
        self._phase = 0
        self._loudness.fill(0.0)
        self._presence.fill(0.0)


def _runs(rows: Floats) -> tuple[Integers, Integers, Floats]:
    """Of each row what is not zero, which lies together: where it starts, how long it is, and all of it."""
    used = [np.flatnonzero(row) for row in rows]
    first = np.array([at[0] if at.size else 0 for at in used], np.int64)
    count = np.array([at[-1] - at[0] + 1 if at.size else 0 for at in used], np.int64)
    parts = [row[start : start + length] for row, start, length in zip(rows, first, count, strict=True)]
    return first, count, np.ascontiguousarray(np.concatenate(parts), np.float32)


def _neighbours(triangles: Floats) -> tuple[Integers, Floats, Floats]:
    """Of (bands, bins): for each bin the lower of its two bands, and the weights of both."""
    bands, bins = triangles.shape
    below = np.minimum(np.argmax(triangles > 0.0, axis=0), max(bands - 2, 0)).astype(np.int64)
    each = np.arange(bins)
    high = triangles[np.minimum(below + 1, bands - 1), each] if bands > 1 else np.zeros(bins)
    return below, triangles[below, each].astype(np.float32), np.asarray(high, np.float32)
