"""A module without parametrizations: a weight under weight_norm or spectral_norm becomes a parameter.

Channels cannot be removed from a weight that is computed, and an exported program stores the computed weight
under the name it has here (`edgekit.quant.constants`).
"""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

_Remove = Callable[[nn.Module, str], object]
_HOOKS: dict[type, _Remove] = {WeightNorm: remove_weight_norm, SpectralNorm: remove_spectral_norm}


def plain(module: nn.Module) -> nn.Module:
    """Returns a copy in eval mode without parametrizations, or `module` itself if it has none."""
    hooked = list(_hooked(module))
    if not hooked and not any(map(parametrize.is_parametrized, module.modules())):
        return module
    for layer, name, _ in hooked:
        # a tensor with a history cannot be copied; the hook computes it again anyway
        setattr(layer, name, getattr(layer, name).detach())
    made = copy.deepcopy(module).eval()
    with torch.no_grad():
        for layer, name, remove in list(_hooked(made)):
            remove(layer, name)
        for layer in list(made.modules()):
            if parametrize.is_parametrized(layer):
                _store(layer)
    return made


def _store(layer: nn.Module) -> None:
    """Stores the computed tensors as parameters or buffers.

    torch's `remove_parametrizations` deletes the property from the class, which a copy shares with the
    original layer.
    """
    chains = dict(layer.parametrizations.items())  # type: ignore[operator, union-attr]
    values = {name: getattr(layer, name).detach().clone() for name in chains}
    layer.__class__ = parametrize.type_before_parametrizations(layer)
    del layer.parametrizations
    for name, value in values.items():
        if any(True for _ in chains[name].parameters()):
            layer.register_parameter(name, nn.Parameter(value))
        else:
            layer.register_buffer(name, value)


def _hooked(module: nn.Module) -> Iterator[tuple[nn.Module, str, _Remove]]:
    """Yields (layer, name of the weight, function that removes the hook) for weights that a hook computes."""
    for layer in module.modules():
        for hook in layer._forward_pre_hooks.values():
            if type(hook) in _HOOKS:
                yield layer, hook.name, _HOOKS[type(hook)]  # type: ignore[attr-defined]
