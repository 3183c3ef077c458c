"""Every step that trains, in bfloat16 by autocast: it learns, weights stay float32, and the file computes what was trained."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from digits_data import IMAGES, TEST, TRAIN, figures, metric
from sparse_digits import INT8, made, task, weights

from edgekit.engine.specs import Context
from edgekit.records import Candidate
from edgekit.techniques import binarize, distill, lottery, qat, sparsify

pytestmark = pytest.mark.long

STEPS: dict[str, tuple[Any, dict[str, Any]]] = {
    "qat": (qat, {}),
    "distill": (distill, {}),
    "sparsify": (sparsify, {"sparsity": 0.5, "schedule": "gradual"}),
    "lottery": (lottery, {"sparsity": 0.5, "each": 0.3}),
    "binarize": (binarize, {"images": 3200}),
}


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    return msgspec.structs.replace(made(tmp_path_factory.mktemp("float")), quant=INT8)


@pytest.mark.parametrize("name", STEPS)
def test_it_trains_in_bfloat16(candidate: Candidate, tmp_path: Path, name: str) -> None:
    technique, given = STEPS[name]
    options = technique.Options(**{"images": 1280, "learning_rate": 3e-3, "precision": "bfloat16", **given})
    the_task = task(calibration=[IMAGES[TRAIN[:64]]])
    done = technique.apply(candidate, the_task, options, Context(work=str(tmp_path), seed=0))
    found = figures(done)
    assert all(weight.dtype == torch.float32 for weight in weights(done).values())
    assert metric(done) > (0.6 if name == "binarize" else 0.85)
    if name == "qat":
        assert abs(found["conversion gap"]) <= 2 / len(TEST)
