"""Distillation of small nets on real digits: each mode learns, goes on after a kill, and is gone from the result."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from digits_data import IMAGES, LABELS, TRAIN, figures, saved, task_of, taught, top1
from distill_students import Net, small
from torch.nn import functional as F

import edgekit as ek
from edgekit.engine.specs import Context
from edgekit.errors import Diverged, TaskError, UserError
from edgekit.quant import program as programs
from edgekit.records import Candidate, Recipe
from edgekit.techniques import distill
from edgekit.techniques._score import predictor

pytestmark = pytest.mark.long

STUDENTS = Path(__file__).parents[1] / "support" / "distill_students.py"
MODES = {
    "offline": {"features": "auto:hint,late:attention,late:rkd"},
    "online": {"alpha": 0.5, "features": "late:rkd"},
    "ema": {"alpha": 0.8, "decay": 0.9},
    "exits": {"alpha": 0.5},
}


class Batches:
    """Shuffled anew each epoch. stop: the batch, counted over all epochs, at which the run is killed."""

    def __init__(self, chosen: torch.Tensor = TRAIN, labelled: bool = True, stop: int = -1) -> None:
        self.chosen, self.labelled, self.left = chosen, labelled, stop

    def __iter__(self) -> Iterator[Any]:
        for some in self.chosen[torch.randperm(len(self.chosen))].split(32):
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            yield (IMAGES[some], LABELS[some]) if self.labelled else IMAGES[some]


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Programs: a trained teacher, one that knows nothing, and a student that knows nothing either."""
    folder = tmp_path_factory.mktemp("nets")
    torch.manual_seed(0)
    teacher = taught(Net(24))
    return {
        "teacher": saved(teacher, folder / "teacher.pt2"),
        "ignorant": saved(Net(24), folder / "ignorant.pt2"),
        "student": saved(small(), folder / "student.pt2"),
    }


@pytest.fixture
def candidate(nets: dict[str, str]) -> Candidate:
    recipe = Recipe(name="t", precision="float32", steps=())
    return Candidate(program=nets["student"], recipe=recipe, pruned="folder", unpruned=nets["teacher"])


def task(batches: Any = None, unlabelled: Any = None, **changed: Any) -> ek.Task:
    return task_of(small, Batches() if batches is None else batches, unlabelled, **changed)


def apply(
    candidate: Candidate, work: Path, the_task: ek.Task | None = None, seed: int = 0, **options: Any
) -> Candidate:
    given = {"images": 640, "learning_rate": 5e-3, "temperature": 2.0, **options}
    return distill.apply(
        candidate, the_task or task(), distill.Options(**given), Context(work=str(work), seed=seed)
    )


def tensors(candidate: Candidate) -> dict[str, torch.Tensor]:
    program = programs.load(candidate.program)
    return {**program.state_dict, **program.constants}


def equal(first: Candidate, second: Candidate) -> bool:
    one, two = tensors(first), tensors(second)
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_learns_and_hands_on_the_student_alone(candidate, nets, tmp_path, mode: str) -> None:
    """The peer of "online" knows nothing at the start."""
    given = {"teachers": nets["ignorant"]} if mode == "online" else {}
    done = apply(candidate, tmp_path, mode=mode, images=4800, learning_rate=2e-2, **MODES[mode], **given)
    found = figures(done)
    assert found["metric before"] < 0.3 and found["metric after"] > 0.6, found
    assert top1(predictor(programs.load(done.program).module())) == pytest.approx(found["metric after"])
    assert tensors(done).keys() == tensors(candidate).keys()
    assert all(tensor.is_contiguous() for tensor in tensors(done).values())
    assert not equal(done, candidate) and not (tmp_path / "checkpoint").exists()
    shares = {name: value for name, value in found.items() if name.startswith("share of ")}
    assert sum(shares.values()) == pytest.approx(1.0) and all(value >= 0 for value in shares.values())
    assert (done.pruned, done.unpruned) == ("folder", nets["teacher"])
    assert {figure.step for figure in done.figures} == {"distill"}


@pytest.mark.parametrize(
    "mode", [mode if mode == "offline" else pytest.param(mode, marks=pytest.mark.slow) for mode in MODES]
)
def test_a_killed_stage_goes_on(candidate, nets, tmp_path, mode: str) -> None:
    """In every mode, with unlabelled batches and their pseudo-labels, bit for bit; the same seed gives the same."""
    options = {"mode": mode, "images": 1280, "pseudo": 0.5, **MODES[mode]}

    def data(stop: int = -1) -> ek.Task:
        return task(Batches(TRAIN[:200], stop=stop), Batches(TRAIN[200:500], labelled=False))

    whole = apply(candidate, tmp_path / "a", data(), **options)
    with pytest.raises(KeyboardInterrupt):
        apply(candidate, tmp_path / "b", data(stop=15), **options)
    assert list((tmp_path / "b" / "checkpoint" / "distilled").glob("step-*"))
    assert equal(whole, apply(candidate, tmp_path / "b", data(), **options))
    assert not equal(whole, apply(candidate, tmp_path / "c", data(), seed=1, **options))


@pytest.mark.slow
def test_killed_in_the_guards_own_training_it_goes_on(candidate, tmp_path) -> None:
    whole = apply(candidate, tmp_path / "a", guard=True)
    with pytest.raises(KeyboardInterrupt):
        apply(candidate, tmp_path / "b", task(Batches(stop=35)), guard=True)
    assert len(list((tmp_path / "b" / "checkpoint").glob("*/step-*"))) == 2
    again = apply(candidate, tmp_path / "b", guard=True)
    assert equal(whole, again)
    names = ("metric after", "metric of labels alone", "loss at last")
    assert all(figures(whole)[name] == figures(again)[name] for name in names)


def test_few_labels_and_a_teacher_beat_few_labels(candidate, tmp_path) -> None:
    data = task(Batches(TRAIN[:20]), Batches(TRAIN[20:], labelled=False))
    done = apply(candidate, tmp_path, data, images=4800, learning_rate=2e-2, guard=True, pseudo=0.8)
    found = figures(done)
    assert found["gain over labels alone"] > 0.2, found
    assert found["metric after"] - found["metric of labels alone"] == pytest.approx(
        found["gain over labels alone"]
    )
    assert top1(predictor(programs.load(done.program).module())) == pytest.approx(found["metric after"])


def test_a_teacher_that_harms_is_told(candidate, nets, tmp_path, caplog) -> None:
    caplog.set_level("INFO", "edgekit")
    done = apply(candidate, tmp_path, teachers=nets["ignorant"], alpha=0.0, images=3200, guard=True)
    found = figures(done)
    assert found["gain over labels alone"] < -0.2 and "distillation did not pay: metric" in caplog.text
    assert top1(predictor(programs.load(done.program).module())) == pytest.approx(found["metric after"])
    assert found["metric after"] == found["metric of labels alone"] > found["metric distilled"]


def test_kept_answers_change_nothing(candidate, tmp_path) -> None:
    runs = [apply(candidate, tmp_path / str(kept), images=3200, cache=kept) for kept in (True, False)]
    assert equal(*runs)
    assert [figures(run)["answers kept"] > 1000 for run in runs] == [True, False]


def test_several_teachers_are_asked_their_mean(candidate, nets, tmp_path) -> None:
    names = (nets["teacher"], nets["ignorant"])
    both = figures(apply(candidate, tmp_path / "both", teachers=",".join(names), images=64, alpha=0.0))
    each = [
        figures(apply(candidate, tmp_path / n[-6:], teachers=n, images=64, alpha=0.0))["loss at first"]
        for n in names
    ]
    assert min(each) < both["loss at first"] < max(each)


def test_the_net_before_pruning_and_a_student_given(candidate, nets, tmp_path) -> None:
    named = [apply(candidate, tmp_path / t[-9:], teachers=t, images=64) for t in ("before", nets["teacher"])]
    assert equal(*named)
    wide = msgspec.structs.replace(candidate, program=nets["teacher"])
    given = apply(wide, tmp_path / "given", student=f"{STUDENTS}:small", teachers=nets["teacher"], images=64)
    assert equal(given, named[0]) and (given.pruned, given.unpruned) == ("", "")
    assert given.student == f"{STUDENTS}:small" and not named[0].student


def test_alpha_1_is_plain_fine_tuning_and_needs_no_unlabelled_batches(candidate, nets, tmp_path) -> None:
    runs = [
        apply(candidate, tmp_path / str(i), task(unlabelled=more), alpha=1.0, teachers=teacher)
        for i, (more, teacher) in enumerate(
            ((None, nets["teacher"]), (Batches(labelled=False), nets["ignorant"]))
        )
    ]
    assert equal(*runs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 2}, "alpha is 2; allowed: at least 0, at most 1"),
        ({"temperature": 0}, "temperature is 0; allowed: above 0"),
        ({"mode": "of"}, "mode is 'of'; allowed: ema, exits, offline, online"),
        ({"mode": "ema", "teachers": "x.pt2"}, "mode ema is its own teacher; leave out teachers=x.pt2"),
        ({"teachers": "x.pt2"}, "no exported program at x.pt2"),
        ({"teachers": f"{STUDENTS}:none"}, "has no attribute 'none'; it has: "),
        ({"mode": "online", "teachers": f"{STUDENTS}:small,{STUDENTS}:Net"}, "takes one teacher; given are"),
        (
            {"teachers": f"{STUDENTS}:other_classes"},
            r"other_classes' answers \[1, 7\] and the student answers \[1, 10\]",
        ),
        (
            {"student": f"{STUDENTS}:other_classes"},
            r"other_classes' answers \[1, 7\] and the model answers \[1, 10\]",
        ),
        ({"pseudo": 0.9}, "pseudo is 0.9, but the task has no unlabelled batches"),
        ({"pseudo": 0.9, "alpha": 0}, "pseudo needs alpha above 0"),
        ({"features": "earl"}, "the student has no module 'earl'; did you mean 'early'"),
    ],
)
def test_options_that_do_not_fit(candidate, tmp_path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        apply(candidate, tmp_path, **options)
    assert not (tmp_path / "program.pt2").exists()


def test_what_it_cannot_do(candidate, tmp_path) -> None:
    with pytest.raises(TaskError, match="'digits' has no training data; distill needs"):
        apply(candidate, tmp_path, task(training=None))
    bad = ek.Training(batches=[(IMAGES[:4], LABELS[:4] + 20)], loss=F.cross_entropy)
    with pytest.raises(TaskError, match="the model has 10 outputs"):
        apply(candidate, tmp_path, task(training=bad))
    with pytest.raises(UserError, match="teachers is 'before', but no step before this one pruned"):
        apply(msgspec.structs.replace(candidate, unpruned=""), tmp_path, teachers="before")
    nans = ek.Training(batches=Batches(), loss=lambda o, y: F.cross_entropy(o, y) * float("nan"))
    with pytest.raises(Diverged, match="loss became nan"):
        apply(candidate, tmp_path, task(training=nans))
    assert not (tmp_path / "program.pt2").exists()
