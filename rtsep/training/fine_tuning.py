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

LAST_LAYERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "band-split": (("mask_*",), ("decoder_*",)),
    "causal-lstm": (("to_masks.*",), ("decoder.*", "decoder_norm.*")),
    "conv-tasnet": (("decoder.*",), ("masks.*", "masks_prelu.*")),
    "cadenza-tasnet": (("decoder.*",), ("masks.*",)),
    "hs-tasnet": (("decoder.*", "spectrum_masks.*", "waveform_masks.*"), ("*_recall.*",)),
    "umx-reference": (
        ("targets.*.fc3.*", "targets.*.bn3.*", "targets.*.output_*"),
        ("targets.*.fc2.*", "targets.*.bn2.*"),
    ),
}
"""Names of parameters, layer by layer from the output on, with what normalises and scales each layer."""


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
