"""From a training file to a fresh network, and from a network to stems."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from rtsep.engine.chunks import ChunkedFeed
from rtsep.separators.band_split import BandSplit
from rtsep.separators.band_split_offline import BandSplitOffline
from rtsep.separators.catalogue import classes, load_any
from rtsep.separators.mask_network import MaskNetwork, masks_of
from rtsep.separators.network import CausalNetwork
from rtsep.separators.offline_network import OfflineNetwork
from rtsep.separators.registry import find_any, read_package
from rtsep.spec import STEMS, ModelError, UsageError
from rtsep.training.config import BESIDE_STEMS, TrainConfig
from rtsep.training.corpus import REST
from rtsep.training.objective import Autocast, MaskObjective, Objective, WaveformObjective

PIECE_SECONDS, PAST_SECONDS = 30.0, 15.0
"""What a waveform network hears of a song at once when it is scored, and what it hears before that."""

TrainableNetwork = CausalNetwork | OfflineNetwork
"""What can be trained: whatever the catalogue has."""


def make_network(config: TrainConfig) -> TrainableNetwork:
    """A network with fresh weights, in training mode.

    Raises:
        UsageError: when there is no such architecture, its [network] table cannot be, or its streams or
            its dropout are not what training knows.
    """
    try:
        network_class, config_class = classes(config.architecture)
    except ModelError as error:
        raise UsageError(f"architecture: {error}") from None
    try:
        sizes = config_class.model_validate(config.network)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"[network] {where}: {first['msg']}") from None
    network = cast(TrainableNetwork, network_class(sizes))
    if network.spec.channels != 2:
        raise UsageError("[network] only stereo networks can be trained so far")
    stems = network.spec.stems
    if len(stems) < 2 or (taken := sorted({*BESIDE_STEMS, REST} & set(stems))):
        told = f"'{taken[0]}' is what others add up to" if len(stems) > 1 else "there must be two at least"
        raise UsageError(f"[network] stems: {told}; name those to tell apart, such as {', '.join(STEMS)}")
    masks = masks_of(network)
    if masks is not None:
        masks.dropout = config.optimiser.dropout
    elif config.optimiser.dropout:
        raise UsageError(f"[optimiser] dropout: {config.architecture} has none")
    return network.train()


def decides_masks(config: TrainConfig, network: TrainableNetwork) -> bool:
    """Whether the run's objective is that of masks.

    Raises:
        UsageError: when it is asked for and the network decides none.
    """
    masks = masks_of(network) is not None
    if config.loss.objective == "masks" and not masks:
        raise UsageError(f"[loss] objective: {config.architecture} decides no masks; it learns by 'waveform'")
    if config.loss.objective == "auto":
        return masks and not config.loss.terms()
    return config.loss.objective == "masks"


def make_objective(config: TrainConfig, network: TrainableNetwork, autocast: Autocast) -> Objective[object]:
    """What the run learns by; see `decides_masks`."""
    if decides_masks(config, network):
        masks = masks_of(network)
        assert masks is not None
        return cast(
            Objective[object],
            MaskObjective(
                masks,
                autocast,
                config.optimiser.windows,
                config.loss.scale_free,
                config.loss.silent_parts,
            ),
        )
    terms = config.loss.terms() or {"l1": 1.0}
    rate, stems = network.spec.sample_rate, network.spec.stems
    return cast(Objective[object], WaveformObjective(terms, config.loss.vocals, rate, autocast, stems))


def take_weights(network: TrainableNetwork, config: TrainConfig) -> None:
    """Begin with a finished model, `begins_with`, of the same configuration; or grow from a causal one.

    Raises:
        ModelError: when it cannot be read, or nothing can grow from it.
        UsageError: when it is another kind of network.
    """
    first = config.begins_with
    assert first is not None
    package = read_package(first) if isinstance(first, Path) else find_any(first)
    if package.built_in:
        raise UsageError(f"{first} is built in: it has no weights to begin with")
    model = load_any(package)
    if isinstance(network, BandSplitOffline) and isinstance(model, BandSplit):
        network.grow(model)
        return
    # How stems are balanced follows the weights; it is none of their sizes.
    sizes, wanted = (one.config.model_dump(exclude={"balance"}) for one in (model, network))
    if type(model) is not type(network) or sizes != wanted:
        raise UsageError(f"{first} is not of this run's [network]; it cannot start from there")
    network.load_state_dict(model.state_dict())


@torch.no_grad()
def separate(network: TrainableNetwork, mix: Tensor) -> Tensor:
    """Stems of a whole song: (channels, samples) to (stems, channels, samples).

    Offline networks hear it in the chunks in which `rtsep separate` gives it to them. Causal networks with
    frames of a millisecond have millions of them in a song: these hear it in pieces, each after so much of
    its past that what lies before that hardly matters.
    """
    if isinstance(network, OfflineNetwork):
        feed = ChunkedFeed(_Chunks(network, mix.device))
        song = np.ascontiguousarray(mix.cpu().numpy(), dtype=np.float32)
        return torch.from_numpy(np.concatenate([feed.push(song), feed.finish()], axis=-1)).to(mix.device)
    if isinstance(network, MaskNetwork):
        return network.separate(mix[None])[0]
    spec = network.spec
    # In whole hops, so that frames lie where they lie in the song.
    piece, past = (
        round(seconds * spec.sample_rate / spec.hop) * spec.hop for seconds in (PIECE_SECONDS, PAST_SECONDS)
    )
    pieces = []
    for start in range(0, mix.shape[-1], piece):
        before = min(start, past)
        # What reaches a piece's last samples is still to come by the network's latency.
        heard = network(mix[None, :, start - before : start + piece + spec.algorithmic_latency])[0]
        pieces.append(heard[..., before : before + piece])
    return torch.cat(pieces, dim=-1)


class _Chunks:
    """An offline network that is still being trained, as `ChunkedFeed` takes a finished one."""

    def __init__(self, network: OfflineNetwork, device: torch.device) -> None:
        self.spec = network.spec
        self.chunk = round(network.chunk_seconds * network.spec.sample_rate)
        self.overlap = round(network.overlap_seconds * network.spec.sample_rate)
        self._network = network
        self._device = device

    def separate(self, mix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Stems of one chunk."""
        stems: Tensor = self._network(torch.from_numpy(mix).to(self._device))
        result: NDArray[np.float32] = stems.cpu().numpy()
        return result

    def close(self) -> None:
        """Nothing to let go of: the network is the run's."""
        return
