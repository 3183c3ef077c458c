"""A fingerprint is of content: equal for equal things however they are held, another for anything that counts."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from edgekit import api
from edgekit.engine import fingerprint
from edgekit.task import Task, Training

ONES = np.ones((2, 3), np.float32)


def test_weights_are_hashed_by_name_shape_type_and_number() -> None:
    first = fingerprint.of_tensors({"b": torch.ones(2, 3), "a": torch.zeros(1)})
    assert first == fingerprint.of_tensors({"a": torch.zeros(1), "b": torch.ones(3, 2).T})
    others = [
        {"b": torch.ones(2, 3), "c": torch.zeros(1)},
        {"b": torch.ones(3, 2), "a": torch.zeros(1)},
        {"b": torch.ones(2, 3, dtype=torch.float64), "a": torch.zeros(1)},
        {"b": torch.ones(2, 3), "a": torch.full((1,), 1e-30)},
    ]
    assert len({first, *map(fingerprint.of_tensors, others)}) == 5


@pytest.mark.parametrize(
    ("batch", "same", "other"),
    [
        (ONES, torch.ones(2, 3), ONES * 2),
        ((ONES, 1), [torch.ones(2, 3), 1], (ONES, 2)),
        ({"x": ONES}, {"x": torch.ones(2, 3)}, {"y": ONES}),
    ],
)
def test_batches(batch: Any, same: Any, other: Any) -> None:
    assert fingerprint.of_batch(batch) == fingerprint.of_batch(same) != fingerprint.of_batch(other)


def test_a_package_is_its_python_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.py").write_text("1")
    first = fingerprint.of_folder(tmp_path)
    (tmp_path / "deep" / "a.pyc").write_text("2")
    assert fingerprint.of_folder(tmp_path) == first
    (tmp_path / "deep" / "a.py").write_text("2")
    assert fingerprint.of_folder(tmp_path) != first
    (tmp_path / "deep" / "a.py").write_text("1")
    (tmp_path / "other").mkdir()
    (tmp_path / "deep" / "a.py").rename(tmp_path / "other" / "a.py")
    assert fingerprint.of_folder(tmp_path) != first, "a file of that name elsewhere is another package"


def test_a_run_rests_on_the_code_of_edgekit_and_of_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(fingerprint, "of_folder", lambda folder: str(read.append(folder)))
    traced = SimpleNamespace(fingerprint={"the model": "m"})
    found = api._fingerprint(SimpleNamespace(traced=traced, seed=3))  # type: ignore[arg-type]
    assert [folder.name for folder in read] == ["edgekit", "edgekit_runner"]
    assert found["the model"] == "m" and found["the seed"] == "3"


# -- the task


class Batches:
    def __init__(self, *draws: float) -> None:
        self.draws = draws

    def __iter__(self) -> Iterator[Any]:
        yield from (np.full((1, 2), value) for value in self.draws)


class Shuffled:
    """What a data loader without a seed of its own does."""

    def __iter__(self) -> Iterator[Any]:
        yield torch.randperm(100)


class Fresh:
    def __iter__(self) -> Iterator[Any]:
        yield np.random.default_rng().random(4)


class Broken:
    def __iter__(self) -> Iterator[Any]:
        raise OSError("no disk")


def metric(predict: Any, scale: float = 1.0) -> float:
    return scale


class Callable_:
    def __call__(self, predict: Any) -> float:
        return 1.0


def seed() -> None:
    torch.manual_seed(0)


def found(batches: Any = None, scorer: Any = metric) -> dict[str, str]:
    training = None if batches is None else Training(batches=batches, loss=metric)
    task = Task(name="t", model=torch.nn.Identity, example_inputs=(ONES,), metric=scorer, training=training)
    return fingerprint.of_task(task, seed)


def test_training_data_by_its_first_batches() -> None:
    first = found(Batches(1, 2, 3))
    assert first == found(Batches(1, 2, 4)), "two batches stand for the set"
    assert first != found(Batches(1, 3))
    assert "the training data" not in found()


def test_training_data_that_is_shuffled_with_the_seed_is_the_same() -> None:
    assert found(Shuffled()) == found(Shuffled())
    assert len(found(Shuffled())["the training data"]) == 64


def test_training_data_that_differs_or_fails_is_noted_so() -> None:
    assert found(Fresh())["the training data"] == "other batches each time they are read"
    assert found(Broken())["the training data"].startswith("unreadable: OSError: no disk")


@pytest.mark.parametrize("scorer", [metric, partial(metric, scale=2.0), Callable_(), Callable_().__call__])
def test_the_code_of_a_metric_is_the_file_it_was_written_in(scorer: Any) -> None:
    assert found(scorer=scorer)["the task's code"] == fingerprint.of_text(Path(__file__).read_text("utf-8"))


def test_code_that_has_no_file_is_no_error() -> None:
    made: dict[str, Any] = {}
    exec("def metric(predict): return 1.0", made)
    assert found(scorer=made["metric"])["the task's code"] == fingerprint.of_text()
