"""From a training file to a fresh network, and from a network to stems."""

from __future__ import annotations

from typing import cast

import torch
from pydantic import ValidationError
from torch import Tensor

from rtsep.separators.catalogue import classes, load_any
from rtsep.separators.mask_network import MaskNetwork
from rtsep.separators.network import CausalNetwork
from rtsep.separators.open_unmix import OpenUnmix
from rtsep.separators.registry import read_package
from rtsep.spec import STEMS, ModelError, UsageError
from rtsep.training.config import TrainConfig
from rtsep.training.objective import Autocast, MaskObjective, Objective, WaveformObjective

TrainableNetwork = CausalNetwork | OpenUnmix
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
    if network.spec.channels != 2 or network.spec.stems != STEMS:
        raise UsageError(f"[network] only stereo networks for {', '.join(STEMS)} can be trained so far")
    if isinstance(network, MaskNetwork):
        network.dropout = config.optimiser.dropout
    elif config.optimiser.dropout:
        raise UsageError(f"[optimiser] dropout: {config.architecture} has none")
    return network.train()


def decides_masks(config: TrainConfig, network: TrainableNetwork) -> bool:
    """Whether the run's objective is that of masks.

    Raises:
        UsageError: when it is asked for and the network decides none.
    """
    masks = isinstance(network, MaskNetwork)
    if config.loss.objective == "masks" and not masks:
        raise UsageError(f"[loss] objective: {config.architecture} decides no masks; it learns by 'waveform'")
    if config.loss.objective == "auto":
        return masks and not config.loss.terms()
    return config.loss.objective == "masks"


def make_objective(
    config: TrainConfig, network: TrainableNetwork, autocast: Autocast
) -> Objective[object]:
    """What the run learns by; see `decides_masks`."""
    if decides_masks(config, network):
        assert isinstance(network, MaskNetwork)
        return cast(Objective[object], MaskObjective(network, autocast))
    terms = config.loss.terms() or {"l1": 1.0}
    rate = network.spec.sample_rate
    return cast(Objective[object], WaveformObjective(terms, config.loss.vocals, rate, autocast))


def take_weights(network: TrainableNetwork, config: TrainConfig) -> None:
    """Begin with a finished model of the same configuration, `start_from`. Raises ModelError, UsageError."""
    assert config.start_from is not None
    model = load_any(read_package(config.start_from))
    if type(model) is not type(network) or model.config != network.config:
        raise UsageError(f"{config.start_from} is not of this run's [network]; it cannot start from there")
    network.load_state_dict(model.state_dict())


@torch.no_grad()
def separate(network: TrainableNetwork, mix: Tensor) -> Tensor:
    """Stems of a whole song as it will be heard: (channels, samples) to (stems, channels, samples)."""
    # Open-Unmix filters a song as a whole and takes one at a time.
    stems: Tensor = network(mix) if isinstance(network, OpenUnmix) else network(mix[None])[0]
    return stems
