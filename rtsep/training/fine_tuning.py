"""From a finished model on: which of its weights a run begins with, and which of them it may change.

The three ways of A. Mocanu, "Musical source separation", master's thesis, EPFL, 2020, section 6.2, for live
music, where there is little to train on: "tl" trains the last two fully-connected layers of a model that has
learnt from studio recordings, "retrain" begins anew, "finetune" trains all of the model on.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from rtsep.spec import UsageError
from rtsep.training.config import FineTuneConfig

_OPEN_UNMIX = (
    ("targets.*.fc3.*", "targets.*.bn3.*", "targets.*.output_*"),
    ("targets.*.fc2.*", "targets.*.bn2.*"),
)
_SPLEETER = (("networks.*.last.*",), ("networks.*.up_norms.{last}.*", "networks.*.up.{last}.*"))
_WAVE_U_NET = (("layers.last.*",), ("layers.up.{last}.*",))

LAST_LAYERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "band-split": (("mask_*",), ("decoder_*",)),
    "causal-lstm": (("to_masks.*",), ("decoder.*", "decoder_norm.*")),
    "conv-tasnet": (("decoder.*",), ("masks.*", "masks_prelu.*")),
    "cadenza-tasnet": (("decoder.*",), ("masks.*",)),
    "hs-tasnet": (("decoder.*", "spectrum_masks.*", "waveform_masks.*"), ("*_recall.*",)),
    "umx-reference": _OPEN_UNMIX,
    "umx-variant": _OPEN_UNMIX,
    "umx-waveform": (("networks.*.out.*",), ("networks.*.up.{last}.*",)),
    "band-split-offline": (("masks.mask_*",), ("masks.decoder_*",)),
    "conv-tasnet-offline": (("masks.*", "masks_prelu.*"), ("blocks.{last}.*",)),
    "demucs": (("decoder.{last}.2.*",), ("decoder.{last}.0.*",)),
    "demucs-2d": (("layers.decoder.{last}.2.*",), ("layers.decoder.{last}.0.*",)),
    "meta-tasnet": (("stages.*.separator.mask.*",), ("stages.*.separator.mask_*",)),
    "spleeter": _SPLEETER,
    "spleeter-1d": _SPLEETER,
    "stack-u-net": (("refining.*.decoder.{last}.2.*",), ("refining.*.decoder.{last}.0.*",)),
    "wave-u-net": _WAVE_U_NET,
    "wave-u-net-2d": _WAVE_U_NET,
}
"""Names of parameters, layer by layer from the output on, with what normalises and scales each layer.

`{last}` is the highest number that stands there."""


def freeze(network: nn.Module, architecture: str, config: FineTuneConfig) -> list[str]:
    """Leave only the last layers of a network to be trained, if `config` says so.

    Batch norms that are frozen keep the statistics that they have, too.

    Returns:
        Names of the parameters that are trained.

    Raises:
        UsageError: when it is not known which layers are the last, there are fewer, or a name fits nothing.
    """
    if config.mode != "last-layers":
        return [name for name, _ in network.named_parameters()]
    patterns = config.parameters
    if not patterns:
        layers = LAST_LAYERS.get(architecture)
        if layers is None:
            raise UsageError(
                f"[fine_tune] the last layers of {architecture} are not known; name them in `parameters`"
            )
        if config.layers > len(layers):
            raise UsageError(f"[fine_tune] layers: of {architecture} the last {len(layers)} are known")
        patterns = tuple(pattern for layer in layers[: config.layers] for pattern in layer)
    names = [name for name, _ in network.named_parameters()]
    patterns = tuple(_with_last(pattern, names) for pattern in patterns)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(f"[fine_tune] parameters: nothing in {architecture} is called '{pattern}'")
    trained = [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in trained)
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, _BatchNorm) and not any(p.requires_grad for p in own):
            module.eval()
    return trained


def _with_last(pattern: str, names: list[str]) -> str:
    """The pattern with `{last}` replaced by the highest number that names have in its place."""
    before, mark, _ = pattern.partition("{last}")
    if not mark:
        return pattern
    depth = before.count(".")
    found = [name.split(".")[depth] for name in names if fnmatchcase(name, f"{before}*")]
    return pattern.replace(mark, str(max((int(part) for part in found if part.isdigit()), default=0)))
