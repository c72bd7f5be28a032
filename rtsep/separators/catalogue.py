"""The architectures that exist, and how to rebuild a trained network from a model folder. Imports torch."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, cast

from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from rtsep.separators.network import CausalNetwork
from rtsep.separators.offline_network import OfflineNetwork
from rtsep.separators.registry import AnyPackage, ModelPackage, OfflinePackage
from rtsep.spec import ModelError


class _Entry(NamedTuple):
    module: str
    network: str
    config: str


_ARCHITECTURES: dict[str, _Entry] = {
    "band-split": _Entry("rtsep.separators.band_split", "BandSplit", "BandSplitConfig"),
    "causal-lstm": _Entry("rtsep.separators.causal_lstm", "CausalLSTM", "CausalLSTMConfig"),
    "cadenza-tasnet": _Entry("rtsep.separators.cadenza_tasnet", "CadenzaTasNet", "CadenzaTasNetConfig"),
    "conv-tasnet": _Entry("rtsep.separators.conv_tasnet", "ConvTasNet", "ConvTasNetConfig"),
    "hs-tasnet": _Entry("rtsep.separators.hs_tasnet", "HSTasNet", "HSTasNetConfig"),
}
_OFFLINE: dict[str, _Entry] = {
    "band-split-offline": _Entry(
        "rtsep.separators.band_split_offline", "BandSplitOffline", "BandSplitConfig"
    ),
    "conv-tasnet-offline": _Entry(
        "rtsep.separators.offline_conv_tasnet", "OfflineConvTasNet", "OfflineConvTasNetConfig"
    ),
    "umx-reference": _Entry("rtsep.separators.open_unmix", "OpenUnmix", "OpenUnmixConfig"),
    "umx-variant": _Entry(
        "rtsep.separators.open_unmix_variants", "OpenUnmixVariant", "OpenUnmixVariantConfig"
    ),
    "umx-waveform": _Entry(
        "rtsep.separators.open_unmix_waveform", "WaveformOpenUnmix", "WaveformOpenUnmixConfig"
    ),
    "demucs": _Entry("rtsep.separators.demucs", "Demucs", "DemucsConfig"),
    "demucs-package": _Entry("rtsep.separators.demucs_package", "DemucsPackage", "DemucsPackageConfig"),
    "demucs-2d": _Entry("rtsep.separators.demucs_2d", "Demucs2D", "Demucs2DConfig"),
    "meta-tasnet": _Entry("rtsep.separators.meta_tasnet", "MetaTasNet", "MetaTasNetConfig"),
    "spleeter": _Entry("rtsep.separators.spleeter", "Spleeter", "SpleeterConfig"),
    "spleeter-1d": _Entry("rtsep.separators.spleeter", "Spleeter1D", "Spleeter1DConfig"),
    "stack-u-net": _Entry("rtsep.separators.stack_u_net", "StackUNet", "StackUNetConfig"),
    "wave-u-net": _Entry("rtsep.separators.wave_u_net", "WaveUNet", "WaveUNetConfig"),
    "wave-u-net-2d": _Entry("rtsep.separators.wave_u_net", "WaveUNet2D", "WaveUNet2DConfig"),
}


def architectures() -> list[str]:
    """Names that `build` takes, sorted."""
    return sorted(_ARCHITECTURES)


def build(architecture: str, config: dict[str, Any]) -> CausalNetwork:
    """A network with fresh weights, in evaluation mode, on the CPU.

    Args:
        architecture: one of `architectures`.
        config: fields of its config class; those left out take their defaults.

    Raises:
        ModelError: when there is no such architecture, or the config is not one of its.
    """
    entry = _ARCHITECTURES.get(architecture)
    if entry is None:
        raise ModelError(
            f"no architecture is called '{architecture}'; there are: {', '.join(architectures())}"
        )
    module = import_module(entry.module)
    config_class: type[BaseModel] = getattr(module, entry.config)
    parsed = _config(config_class, architecture, config)
    network: CausalNetwork = getattr(module, entry.network)(parsed)
    return network.eval()


def all_architectures() -> list[str]:
    """Names that `classes` takes, sorted: those of `architectures`, and the offline ones."""
    return sorted(_ARCHITECTURES | _OFFLINE)


def classes(architecture: str) -> tuple[type[nn.Module], type[BaseModel]]:
    """The network's class and that of its config, which its constructor takes.

    Raises:
        ModelError: when there is no such architecture, causal or offline.
    """
    entry = (_ARCHITECTURES | _OFFLINE).get(architecture)
    if entry is None:
        raise ModelError(
            f"no architecture is called '{architecture}'; there are: {', '.join(all_architectures())}"
        )
    module = import_module(entry.module)
    return getattr(module, entry.network), getattr(module, entry.config)


def load_any(package: AnyPackage) -> CausalNetwork | OfflineNetwork:
    """The network of a model folder of either kind; see `load_weights` and `load_offline`."""
    return load_weights(package) if isinstance(package, ModelPackage) else load_offline(package)


def load_weights(package: ModelPackage) -> CausalNetwork:
    """The trained network of a model folder, in evaluation mode, on the CPU.

    Raises:
        ModelError: when the weights cannot be read, do not fit the network that the manifest describes,
            or that network's stream is not the manifest's.
    """
    manifest = package.manifest
    network = build(manifest.architecture, manifest.config)
    if network.domain != manifest.domain or network.spec != manifest.spec:
        raise ModelError(
            f"{package.root}: the manifest says {manifest.domain} {manifest.spec}, "
            f"its config makes {network.domain} {network.spec}"
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in network.init_state().items()}
    if shapes != {entry.name: entry.shape for entry in manifest.state}:
        raise ModelError(f"{package.root}: the manifest's state is not that of its config")
    _load_into(network, package.weights)
    return network


def load_offline(package: OfflinePackage) -> OfflineNetwork:
    """The network of an offline model's folder, in evaluation mode, on the CPU.

    Raises:
        ModelError: when there is no such architecture, the weights cannot be read or do not fit the network
            that the manifest describes, or that network's stems are not the manifest's.
    """
    manifest = package.manifest
    if manifest.architecture not in _OFFLINE:
        raise ModelError(
            f"{package.root}: no offline architecture is called '{manifest.architecture}'; "
            f"there are: {', '.join(sorted(_OFFLINE))}"
        )
    network_class, config_class = classes(manifest.architecture)
    parsed = _config(config_class, manifest.architecture, manifest.config)
    network = cast(OfflineNetwork, network_class(parsed)).eval()
    if network.spec != manifest.spec:
        raise ModelError(
            f"{package.root}: the manifest says {manifest.spec}, its config makes {network.spec}"
        )
    _load_into(network, package.weights)
    return network


def _config(config_class: type[BaseModel], architecture: str, config: dict[str, Any]) -> Any:
    try:
        return config_class.model_validate(config)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{architecture}: config field '{field}': {first['msg']}") from None


def _load_into(network: nn.Module, file: Path) -> None:
    """Fill a network from a safetensors file that has exactly its weights."""
    try:
        weights: dict[str, Tensor] = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file}: cannot be loaded: {error}") from None
    wanted = network.state_dict()
    for name, tensor in wanted.items():
        if name not in weights:
            raise ModelError(f"{file}: has no '{name}', which the network needs")
        if weights[name].shape != tensor.shape or weights[name].dtype != tensor.dtype:
            raise ModelError(
                f"{file}: '{name}' is {weights[name].dtype} {list(weights[name].shape)}, "
                f"the network needs {tensor.dtype} {list(tensor.shape)}"
            )
    for name in weights.keys() - wanted.keys():
        raise ModelError(f"{file}: has '{name}', which the network does not know")
    network.load_state_dict(weights)
