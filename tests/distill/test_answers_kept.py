"""Kept answers and interleaved batches: what comes again, what never does, and what a stream is made of."""

from typing import Any

import pytest
import torch
from torch import nn

from edgekit.distill.cache import OVERHEAD_BYTES, Cache
from edgekit.distill.unlabelled import Interleaved
from edgekit.errors import TaskError


class Teacher:
    """Two teachers, one of them with two outputs; counts how often it is asked."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.net, self.asked = nn.Linear(3, 4), 0

    @torch.no_grad()
    def __call__(self, inputs: tuple[torch.Tensor, ...]) -> Any:
        self.asked += 1
        y = self.net(inputs[0])
        return [(y, ()), ((y * 2, y[:, :1]), ())]


def same(first: Any, second: Any) -> bool:
    return all(
        torch.equal(a, b)
        for a, b in zip((first[0][0], *first[1][0]), (second[0][0], *second[1][0]), strict=True)
    )


def test_samples_that_come_again_in_another_order_are_not_asked_again() -> None:
    teacher = Teacher()
    cache, x = Cache(teacher), torch.randn(8, 3)
    first = cache((x,))
    again = cache((x.flip(0),))
    assert teacher.asked == 1 and cache.hits == 8
    assert same([(first[0][0].flip(0), ()), (tuple(v.flip(0) for v in first[1][0]), ())], again)
    mixed = torch.cat([x[:4], torch.randn(4, 3)])
    assert same(cache((mixed,)), teacher((mixed,))) and cache.hits == 8, "one that is new: all are asked"
    assert cache((x, torch.zeros(8, 2))) and cache.hits == 8, "every input counts"
    assert cache((x[:1],)) and cache.hits == 8, "a smaller batch may be summed in another order"


def test_it_notices_that_nothing_comes_again() -> None:
    teacher = Teacher()
    cache = Cache(teacher, patience=20)
    for _ in range(6):
        cache((torch.randn(8, 3),))
    assert cache.off and cache.seen == 24 and cache.held_bytes == 0 and not cache._rows
    x = torch.randn(8, 3)
    assert same(cache((x,)), teacher((x,)))


def test_its_memory_has_a_bound() -> None:
    one = OVERHEAD_BYTES + 4 * (4 + 4 + 1)
    cache, x = Cache(Teacher(), limit_bytes=12 * one), torch.randn(8, 3)
    cache((x,)), cache((x,))
    for _ in range(10):
        cache((torch.randn(8, 3),))
    assert not cache.off and len(cache._rows) == 12 and cache.hits == 8
    never = Cache(Teacher(), limit_bytes=12 * one)
    for _ in range(2):
        never((torch.randn(8, 3),))
    assert never.off


def test_unlabelled_batches_come_among_the_others() -> None:
    both = Interleaved([("a", 0), ("b", 1)], ["x", "y", "z", "w", "v"], 2)
    assert list(both)[:6] == [("a", 0), ("x", None), ("y", None), ("b", 1), ("z", None), ("w", None)]
    names = [batch[0] for batch in both]
    assert {"v", "b"} <= set(names) and names.count("a") >= 2, "the longer is read to its end"
    assert list(both) == list(both)


@pytest.mark.parametrize(
    ("labelled", "unlabelled", "message"),
    [
        ([("a", 0)], [], "unlabelled yield no batch"),
        ([], ["x"], "batches yield no batch"),
        ([("a", 0)], iter(["x"]), "unlabelled are a one-shot iterator"),
    ],
)
def test_data_that_cannot_be_read_again(labelled: Any, unlabelled: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        list(Interleaved(labelled, unlabelled, 1))
