"""What the float model answered in an earlier run is not worked out again, unless anything that it depends on differs."""

import textwrap
from pathlib import Path

import numpy as np
import pytest

from edgekit.engine.specs import TraceSpec
from edgekit.engine.task_source import TaskSource
from edgekit.records import Traced
from edgekit.trace import stage

TASK = """
import pathlib
import numpy as np, torch, edgekit as ek

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, x):
        if not torch.compiler.is_exporting() and len(x) == 5:  # what the metric asks
            with pathlib.Path(COUNTED).open("a") as file:
                file.write("x")
        return self.layer(x) * FACTOR

def metric(predict):
    x = np.random.default_rng(SEED).standard_normal((10, 4)).astype(np.float32)
    answers = np.concatenate([predict(x[:5]), predict(x[5:])])
    return float((answers.argmax(1) == 0).mean())

task = ek.Task(name="net", model=Net(), example_inputs=(torch.zeros(1, 4),), metric=metric)
"""


class Project:
    """A task file that is written anew, traced with one cache; the model notes whenever it is asked for five samples."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, 0

    def trace(
        self, factor: str = "1.0", seed: int = 0, more: str = "", cache: bool = True
    ) -> tuple[int, Traced]:
        """Returns how often the model was asked, and what came out."""
        self.runs += 1
        counted = self.folder / f"counted{self.runs}"
        text = TASK.replace("COUNTED", repr(str(counted))) + textwrap.dedent(more)
        file = self.folder / f"net{self.runs}.py"  # one name would find the byte code of the same second
        file.write_text(text.replace("FACTOR", factor).replace("SEED", str(seed)))
        work = self.folder / f"work{self.runs}"
        work.mkdir()
        source = TaskSource(name="task", reference=f"{file}:task")
        kept = str(self.folder / "cache") if cache else ""
        found = stage.trace(TraceSpec(source=source, work=str(work), cache=kept))
        return len(counted.read_text()) if counted.exists() else 0, found


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(stage.fingerprint, "of_tools", dict)  # hashing edgekit itself is for others to test
    return Project(tmp_path)


def answers(traced: Traced) -> dict[str, list[float]]:
    with np.load(traced.predictions) as kept:
        return {name: kept[name].ravel().tolist() for name in kept.files}


def test_the_same_questions_are_answered_from_there(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "edgekit.engine.fingerprint._of_code", lambda _: "the same"
    )  # the file holds the count's path
    first, made = project.trace()
    assert first == 2
    again, taken = project.trace()
    assert (again, answers(taken), taken.metric) == (0, answers(made), made.metric)
    assert project.trace(seed=1)[0] == 2, "other questions"
    assert project.trace(seed=1)[0] == 0
    assert project.trace(factor="2.0")[0] == 2, "another graph"
    assert project.trace(factor="2.0", cache=False)[0] == 2


def test_another_file_of_the_model_is_another_model(project: Project) -> None:
    assert [project.trace()[0], project.trace(more="a = 1")[0]] == [2, 2]


@pytest.mark.parametrize("damage", [b"", b"PK\x05\x06" + b"\0" * 18, None])
def test_a_damaged_entry_is_no_answer(
    project: Project, monkeypatch: pytest.MonkeyPatch, damage: bytes | None
) -> None:
    monkeypatch.setattr("edgekit.engine.fingerprint._of_code", lambda _: "the same")
    _, made = project.trace()
    (entry,) = (path for path in (project.folder / "cache").rglob("answers.npz"))
    entry.write_bytes(entry.read_bytes()[:-60] + b"\1" * 60 if damage is None else damage)
    again, found = project.trace()
    assert (again, answers(found)) == (2, answers(made))
