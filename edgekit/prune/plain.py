"""The same module without parametrizations: a weight under weight_norm or spectral_norm becomes one parameter.

Channels cannot be cut out of a weight that is computed, and an exported program holds the computed weight under the name
that it has here (`edgekit.quant.constants`).
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
    """A copy in eval mode without parametrizations; `module` itself where it has none."""
    hooked = list(_hooked(module))
    if not hooked and not any(map(parametrize.is_parametrized, module.modules())):
        return module
    for (
        layer,
        name,
        _,
    ) in hooked:  # computed with a history, which cannot be copied; the hook computes it anew anyway
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
    """What is computed becomes what is held. torch's `remove_parametrizations` takes the property from the class, which a
    copy shares with the layer that it was made of."""
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
    """(layer, name of the weight, what removes it) of the older forms, which compute a weight before each call."""
    for layer in module.modules():
        for hook in layer._forward_pre_hooks.values():
            if type(hook) in _HOOKS:
                yield layer, hook.name, _HOOKS[type(hook)]  # type: ignore[attr-defined]
