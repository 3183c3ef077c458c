"""What calibration accepts, and the sentence for everything else."""

import logging
import weakref
from collections import deque

import numpy as np
import pytest
import torch

from edgekit.errors import TaskError
from edgekit.quant.calibrate import TOGETHER, calibrate, checked, pieces

LIKE = (torch.zeros(2, 3),)
TWO = (torch.zeros(1, 3), torch.zeros(1, 4, dtype=torch.int64))


class Seen(torch.nn.Module):
    def __init__(self, together: int = 1) -> None:
        super().__init__()
        self.meta = {TOGETHER: together}
        self.batches: list[torch.Tensor] | deque[torch.Tensor] = []

    def forward(self, *x: torch.Tensor) -> None:
        self.batches.append(x[0])


def test_batches_are_cut_to_the_models_batch() -> None:
    model, x = Seen(), torch.arange(15.0).view(5, 3)
    assert calibrate(model, [x, x[:2]], LIKE, limit=10) == (2, 4)  # type: ignore[arg-type]
    assert [b[:, 0].tolist() for b in model.batches] == [[0, 3], [6, 9], [9, 12], [0, 3]]


def test_no_more_than_the_limit_is_read() -> None:
    def endless():
        while True:
            yield np.zeros((2, 3), np.float32)

    assert calibrate(Seen(), endless(), LIKE, limit=3) == (3, 3)  # type: ignore[arg-type]


def test_samples_that_may_go_together_do() -> None:
    model, x = Seen(together=3), torch.arange(15.0).view(5, 3)
    assert calibrate(model, [x, x[:2]], (torch.zeros(1, 3),), limit=10) == (2, 7)  # type: ignore[arg-type]
    assert [b[:, 0].tolist() for b in model.batches] == [[0, 3, 6], [9, 12], [0, 3]]


def test_a_batch_is_forgotten_before_the_next_one_is_made() -> None:
    alive: list[weakref.ref[torch.Tensor]] = []

    def batches():
        for _ in range(3):
            assert all(made() is None for made in alive)
            batch = torch.zeros(4, 3)
            alive.append(weakref.ref(batch))
            yield batch
            del batch

    model = Seen()
    model.batches = deque(maxlen=0)
    assert calibrate(model, batches(), LIKE, limit=3) == (3, 6)  # type: ignore[arg-type]


def test_arrays_tensors_and_tuples() -> None:
    for batch in (
        np.ones((2, 3), np.float32),
        torch.ones(2, 3),
        (torch.ones(2, 3),),
        [np.ones((2, 3), np.float32)],
    ):
        (piece,) = pieces(batch, LIKE, 0)
        assert torch.equal(piece[0], torch.ones(2, 3))
    assert len(checked((torch.ones(1, 3), np.ones((1, 4), np.int64)), TWO, 0)) == 2


def test_progress_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "edgekit"):
        calibrate(Seen(), [torch.zeros(2, 3)] * 4, LIKE, limit=4)  # type: ignore[arg-type]
    assert [r.getMessage() for r in caplog.records if r.name == "edgekit"][
        -1
    ] == "calibration: batch 4 of at most 4"


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.zeros(2, 4), r"batch 7 has shape \[2, 4\]; the model takes \['N', 3\], any N"),
        (torch.zeros(2, 3, 1), r"batch 7 has shape \[2, 3, 1\]"),
        (torch.tensor(1.0), r"batch 7 has shape \[\]"),
        (torch.zeros(1, 3), r"batch 7 holds 1 samples; expected at least 2"),
        (np.zeros((2, 3), np.uint8), r"batch 7 has type uint8; the model takes float32"),
        (torch.tensor([[1.0, 2, float("nan")]] * 2), r"batch 7 holds NaN or infinite values"),
        (np.full((2, 3), np.inf, np.float32), r"batch 7 holds NaN or infinite values"),
        ("photo.jpg", r"batch 7 is a str; expected a torch tensor, a numpy array or a tuple of them"),
        ((torch.zeros(2, 3), torch.zeros(2)), r"batch 7 holds 2 inputs; the model takes 1"),
    ],
)
def test_a_batch_that_does_not_fit_is_named(batch: object, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        list(pieces(batch, LIKE, 7))


def test_inputs_of_different_length() -> None:
    with pytest.raises(
        TaskError, match="input 1 holds 1 samples; expected at least 1, the same in all inputs"
    ):
        checked((torch.zeros(2, 3), torch.zeros(1, 4, dtype=torch.int64)), TWO, 0)


def test_no_batch_at_all() -> None:
    with pytest.raises(TaskError, match="yields no batch; give at least one"):
        calibrate(Seen(), [], LIKE, limit=3)  # type: ignore[arg-type]
