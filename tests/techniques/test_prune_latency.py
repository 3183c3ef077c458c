"""Options of pruning for latency, and what it says without a table. The whole of it is in tests/test_latency_flow.py."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import edgekit as ek
from edgekit.engine.specs import Context
from edgekit.errors import ConversionError, UserError
from edgekit.profile.reading import load_target
from edgekit.quant import program as programs
from edgekit.records import Candidate, Recipe, Step, WidthTable
from edgekit.techniques import prune
from edgekit.trace.model import export

EXAMPLE = (torch.zeros(1, 1, 8, 8),)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"speedup": 1.5}, "for scope latency alone"),
        ({"speedup": -1.0, "scope": "latency"}, r"speedup is -1\.0; allowed: at least 0"),
        ({"scope": "latency", "steps": 3}, "cuts once, to widths that were measured"),
        ({"scope": "speed"}, "latency"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        prune.Options(**options)


def test_options_are_read_from_a_step() -> None:
    step = Step(technique="prune", options={"scope": "latency", "speedup": 2, "device": "ssh:pi"})
    assert prune.options_of(step) == prune.Options(scope="latency", speedup=2.0, device="ssh:pi")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (None, "there is no target"),
        (
            WidthTable(conditions={}, rows=(), base_s=0, float_s=0, reason="it is a toaster"),
            "it is a toaster",
        ),
    ],
)
def test_without_figures_it_says_why(tmp_path: Path, table: WidthTable | None, said: str) -> None:
    net = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 6), nn.Flatten()).eval()
    programs.save(export(net, EXAMPLE), tmp_path / "float.pt2")
    recipe = Recipe(name="t", precision="float32", steps=())
    task = ek.Task(name="net", model=net, example_inputs=EXAMPLE, metric=lambda predict: 0.0)
    context = Context(work=str(tmp_path), target=load_target("x86-server"), widths=table)
    options = prune.Options(scope="latency", speedup=1.5, recalibrate=0)
    candidate = Candidate(program=str(tmp_path / "float.pt2"), recipe=recipe)
    with pytest.raises(ConversionError, match=f"none were measured: {said}"):
        prune.apply(candidate, task, options, context)
