"""The door: structures and names of whatever a model takes and returns, and the sentence where it cannot pass."""

import dataclasses
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.engine.specs import TraceSpec
from edgekit.engine.task_source import TaskSource
from edgekit.errors import TaskError
from edgekit.records import Interface, Preprocessing, Traced
from edgekit.task import Task
from edgekit.trace import door, flat, structure
from edgekit.trace.opening import opened
from edgekit.trace.stage import trace

DOORS = Path(__file__).parents[1] / "task_files" / "doors.py"
Pair = namedtuple("Pair", "left right")
X = torch.zeros(1, 3)


class Net(nn.Module):
    """Answers what the test says, of x and whatever else is given."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: torch.Tensor, mask: Any = None, *more: Any, scale: Any = None) -> Any:
        return self.answer(x)


def task(**given: Any) -> Task:
    plain = {"name": "t", "model": nn.Identity(), "example_inputs": (X,), "metric": lambda p: 1.0}
    return Task(**{**plain, **given})


def look(answer: Any, example: Any = (X,), **more: Any) -> Interface | None:
    return door.look(task(example_inputs=example, **more), Net(answer))[0]


def traced(function: str, work: Path) -> Traced:
    source = TaskSource(name=function, reference=f"{DOORS}:{function}")
    return trace(TraceSpec(source=source, work=str(work)))


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    "given",
    [
        task(name="x\ud800"),
        task(preprocessing=Preprocessing(labels=("cat", "do\udcffg"))),
        task(model=Net(lambda x: {"logits\ud800": x})),
    ],
    ids=["task", "label", "output"],
)
def test_a_name_with_half_a_character_is_refused(given: Task, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"holds half a character .* give text that UTF-8 can encode"):
        opened(given, tmp_path)


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        (lambda x: {"logits": x, "aux": None}, ["logits"]),
        (lambda x: [x, x], ["output_0", "output_1"]),
        (lambda x: (x,), ["output_0"]),
        (lambda x: (x, (x, {"a": x})), ["output_0", "output_1_0", "output_1_1.a"]),
        (lambda x: {"maps": {"p1": x, "p2": [x, x]}}, ["maps.p1", "maps.p2_0", "maps.p2_1"]),
        (lambda x: Pair(x, x), ["left", "right"]),
        (lambda x: {0: x, "output_0": x}, ["output_0", "output_0_1"]),
    ],
)
def test_names_of_results(answer: Any, names: list[str]) -> None:
    found = look(answer)
    assert found is not None and list(found.outputs) == names


@pytest.mark.parametrize("answer", [lambda x: x, lambda x: (x, x)])
def test_tensors_and_tuples_of_them_are_plain(answer: Any) -> None:
    assert look(answer) is None
    assert look(answer, (X, X, X)) is None


@pytest.mark.parametrize(
    ("example", "names"),
    [
        ({"x": X, "mask": X}, ["x", "mask"]),
        ({"mask": X, "x": X, "scale": torch.tensor(2.0)}, ["x", "mask", "scale"]),
        (({"ids": X, "pair": (X, X)},), ["x.ids", "x.pair_0", "x.pair_1"]),
        ((X, None, X, torch.tensor(1)), ["x", "more_0", "more_1"]),
    ],
)
def test_names_of_inputs(example: Any, names: list[str]) -> None:
    found = look(lambda _: torch.zeros(1, 2), example)
    assert found is not None and list(found.inputs) == names


def test_axes_of_samples() -> None:
    example = (X, torch.zeros(2, 1, 4), torch.tensor(0.1), torch.zeros(5, 3))
    found = look(
        lambda x: (x, x.new_zeros(4, len(x), 2), x.sum(), x.new_zeros(7, 2), x.repeat(3, 1)), example
    )
    assert found is not None
    assert found.input_axes == (0, 1, None, None)
    assert found.output_axes == (0, 1, None, None, 0)
    said = look(lambda x: x, (X, torch.zeros(1, 1, 4)), batch_axes={"mask": 1})
    assert said is not None and said.input_axes == (0, 1)


@pytest.mark.parametrize(
    ("example", "more", "sentence"),
    [
        ({"y": X}, {}, "example_inputs do not fit the model's forward, which takes x, mask, more, scale"),
        ((torch.zeros(2, 3),), {}, "example_inputs[0] has shape [2, 3]; the first dimension is the batch and must be 1"),
        ((X, object()), {}, "example_inputs[1] is a object; give torch tensors"),
        ((X, torch.zeros(1, dtype=torch.int16)), {}, "example_inputs[1] is torch.int16; allowed are float16,"),
        ({"x": None}, {}, "example_inputs hold no tensor"),
        ((X,), {"batch_axes": {"z": 1}}, "batch_axes names 'z'; the model has the inputs x and the outputs output_0"),
        ((X,), {"batch_axes": {"x": 1}}, "batch_axes says that axis 1 of x holds the samples, and its shape is [1, 3]"),
    ],
)  # fmt: skip
def test_what_cannot_go_in(example: Any, more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TaskError) as caught:
        look(lambda _: torch.zeros(1, 2), example, **more)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"b": "x"}, "state names the output 'b'; the model has the outputs a and the inputs x, mask"),
        ({"a": "h"}, "state names the input 'h'; the model has the outputs a and the inputs x, mask"),
        ({"a": "mask"}, "state gives a to mask, and they are [1, 2] torch.float32 and [1, 3] torch.float32"),
    ],
)
def test_a_state_that_does_not_fit(state: dict[str, str], sentence: str) -> None:
    with pytest.raises(TaskError) as caught:
        look(lambda x: {"a": torch.zeros(1, 2)}, (X, X), state=state)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda x: {"a": x, "b": object()}, "the model's forward returned a object at ['b']; allowed are tensors, None"),
        (lambda x: object(), "the model's forward returned a object; it must return tensors"),
        (lambda x: {"a": None}, "the model's forward returned no tensor"),
        (lambda x: (x, torch.complex(x, x)), "the model's forward returned complex numbers as output_1, and no artifact has them"),
        (lambda x: (x, 0.5), "the model's forward returned a float at [1]"),
    ],
)  # fmt: skip
def test_what_cannot_come_out(answer: Any, sentence: str) -> None:
    with pytest.raises(TaskError) as caught:
        look(answer)
    assert str(caught.value).startswith(sentence)


def test_another_structure_at_another_call() -> None:
    answers = iter([{"a": X}, {"a": X, "b": X}])
    net = Net(lambda x: next(answers))
    task = Task(name="t", model=net, example_inputs=(X,), metric=lambda p: 1.0)
    interface, _ = door.look(task, net)
    assert interface is not None
    with pytest.raises(TaskError, match="returned another structure than for example_inputs"):
        flat.flattened(net, interface)(X)


def test_the_users_module_stays_as_it_is() -> None:
    net = Net(lambda x: {"a": x})
    task = Task(name="t", model=net, example_inputs=(X,), metric=lambda p: 1.0)
    interface, _ = door.look(task, net)
    assert interface is not None
    made = flat.flattened(net, interface)
    assert isinstance(made(X), tuple) and isinstance(net(X), dict)
    assert type(made).__name__ == "Net"


# ------------------------------------------------------------------------------------------------ predict


def test_predict_is_called_as_the_model_is() -> None:
    interface = look(lambda x: {"a": x, "none": None}, {"x": X, "scale": torch.tensor(2.0)})
    asked: list[Any] = []

    def answer(*given: np.ndarray) -> np.ndarray:
        asked.extend(given)
        return given[0]

    predict = structure.structured(interface, answer)
    x = np.ones((4, 3), np.float32)
    for call in (lambda: predict(x=x, scale=3.0), lambda: predict({"x": x, "scale": np.float32(3)})):
        found = call()
        assert list(found) == ["a", "none"] and found["none"] is None
        np.testing.assert_array_equal(found["a"], x)
    assert [a.shape for a in asked] == [(4, 3), (4,)] * 2
    with pytest.raises(TaskError, match=r"predict gives 'ids'; the model takes x, scale"):
        predict(ids=x)
    with pytest.raises(TaskError, match=r"predict gives no 'scale'; the model takes x, scale"):
        predict(x)


def test_a_setting_is_built_in() -> None:
    predict = structure.structured(look(lambda x: {"a": x}, {"x": X, "mask": 3}), lambda x: x)
    assert predict(x=np.ones((2, 3)), mask=3)["a"].shape == (2, 3)
    with pytest.raises(TaskError, match="input mask is 4; the artifact has 3 built in"):
        predict(x=np.ones((2, 3)), mask=4)


def test_samples_of_an_output_without_an_axis() -> None:
    predict = structure.structured(look(lambda x: {"a": x.sum()}), lambda x: x.sum(1))
    assert predict(np.ones((1, 3)))["a"] == 3
    with pytest.raises(TaskError, match="the output a has no axis of samples"):
        predict(np.ones((2, 3)))


@dataclasses.dataclass
class Strict:
    """Takes nothing but tensors."""

    a: torch.Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.a, torch.Tensor):
            raise TypeError("no tensor")


def test_a_class_that_takes_no_arrays_becomes_an_answer() -> None:
    found = structure.structured(look(lambda x: Strict(x)), lambda x: x)(np.ones((1, 3), np.float32))
    assert isinstance(found, structure.Answer)
    assert found.a is found["a"] is found[0]
    with pytest.raises(AttributeError, match="the model's result has no 'b'; it has a"):
        _ = found.b


# ------------------------------------------------------------------------------------------------ the stage


@pytest.mark.parametrize(
    "function", ["dict_result", "object_result", "recurrent", "keywords", "whole_numbers"]
)
def test_every_door_is_traced(function: str, tmp_path: Path) -> None:
    assert traced(function, tmp_path).metric == 1.0


def test_a_traced_model_has_the_users_names(tmp_path: Path) -> None:
    found = traced("recurrent", tmp_path)
    assert [(s.name, s.shape, s.batch_axis) for s in found.inputs] == [
        ("x", (1, 7, 6), 0), ("h", (2, 1, 8), 1), ("c", (2, 1, 8), 1), ("threshold", (), None)
    ]  # fmt: skip
    assert [(s.name, s.batch_axis) for s in found.outputs] == [("y", 0), ("h_out", 1), ("c_out", 1)]
