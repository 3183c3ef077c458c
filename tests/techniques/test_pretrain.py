"""Pre-training of small readers of made texts: it learns, its head is gone, and its steps chain."""

from pathlib import Path
from typing import Any

import pytest
import torch
from digits_data import figures
from text_nets import WORDS, Batches, Pair, Tagger, compact, saved, task
from torch import nn
from torch.nn import functional as F

import edgekit as ek
from edgekit.engine.specs import CompressSpec, Context, Steps
from edgekit.engine.task_source import TaskSource
from edgekit.errors import NotApplicable, TaskError, UserError
from edgekit.ladder.recipe_parser import parse
from edgekit.quant import program as programs
from edgekit.records import Candidate, Recipe, Step
from edgekit.techniques import _stage, distill, pretrain

pytestmark = pytest.mark.long

NETS = Path(__file__).parents[1] / "support" / "text_nets.py"


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    return of(compact(), tmp_path_factory.mktemp("nets"))


def of(net: nn.Module, folder: Path, *inputs: torch.Tensor) -> Candidate:
    recipe = Recipe(name="t", precision="float32", steps=())
    return Candidate(program=saved(net, folder / "net.pt2", *inputs), recipe=recipe)


def apply(
    candidate: Candidate, work: Path, the_task: ek.Task | None = None, seed: int = 0, **options: Any
) -> Candidate:
    chosen = pretrain.Options(**{"images": 320, "learning_rate": 1e-2, **options})
    return pretrain.apply(candidate, the_task or task(), chosen, Context(work=str(work), seed=seed))


def tensors(candidate: Candidate) -> dict[str, torch.Tensor]:
    program = programs.load(candidate.program)
    return {**program.state_dict, **program.constants}


def equal(first: Candidate, second: Candidate) -> bool:
    one, two = tensors(first), tensors(second)
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_it_learns_which_word_is_missing_and_hands_on_the_student_alone(candidate, tmp_path) -> None:
    done = apply(candidate, tmp_path, images=3200, learning_rate=2e-2)
    found, before, after = figures(done), tensors(candidate), tensors(done)
    assert found["masked tokens right before"] < 0.15
    assert found["masked tokens right after"] > 4 * found["masked tokens right if the commonest"], found
    assert after.keys() == before.keys() and not (tmp_path / "checkpoint").exists()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {"head.weight", "head.bias"}, "all but the class head has learned"
    assert torch.equal(before["embedding.weight"][0], after["embedding.weight"][0]), "padding stays nothing"


def test_the_seed_decides(candidate, tmp_path) -> None:
    first, again, other = (apply(candidate, tmp_path / n, seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1)))
    assert equal(first, again) and not equal(first, other)
    assert figures(first)["loss at last"] == figures(again)["loss at last"]


def test_a_student_in_bfloat16_of_a_named_module_with_batches_that_have_labels(candidate, tmp_path) -> None:
    labelled = ek.Training(batches=Batches(), loss=F.cross_entropy)
    given = {
        "student": f"{NETS}:compact?channels=7",
        "hidden": "mix.2",
        "precision": "bfloat16",
        "mask_token": WORDS - 1,
    }
    done = apply(candidate, tmp_path, task(training=labelled), **given)
    assert done.student == given["student"] and figures(done)["images trained"] == 320
    assert all(value.dtype == torch.float32 for value in tensors(done).values())


def test_inputs_beside_the_text_and_a_net_that_answers_for_each_word(tmp_path) -> None:
    inputs = (torch.zeros(1, 4), torch.ones(1, 5, dtype=torch.int32), torch.zeros(1, 5, dtype=torch.int64))
    batch = (
        torch.randn(8, 4),
        torch.randint(0, WORDS, (8, 5), dtype=torch.int32),
        torch.randint(0, 3, (8, 5)),
    )
    training = ek.Training(batches=[], loss=F.cross_entropy, unlabelled=[batch])
    done = apply(
        of(Pair(), tmp_path, *inputs), tmp_path, task(training=training), tokens="text", images=16, padding=-1
    )
    assert figures(done)["images trained"] == 16
    assert apply(of(Tagger(), tmp_path), tmp_path / "tagger", images=32).program


def test_the_next_steps_go_on_from_what_was_read(candidate, tmp_path) -> None:
    read = apply(candidate, tmp_path / "read", student=f"{NETS}:compact?channels=7")
    done = read
    for alpha in (0.0, 1.0):
        chosen = distill.Options(images=32, learning_rate=1e-6, alpha=alpha, teachers=candidate.program)
        done = distill.apply(done, task(), chosen, Context(work=str(tmp_path / str(alpha)), seed=0))
    assert done.student == read.student and [f.step for f in done.figures].index("distill") > 0
    first, last = tensors(read), tensors(done)
    assert not equal(read, done) and all(torch.allclose(first[name], last[name], atol=1e-3) for name in first)


@pytest.mark.slow
def test_two_processes_give_what_one_gives(candidate, tmp_path) -> None:
    done = []
    for processes in (1, 2):
        options = {
            "student": f"{NETS}:compact?drop=0",
            "images": 320,
            "learning_rate": 1e-2,
            "processes": processes,
        }
        work = tmp_path / str(processes)
        work.mkdir()
        spec = CompressSpec(
            candidate=candidate,
            step=Step(technique="pretrain", options=options),
            source=TaskSource(name="topics", reference=f"{NETS}:task"),
            context=Context(work=str(work), seed=0),
        )
        done.append(_stage.compress(spec))
    first, second = map(tensors, done)
    assert all(torch.allclose(value, second[name], atol=1e-4) for name, value in first.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": 0}, "mask is 0; allowed: above 0, below 1"),
        ({"mask_token": 0}, "mask_token and padding are both 0"),
        ({"mask_token": 99}, "mask_token is 99, and the embedding has 26 words"),
        ({"hidden": "head"}, r"hidden=head is \[1, 2\], and a vector for each token"),
        ({"tokens": "text"}, "no embedding looks up an input 'text'; those that one does are tokens"),
        ({"student": "nets.py:none"}, "nets.py does not exist"),
        ({"student": f"{NETS}:none"}, "has no attribute 'none'"),
    ],
)
def test_options_that_do_not_fit(candidate, tmp_path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        apply(candidate, tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_what_it_cannot_do(candidate, tmp_path) -> None:
    with pytest.raises(TaskError, match="'topics' has no training data; pretrain needs"):
        apply(candidate, tmp_path, task(training=None))
    with pytest.raises(NotApplicable, match="the network has no tokens to predict"):
        apply(of(nn.Linear(4, 2), tmp_path, torch.zeros(1, 4)), tmp_path)
    for number, message in (
        (0, "hold nothing but padding, 0, and the mask, 1"),
        (WORDS, "batch 0 has words 26 to 26; the embedding of tokens knows 0 to 25"),
    ):
        batch = torch.full((4, 10), number)
        training = ek.Training(batches=[], loss=F.cross_entropy, unlabelled=[batch])
        with pytest.raises(TaskError, match=message):
            apply(candidate, tmp_path, task(training=training))
    assert not (tmp_path / "program.pt2").exists()


def test_a_recipe_of_three_stages_is_read_before_any_work() -> None:
    def check(recipe: str) -> list[str]:
        steps = [Step(technique=s.technique, options=s.options) for s in parse(recipe).steps]
        return [step.technique for step in _stage.check(Steps(steps=tuple(steps))).steps]

    given = f"pretrain(student={NETS}:compact, images=640) > distill(alpha=0) > distill(alpha=1) > ptq"
    assert check(given) == ["pretrain", "distill", "distill", "ptq"]
    with pytest.raises(UserError, match="pretrain: mask is 0; allowed: above 0, below 1"):
        check("pretrain(mask=0) > ptq")
    with pytest.raises(UserError, match="pretrain needs a float program; put it before ptq"):
        check("ptq > pretrain")
