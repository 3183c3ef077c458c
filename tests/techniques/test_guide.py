"""docs/extend/technique.md followed to the letter: a file, a row, and the technique runs."""

import re
from pathlib import Path

import msgspec
import pytest
import torch
from commands import SMALL
from torch import nn

import edgekit.techniques
from edgekit import technique
from edgekit.engine.specs import CompressSpec, Context
from edgekit.engine.task_source import TaskSource
from edgekit.errors import UserError
from edgekit.quant import program as programs
from edgekit.records import Candidate, Recipe, Step
from edgekit.techniques import _stage

GUIDE = Path(__file__).parents[2] / "docs" / "extend" / "technique.md"
# what the guide leaves to the reader
METHOD = """

def nudge(program, strength):
    import torch

    for name, weight in program.state_dict.items():
        with torch.no_grad():
            weight.add_(0 * strength)
    return len(program.state_dict)
"""


@pytest.fixture(autouse=True)
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide's own file and row, in their places."""
    file, row = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)[:2]
    (tmp_path / "nudge.py").write_text(file + METHOD)
    monkeypatch.setattr(edgekit.techniques, "__path__", [*edgekit.techniques.__path__, str(tmp_path)])
    rows = {**technique.TECHNIQUES, "nudge": eval(row, {"Technique": technique.Technique})}
    monkeypatch.setattr(technique, "TECHNIQUES", rows)


def step(tmp_path: Path, **options: float) -> Candidate:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).eval()
    path = tmp_path / "float.pt2"
    programs.save(torch.export.export(net, (torch.zeros(1, 1, 8, 8),)), path)
    work = tmp_path / "work"
    work.mkdir()
    spec = CompressSpec(
        candidate=Candidate(program=str(path), recipe=Recipe(name="float32", precision="float32", steps=())),
        step=Step(technique="nudge", options=options),
        source=TaskSource(name="small", reference=f"{SMALL}:task"),
        context=Context(work=str(work)),
    )
    return _stage.compress(spec)


def test_it_runs_and_says_what_it_did(tmp_path: Path) -> None:
    done = step(tmp_path, strength=0.25)
    assert done.program == str(tmp_path / "work" / "program.pt2")
    (figure,) = done.figures
    assert msgspec.to_builtins(figure) == {
        "step": "nudge",
        "name": "weights moved",
        "value": 2.0,
        "unit": "count",
    }


def test_its_options_are_checked_by_their_annotations(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"nudge: strength is 7\.0; allowed: above 0.*, at most 1.* \(share of the way"
    ):
        step(tmp_path, strength=7.0)
