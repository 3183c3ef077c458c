"""A module without its parametrizations answers the same, under the names of its program, and can be pruned."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm

from edgekit.prune.criteria import Evidence
from edgekit.prune.plain import plain
from edgekit.prune.shrink import Request, shrink
from edgekit.prune.weights import fill
from edgekit.trace.model import export

FORMS = {
    "weight_norm": parametrizations.weight_norm,
    "older weight_norm": weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "older spectral_norm": spectral_norm,
}
EXAMPLE = (torch.zeros(1, 3, 6, 6),)


def net(form: str) -> nn.Module:
    torch.manual_seed(0)
    wrap = FORMS[form]
    layers = (wrap(nn.Conv2d(3, 16, 3)), nn.ReLU(), wrap(nn.Conv2d(16, 16, 3)), nn.ReLU(), nn.Flatten())
    return nn.Sequential(*layers, wrap(nn.Linear(64, 5))).eval()


@pytest.mark.parametrize("form", FORMS)
def test_it_answers_the_same_and_the_given_one_is_left_alone(form: str) -> None:
    model, x = net(form), torch.randn(2, 3, 6, 6)
    expected, names = model(x), sorted(model.state_dict())
    made = plain(model)
    torch.testing.assert_close(made(x), expected)
    assert sorted(made.state_dict()) == ["0.bias", "0.weight", "2.bias", "2.weight", "5.bias", "5.weight"]
    assert sorted(model.state_dict()) == names and not any(map(parametrize.is_parametrized, made.modules()))
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("form", FORMS)
def test_the_program_fits_it_and_it_is_pruned(form: str) -> None:
    model = net(form)
    program, made = export(model, EXAMPLE), plain(model)
    program.state_dict["0.weight"].data.mul_(2)  # as if it had been trained
    fill(made, program, EXAMPLE)
    torch.testing.assert_close(made[0].weight.detach(), 2 * model[0].weight.detach())
    shrunk = shrink(made, EXAMPLE, Request(macs=0.5), Evidence([], None, 0))
    assert shrunk.macs < 0.6 * shrunk.macs_before


def test_a_module_without_any_is_itself() -> None:
    model = nn.Linear(2, 2)
    assert plain(model) is model
