"""The task, and what a user can get wrong in one: each has its own sentence, with the line of his own code."""

import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.engine.task_reference import build, load_task
from edgekit.engine.task_source import pickle_task
from edgekit.engine.user_code import describe
from edgekit.errors import MissingRuntime, TaskError
from edgekit.records import Preprocessing, TaskFacts
from edgekit.task import Task, Training

HEADER = """
from edgekit.task import Task

def model(): ...
def metric(predict): return 1.0
"""
TASK = 'Task(name="t", model=model, example_inputs=(1,), metric=metric)'


def write(folder: Path, body: str, name: str = "mytask.py") -> str:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / name).write_text(HEADER + body, encoding="utf-8")
    return str(folder / name)


def make(**changes: Any) -> Task:
    given: dict[str, Any] = {
        "name": "t",
        "model": lambda: None,
        "example_inputs": (0,),
        "metric": lambda predict: 1.0,
    }
    return Task(**{**given, **changes})


def message(reference: str, settings: dict[str, str] | None = None) -> str:
    with pytest.raises(TaskError) as caught:
        load_task(reference, settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------------ the record


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({}, (False, False)),
        ({"calibration": [1]}, (True, False)),
        ({"training": Training(batches=[], loss=max)}, (False, True)),
        ({"calibration": [], "training": Training(batches=[], loss=max)}, (True, True)),
    ],
)
def test_facts(changes: dict[str, Any], facts: tuple[bool, bool]) -> None:
    assert make(**changes).facts() == TaskFacts(name="t", calibration=facts[0], training=facts[1])


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"name": ""}, "the task's name is ''; it must be a non-empty string"),
        ({"name": 3}, "the task's name is 3; it must be a non-empty string"),
        ({"example_inputs": [0]}, "example_inputs is a list; give a tuple of tensors, e.g. (torch.zeros("),
        ({"example_inputs": ()}, "example_inputs is a tuple; give a tuple of tensors"),
        ({"metric": 0.5}, "metric is not callable; give a function metric(predict) -> float, higher is better"),
        ({"model": 5}, "model is a int; give a torch.nn.Module, a Keras model, a function that returns one"),
        ({"calibration": iter([1])}, "calibration is a one-shot iterator; give something that can be iterated"),
        ({"calibration": (x for x in [1])}, "calibration is a one-shot iterator"),
        ({"calibration": 5}, "calibration is a int; give something that can be iterated again"),
    ],
)  # fmt: skip
def test_a_task_is_checked_when_it_is_made(changes: dict[str, Any], start: str) -> None:
    with pytest.raises(TaskError) as caught:
        make(**changes)
    assert str(caught.value).startswith(start)


def test_preprocessing_is_closed() -> None:
    with pytest.raises(TypeError):
        Preprocessing(means=(0.5,))  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        Preprocessing().layout = "NHWC"  # type: ignore[misc]


# ------------------------------------------------------------------------------------------------------ loading


def test_a_task_or_a_function_of_a_file(tmp_path: Path) -> None:
    place = write(tmp_path, f"task = {TASK}\ndef build(): return task\n")
    assert load_task(f"{place}:task").name == "t"
    assert load_task(f"{place}:build").name == "t"


def test_a_file_may_import_its_neighbour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    (tmp_path / "neighbour_of_task.py").write_text("NAME = 'from the neighbour'\n", encoding="utf-8")
    place = write(
        tmp_path,
        f"from neighbour_of_task import NAME\ntask = {TASK.replace(chr(34) + 't' + chr(34), 'NAME')}\n",
    )
    assert load_task(f"{place}:task").name == "from the neighbour"


def test_a_module_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    write(tmp_path / "edgekit_test_pkg", f"task = {TASK}\n", "tasks.py")
    (tmp_path / "edgekit_test_pkg" / "__init__.py").touch()
    assert load_task("edgekit_test_pkg.tasks:task").name == "t"
    assert "ModuleNotFoundError: No module named 'edgekit_test_pkg.none'" in message(
        "edgekit_test_pkg.none:task"
    )


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("task.py", "task 'task.py' has no attribute; write it as file.py:task or package.module:task"),
        ("task.py:", "task 'task.py:' has no attribute; write it as file.py:task or package.module:task"),
        (":task", "task ':task' has no attribute; write it as file.py:task or package.module:task"),
        ("", "task '' has no attribute; write it as file.py:task or package.module:task"),
        ("no/such.py:task", "task file no/such.py does not exist"),
        (".py:task", "task file .py does not exist"),
        (
            "no_such_module_here:task",
            "task module no_such_module_here does not exist; for a file write its path with .py",
        ),
        (".relative:task", "task module .relative does not exist; for a file write its path with .py"),
        ("a file:task", "task module a file does not exist; for a file write its path with .py"),
    ],
)
def test_a_reference_that_leads_nowhere(reference: str, expected: str) -> None:
    assert message(reference) == expected


def test_a_missing_attribute_lists_what_there_is(tmp_path: Path) -> None:
    place = write(tmp_path, f"task = {TASK}\nnumber = 3\ndef _hidden(): ...\n")
    found = message(f"{place}:tsak")
    assert found == f"{place} has no attribute 'tsak'; it has: Task, model, metric, task"


@pytest.mark.parametrize(
    ("body", "attribute", "expected"),
    [
        ("number = 3", "number", "is a int; it must be an edgekit.Task or a function returning one"),
        ("def build(): return 'x'", "build", "() returned a str; it must return an edgekit.Task"),
        (
            "def build():\n    raise ValueError('no\\n  photos')",
            "build",
            "raised ValueError: no photos (mytask.py, line 7)",
        ),
        ("1 / 0", "task", "raised ZeroDivisionError: division by zero (mytask.py, line 6)"),
        ("raise SystemExit(3)", "task", "raised SystemExit: 3 (mytask.py, line 6)"),
        (
            "import no_such_thing",
            "task",
            "raised ModuleNotFoundError: No module named 'no_such_thing' (mytask.py, l",
        ),
        ("def broken(:", "task", "raised SyntaxError: "),
        (
            "def build(): return Task(name='', model=model, example_inputs=(1,), metric=metric)",
            "build",
            "the task's name is ''; it must be a non-empty string",
        ),
    ],
)
def test_what_the_users_code_does(tmp_path: Path, body: str, attribute: str, expected: str) -> None:
    assert expected in message(f"{write(tmp_path, body)}:{attribute}")


# ------------------------------------------------------------------------------------------------------ settings

BUILD = """
def build(photos="none", size: int = 32, rate: float = 0.5, pretrained: bool = True):
    return Task(name=f"{photos} {size!r} {rate!r} {pretrained!r}", model=model, example_inputs=(1,), metric=metric)
"""


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "none 32 0.5 True"),
        ({"photos": "a.tar", "size": "64", "rate": "1e-3"}, "a.tar 64 0.001 True"),
        ({"pretrained": "false"}, "none 32 0.5 False"),
        ({"pretrained": "0"}, "none 32 0.5 False"),
        ({"pretrained": "True"}, "none 32 0.5 True"),
    ],
)
def test_settings_take_the_type_of_the_default(tmp_path: Path, settings: dict[str, str], name: str) -> None:
    assert load_task(f"{write(tmp_path, BUILD)}:build", settings).name == name


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"sise": "3"}, "{ref} takes no setting 'sise'; allowed: photos, size, rate, pretrained"),
        ({"size": "big"}, "setting size='big' of {ref}: expected int"),
        ({"size": "3.5"}, "setting size='3.5' of {ref}: expected int"),
        ({"pretrained": "maybe"}, "setting pretrained='maybe' of {ref}: expected true or false"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, settings: dict[str, str], expected: str) -> None:
    reference = f"{write(tmp_path, BUILD)}:build"
    assert message(reference, settings) == expected.format(ref=reference)


def test_a_function_with_its_settings_in_the_reference(tmp_path: Path) -> None:
    place = tmp_path / "nets.py"
    place.write_text("def net(width: str, depth=2):\n    return width, depth\nready = 3\n")
    assert build(f"{place}:net?width=8&depth=5")() == ("8", 5)
    assert build(f"{place}:ready") == 3
    with pytest.raises(TaskError, match=r"takes no setting 'height'; allowed: width, depth"):
        build(f"{place}:net?height=8")
    with pytest.raises(TaskError, match=r"is a int, not a function: it takes no settings"):
        build(f"{place}:ready?x=1")


def test_a_ready_task_takes_no_settings(tmp_path: Path) -> None:
    reference = f"{write(tmp_path, f'task = {TASK}')}:task"
    assert message(reference, {"b": "1", "a": "2"}) == (
        f"{reference} is a Task, not a function: it takes no settings, given ['a', 'b']"
    )


# ------------------------------------------------------------------------------------------------------ sentences


def test_the_line_is_named_in_a_checkout_called_edgekit(tmp_path: Path) -> None:
    """`git clone .../edgekit` puts the examples below a folder of that name; they are still the user's code."""
    place = write(tmp_path / "edgekit" / "examples", "def build():\n    raise RuntimeError('x')\n")
    assert message(f"{place}:build").endswith("raised RuntimeError: x (mytask.py, line 7)")


def test_the_line_is_the_users_not_the_librarys(tmp_path: Path) -> None:
    """What torch or numpy raises deep inside is reported at the line that called it."""
    body = "import numpy as np\ndef build():\n    return np.stack([])\n"
    assert message(f"{write(tmp_path, body)}:build").endswith("(mytask.py, line 8)")


def test_describe_without_a_message_or_a_frame() -> None:
    assert describe(KeyError()) == "KeyError: no message"
    assert len(describe(ValueError("x" * 10_000))) < 500


# ------------------------------------------------------------------------------------------------------ pickling


def test_a_task_with_lambdas_reaches_a_child(tmp_path: Path) -> None:
    factor = 3
    source = pickle_task(make(metric=lambda predict: predict(factor)), tmp_path / "task.pkl")
    assert source.reference is None
    assert source.load().metric(lambda x: x * 2) == 6


def test_what_cannot_be_pickled_is_said(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file, pytest.raises(TaskError) as caught:
        pickle_task(make(model=lambda: file), tmp_path / "task.pkl")
    assert str(caught.value).startswith("task 't' cannot be handed to a child process: ")
    assert str(caught.value).endswith("or give it as a reference: deploy('file.py:task')")


def test_a_task_of_a_file_travels_by_value(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "import numpy as np\nimport edgekit as ek\n\n\nclass Net:\n    def __call__(self):\n        return 7\n\n\n"
        "task = ek.Task(name='t', model=Net(), example_inputs=(np.zeros((1, 2)),), metric=lambda predict: 1.0)\n"
    )
    source = pickle_task(load_task(f"{file}:task"), tmp_path / "task.pkl")
    sys.modules.pop("edgekit_task_net")
    assert source.load().model() == 7


def test_a_missing_runtime_of_the_users_code_stays_one(tmp_path: Path) -> None:
    file = tmp_path / "needy.py"
    file.write_text("import edgekit as ek\n\n\ndef task():\n    raise ek.MissingRuntime('pip install x')\n")
    with pytest.raises(MissingRuntime, match="pip install x"):
        load_task(f"{file}:task")
