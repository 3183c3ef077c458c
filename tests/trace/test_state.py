"""A model that keeps something from call to call is refused by the name of what it keeps; what matters to nobody is a doubt."""

import math
import random
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgekit.errors import TaskError
from edgekit.trace import model as tracing
from edgekit.trace.sources import state

ATEN = torch.ops.aten


class Memory:
    """An object of the user's own."""

    def __init__(self) -> None:
        self.h = torch.zeros(1, 4)


class Net(nn.Module):
    """A linear layer, and every place where something can be kept."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function
        self.f, self.bn = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.register_buffer("state", torch.zeros(1, 4))
        self.register_buffer("n", torch.zeros((), dtype=torch.long))
        self.p = nn.Parameter(torch.zeros(1, 4))
        self.h, self.hs, self.named = torch.zeros(1, 4), [torch.zeros(1, 4)], {"a": torch.zeros(1, 4)}
        self.k, self.new, self.memory = 0, None, Memory()

    def forward(self, x: torch.Tensor):
        return self.function(self, x)


def net(function) -> Net:
    torch.manual_seed(0)
    return Net(function).eval()


def checked(function, x: torch.Tensor | None = None) -> tuple[str, ...]:
    return tracing.checked(net(function), (torch.full((1, 4), 0.3) if x is None else x,))[1]


def copy_(s, x):
    y = torch.tanh(s.f(x) + s.state)
    s.state.copy_(y)
    return y


def sliced(s, x):
    y = torch.tanh(s.f(x) + s.state)
    s.state[:] = y
    return y


def reassigned(s, x):
    y = torch.tanh(s.f(x) + s.state)
    s.state = 0.9 * s.state + 0.1 * y
    return y


def added(s, x):
    y = torch.tanh(s.f(x) + s.state)
    s.state += y
    return y


def put(s, x):
    y = torch.tanh(s.f(x) + s.state)
    s.state.index_put_((torch.tensor([0]), torch.tensor([1])), y[0, 0])
    return y


def through_a_view(s, x):
    z = s.state.view(4)
    y = s.f(x) + z
    z.add_(y[0])
    return y


def largest_so_far(s, x):
    y = s.f(x)
    s.state = torch.maximum(s.state, y.abs())
    return y / s.state.clamp_min(0.1)


def counted(s, x):
    s.n += 1
    return s.f(x) * s.n


def parameter(s, x):
    y = torch.tanh(s.f(x) + s.p)
    with torch.no_grad():
        s.p.copy_(y)
    return y


def parameter_data(s, x):
    y = torch.tanh(s.f(x) + s.p)
    s.p.data.add_(y)
    return y


def attribute(s, x):
    s.h = torch.tanh(s.f(x) + s.h)
    return s.h


def in_a_list(s, x):
    s.hs[0] = torch.tanh(s.f(x) + s.hs[0])
    return s.hs[0]


def in_a_dict(s, x):
    s.named["a"] = torch.tanh(s.f(x) + s.named["a"])
    return s.named["a"]


def in_an_object(s, x):
    s.memory.h = torch.tanh(s.f(x) + s.memory.h)
    return s.memory.h


def number(s, x):
    s.k += 1
    return s.f(x) * s.k


def made_later(s, x):
    s.new = x if s.new is None else s.new + x
    return s.f(s.new)


@pytest.mark.parametrize(
    ("forward", "named"),
    [
        *(
            (f, "the buffer `state`")
            for f in (copy_, sliced, reassigned, added, put, through_a_view, largest_so_far)
        ),
        (counted, "the buffer `n`"),
        (parameter, "the parameter `p`"),
        (parameter_data, "the parameter `p`"),
        (attribute, "the attribute `h`"),
        (in_a_list, "the attribute `hs[0]`"),
        (in_a_dict, "the attribute `named['a']`"),
        (in_an_object, "the attribute `memory.h`"),
        (number, "the attribute `k`"),
        (made_later, "the attribute `new`"),
    ],
)
def test_what_answers_depend_on_is_refused_by_name(forward, named: str) -> None:
    with pytest.raises(TaskError, match=r"forward\(self, x, state\): \.\.\. return y, state") as caught:
        checked(forward)
    assert str(caught.value).startswith(f"forward writes {named}, and its answers depend on it: ")


def test_a_state_that_the_example_does_not_move_is_found_by_another_input() -> None:
    def forward(s, x):
        s.state = s.state + x
        return x + s.state

    with pytest.raises(TaskError, match="the buffer `state`"):
        checked(forward, torch.zeros(1, 4))


def test_the_difference_is_that_of_both_answers() -> None:
    def forward(s, x):
        s.n += 1
        return x * s.n

    with pytest.raises(TaskError, match=r"by 300 % of the largest answer"):
        checked(forward)  # called four times: 1 and 4


def test_what_changes_by_itself_is_told_so() -> None:
    own = torch.Generator()
    with pytest.raises(TaskError, match=r"no buffer, parameter or attribute of it changed.*numpy or random"):
        checked(lambda s, x: x + torch.randn(1, 4, generator=own))


def test_shared_generators_are_no_state_and_go_on_as_if_nobody_had_drawn() -> None:
    def forward(s, x):
        return x + torch.rand(1) + float(np.random.rand()) + random.random()

    def drawn() -> tuple[float, float, float]:
        return float(torch.rand(1)), float(np.random.rand()), random.random()

    model = net(forward)
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    expected = drawn()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    assert tracing.checked(model, (torch.zeros(1, 4),))[1] == ()
    assert drawn() == expected


def last_answer(s, x):
    s.h = s.f(x)
    return s.h * 2


def cached(s, x):
    if s.new is None:
        s.new = torch.arange(4.0)
    return s.f(x) + s.new


@pytest.mark.parametrize("forward", [last_answer, cached])
def test_what_is_made_anew_or_once_is_no_state(forward) -> None:
    assert checked(forward) == ()


def test_a_counter_that_nothing_reads_is_a_doubt_and_not_in_the_program() -> None:
    def forward(s, x):
        s.n += 1
        return s.f(x)

    assert checked(forward) == (
        "forward writes the buffer `n`, and no answer was seen to depend on it; artifacts do not keep it",
    )
    program = tracing.export(net(forward), (torch.zeros(1, 4),))
    assert [node.target for node in program.graph.nodes if node.op == "call_function"] == [
        ATEN.linear.default
    ]


def scaled(s, x):
    x.mul_(2)
    return s.f(x)


def cleared(s, x):
    x[:, 1:] = 0
    return s.f(x), x + 1


@pytest.mark.parametrize("forward", [scaled, cleared])
def test_a_write_into_the_input_is_a_doubt_and_exported_right(forward) -> None:
    assert checked(forward) == (
        "forward writes its input 0 in place; an artifact leaves its inputs as they are",
    )
    model, x = net(forward), torch.randn(1, 4)
    program = tracing.export(model, (torch.zeros(1, 4),))
    given = x.clone()
    torch.testing.assert_close(program.module()(given), model(x.clone()))
    assert torch.equal(given, x) and program.run_decompositions().graph_signature.user_inputs_to_mutate == {}


def turned_on(s, x):
    s.bn.train()
    return s.bn(torch.cat([x, 2 * x]))


def by_hand(s, x):
    return F.batch_norm(torch.cat([x, 2 * x]), s.bn.running_mean, s.bn.running_var, training=True)


@pytest.mark.parametrize("forward", [turned_on, by_hand])
def test_a_norm_that_runs_as_in_training_is_refused_by_the_buffer_that_it_writes(forward) -> None:
    with pytest.raises(TaskError, match=r"^forward writes the buffer `bn.running_mean`: .* as in training"):
        tracing.export(net(forward), (torch.ones(1, 4),))


def test_answers_of_nan_are_no_difference() -> None:
    first, doubts = state.check(lambda x: [x * math.nan], (torch.ones(1),), dict)
    assert doubts == () and first[0].isnan().all()


def test_the_same_module_holds_the_same() -> None:
    model = net(copy_)
    held = partial(state.of_module, model)
    assert held() == held() and held()["attribute `k`"] == 0
    model.f.weight.data[0, 0] += 1e-3
    assert {name for name, value in held().items() if value != state.of_module(net(copy_))[name]} == {
        "parameter `f.weight`"
    }


def gain(s, x):
    y = x * (1 + s.state)
    s.state.copy_(y.abs())
    return y


def test_a_state_that_multiplies_an_input_of_zeros_is_seen() -> None:
    with pytest.raises(TaskError, match="forward writes the buffer `state`, and its answers depend on it"):
        checked(gain, torch.zeros(1, 4))
