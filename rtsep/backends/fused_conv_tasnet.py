"""The step of a causal Conv-TasNet, compiled as a whole for one core.

The network is `rtsep.separators.conv_tasnet.ConvTasNet`; its weights are stacked once, in the order in which
they are read. Its layers are in `rtsep.backends.fused_conv_tasnet_layers`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rtsep.backends import fused_conv_tasnet_layers as layers
from rtsep.backends.fused_weights import Weights, require, room
from rtsep.dsp.cumulative import horizon
from rtsep.dsp.kernel import Floats
from rtsep.separators.manifest import Manifest

_CONFIGURED = ("window", "kernel", "blocks", "repeats", "norm_seconds")


class ConvTasNetStep:
    """What all streams of a model share: its weights.

    Args:
        manifest: the model's.
        path: its weights.

    Attributes:
        multiplications: multiply-accumulates of a stream's step.

    Raises:
        ModelError: when the weights cannot be loaded or are not the ones the manifest describes.
    """

    def __init__(self, manifest: Manifest, path: Path) -> None:
        config, spec = manifest.config, manifest.spec
        require(config, _CONFIGURED, path)
        weights = Weights(path)
        self.stems, self.channels, self.hop = len(spec.stems), spec.channels, spec.hop
        window, taps = int(config["window"]), int(config["kernel"])
        self.stride = window // 2
        # The compiled layers check no index: every size is checked here.
        weights.expect(window % 2 == 0 and self.stride > 0 and self.hop % self.stride == 0, "encoder.weight")
        self.rows = self.hop // self.stride
        self.horizon = np.float32(horizon(float(config["norm_seconds"]), spec.sample_rate, self.stride))
        samples = self.channels * window
        self.encoder = weights.matrix("encoder.weight", None, samples)
        self.filters = self.encoder.shape[1]
        bottleneck = weights.matrix("bottleneck.weight", None, self.filters)
        self.width = bottleneck.shape[1]
        self.bottleneck = bottleneck, weights.take("bottleneck.bias", self.width)
        count = int(config["blocks"]) * int(config["repeats"])
        weights.expect(count > 0 and taps > 1, "blocks.0.taps")
        self.hidden = weights.take("blocks.0.taps", taps, None, keep=True).shape[1]
        masks = weights.matrix("masks.weight", self.stems * self.filters, None)
        self.skip = masks.shape[0]
        self.masks = masks, weights.take("masks.bias", self.stems * self.filters)
        self.masks_slope = weights.take("masks_prelu.weight", 1)[0]
        self.decoder = weights.matrix("decoder.weight", samples, self.filters)

        both = self.width + self.skip
        expand, taken, project, slopes = [], [], [], []
        for index in range(count):
            name = f"blocks.{index}"
            expand.append(weights.linear(f"{name}.expand", self.hidden, self.width))
            kept = (weights.take(f"{name}.{of}_prelu.weight", 1) for of in ("expand", "depth"))
            slopes.append(np.concatenate(list(kept)))
            taken.append(
                (
                    weights.take(f"{name}.taps", taps, self.hidden),
                    weights.take(f"{name}.taps_bias", self.hidden),
                )
            )
            # The last block hands nothing on.
            last = index == count - 1
            weight, bias = weights.linear(f"{name}.project", self.skip if last else both, self.hidden)
            none = both - len(bias)
            project.append((np.pad(weight, ((0, 0), (none, 0))), np.pad(bias, (none, 0))))
        weights.finish()
        self.slopes = np.stack(slopes)
        self.expand, self.taps, self.project = _stacked(expand), _stacked(taken), _stacked(project)
        self.dilations = np.array([2 ** (index % int(config["blocks"])) for index in range(count)], np.int64)
        # Sizes alone do not tell which blocks look how far back.
        pasts = [entry.shape[1:] for entry in manifest.state if entry.name.startswith("past.")]
        weights.expect(pasts == [((taps - 1) * step, self.hidden) for step in self.dilations], "state")
        lengths = (taps - 1) * self.dilations + 1
        self.starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        balance = config.get("balance") or np.eye(self.stems)
        self.balance = np.ascontiguousarray(balance, np.float32)
        weights.expect(self.balance.shape == (self.stems, self.stems), "balance")
        self.zeros = np.zeros(max(self.filters, samples), np.float32)
        matrices = self.encoder.size + bottleneck.size + masks.size + self.stems * self.decoder.size
        blocks = self.expand[0].size + self.taps[0].size + self.project[0].size - self.hidden * self.width
        self.multiplications = self.rows * (matrices + blocks)

    def stream(self) -> ConvTasNetStream:
        """A stream with a state of its own."""
        return ConvTasNetStream(self)


class ConvTasNetStream:
    """One stream: its state, and memory to work in."""

    def __init__(self, network: ConvTasNetStep) -> None:
        n = self._network = network
        rows, blocks = n.rows, len(n.dilations)

        self._mix = room(n.channels, (rows + 1) * n.stride)
        self._overlap = room(n.stems, n.channels * n.stride)
        self._first_norm, self._norms = room(2), room(blocks, 2, 2)
        self._past = room(int(n.starts[-1]), n.hidden)
        self._heads = np.zeros(blocks, np.int64)
        self._seen = np.float32(0.0)
        samples = 2 * n.channels * n.stride
        self._frames, self._features, self._normal = (
            room(rows, columns) for columns in (samples, n.filters, n.filters)
        )
        self._x, self._wide, self._convolved = (room(rows, size) for size in (n.width, n.hidden, n.hidden))
        self._both, self._skips = room(rows, n.width + n.skip), room(rows, n.skip)
        self._logits = room(rows, n.stems * n.filters)
        self._masked, self._pieces = room(rows * n.stems, n.filters), room(rows * n.stems, samples)
        self._laid = room(n.stems + 1, n.stride)
        self._no_features, self._no_samples = n.zeros[: n.filters], n.zeros[:samples]

    def step(self, hop: Floats, out: Floats) -> None:
        """(channels, hop) to (stems, channels, hop), a stride late."""
        n = self._network
        layers.encode(
            hop,
            self._mix,
            n.encoder,
            self._no_features,
            *n.bottleneck,
            self._first_norm,
            self._seen,
            n.horizon,
            self._frames,
            self._features,
            self._normal,
            self._x,
        )
        layers.remember(
            self._x,
            *n.expand,
            n.slopes,
            *n.taps,
            *n.project,
            self._norms,
            self._seen,
            n.horizon,
            self._past,
            n.starts,
            n.dilations,
            self._heads,
            self._wide,
            self._convolved,
            self._both,
            self._skips,
        )
        layers.decode(
            self._mix,
            self._features,
            self._skips,
            n.masks_slope,
            *n.masks,
            n.decoder,
            self._no_samples,
            n.balance,
            self._overlap,
            self._logits,
            self._masked,
            self._pieces,
            self._laid,
            out,
        )
        self._seen = min(self._seen + np.float32(n.rows), n.horizon)

    def reset(self) -> None:
        """Back to silence."""
        for tensor in (self._mix, self._overlap, self._first_norm, self._norms, self._past):
            tensor.fill(0.0)
        self._heads.fill(0)
        self._seen = np.float32(0.0)


def _stacked(pairs: list[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Weights and biases of all blocks, a block's behind the other's."""
    weights, biases = (np.ascontiguousarray(np.stack(part)) for part in zip(*pairs, strict=True))
    return weights, biases
