"""The parts of benchmarks/pretrained_distillation.py that train nothing."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import pretrained_distillation as bench
import pretrained_distillation_task as given

from edgekit.techniques import distill, pretrain


def row(arm: str, right: str, seed: int = 0) -> bench.Row:
    stages = {"distill: metric after": 0.5, "pretrain: masked tokens right after": 0.25}
    kept = {name: value for name, value in stages.items() if name.split(":")[0] in bench.ARMS[arm]}
    return bench.Row(arm=arm, seed=seed, right=right, stages=kept, train_s=10.0)


@pytest.mark.parametrize("arm", bench.ARMS)
def test_every_arm_has_the_same_budget_and_one_student(arm: str) -> None:
    flow = bench.Flow.__new__(bench.Flow)
    flow._csv, flow._samples = "news.csv", 1000
    steps = flow.steps(arm, 2)
    options = [(pretrain if s.technique == "pretrain" else distill).Options(**s.options) for s in steps]
    assert sum(each.images for each in options) == 1000
    assert [each.student for each in options] == [
        f"{bench.TASK}:compact?csv=news.csv&seed=2",
        *[""] * (len(steps) - 1),
    ]


def test_mcnemar_and_the_paired_interval() -> None:
    assert bench.mcnemar("1111100000", "1111100000") == 1.0
    assert bench.mcnemar("1111110000", "0000000000") == pytest.approx(2 / 2**6)
    mean, low, high = bench.difference([("1100", "1000"), ("1110", "1000")])
    assert mean == pytest.approx(37.5) and low < mean < high
    assert bench.difference([("10", "10")]) == (0.0, 0.0, 0.0)


def test_the_table_compares_with_the_whole_of_the_same_seed() -> None:
    rows = [
        row(bench.WHOLE, "1110"),
        row("labels", "1000"),
        row(bench.WHOLE, "1100", 1),
        row("labels", "1000", 1),
    ]
    head, _, whole, labels = bench.table(rows)
    assert head.count("|") == whole.count("|") == labels.count("|")
    assert "whole: pretrain > distill > fine-tune | 62.50 [50.00, 75.00] | -" in " ".join(whole.split())
    assert "| 50.00 [50.00, 50.00] | 25.00 [25.00, 25.00] | 10 [10, 10] |" in " ".join(whole.split())
    assert "| 37.50 [" in labels and "| 0.5, 1 " in labels


def test_the_first_texts_have_labels_and_the_others_none() -> None:
    training = given.task(labels=100).training
    labelled = [len(tokens) for tokens, _ in training.batches]
    unlabelled = [len(tokens) for tokens in training.unlabelled]
    assert sum(labelled) == 100 and sum(unlabelled) == len(given.text.texts().tokens) - 100
