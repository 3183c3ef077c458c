"""A step that trains in two processes of this machine gives what it gives in one."""

from pathlib import Path

import msgspec
import pytest
import torch
from train_nets import net

from edgekit.engine.specs import CompressSpec, Context
from edgekit.engine.task_source import TaskSource
from edgekit.errors import TaskError
from edgekit.quant import program as programs
from edgekit.quant.prepare import prepare_graph
from edgekit.records import Candidate, Quant, Recipe, Step
from edgekit.techniques import _stage

pytestmark = pytest.mark.long

TASK = str(Path(__file__).parents[1] / "support" / "train_nets.py")
QUANT = Quant(activation_dtype="uint8", weight_bits=8, granularity="per_channel", symmetric_activations=False)
OPTIONS = {
    "distill": {"images": 320, "learning_rate": 0.01},
    "qat": {"images": 320, "learning_rate": 0.001, "batches": 4},
    "sparsify": {"images": 320, "learning_rate": 0.01, "schedule": "gradual"},
}


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    x = torch.randn(1, 8)
    program = torch.export.export(prepare_graph(torch.export.export(net().eval(), (x,)).module()), (x,))
    path = tmp_path_factory.mktemp("float") / "program.pt2"
    programs.save(program, path)
    return Candidate(program=str(path), recipe=Recipe(name="t", precision="int8", steps=()), quant=QUANT)


def made(candidate: Candidate, technique: str, work: Path, attribute: str = "task", **more: int) -> Candidate:
    work.mkdir()
    step = Step(technique=technique, options=OPTIONS[technique] | more)
    source = TaskSource(name="t", reference=f"{TASK}:{attribute}", settings={"draws": "false"})
    context = Context(work=str(work), seed=0)
    return _stage.compress(CompressSpec(candidate=candidate, step=step, source=source, context=context))


@pytest.mark.parametrize(
    "technique", ["distill", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sparsify", "qat"))]
)
def test_two_processes_give_what_one_gives(candidate, tmp_path: Path, technique: str) -> None:
    alone = made(candidate, technique, tmp_path / "alone")
    both = made(candidate, technique, tmp_path / "both", processes=2)
    assert both.program == str(tmp_path / "both" / "program.pt2") and Path(both.program).is_file()
    first, second = (programs.load(found.program).state_dict for found in (alone, both))
    assert first.keys() == second.keys()
    assert all(torch.allclose(value, second[name], atol=1e-4) for name, value in first.items())
    trained = programs.load(candidate.program).state_dict
    assert any(
        not torch.allclose(value, trained[name], atol=1e-3)
        for name, value in second.items()
        if name in trained
    )
    assert [f.name for f in alone.figures] == [f.name for f in both.figures]
    assert not [place for place in tmp_path.rglob("*") if "checkpoint" in place.name]


def test_what_a_process_raises_is_what_the_step_raises(candidate, tmp_path: Path) -> None:
    broken = msgspec.structs.replace(candidate, program=str(tmp_path / "none.pt2"))
    with pytest.raises(TaskError, match="has no attribute"):
        made(broken, "distill", tmp_path / "work", attribute="tusk", processes=2)
