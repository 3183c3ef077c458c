"""A pruned module from its folder, and folders of other models. (Equal answers: test_shrink.py.)"""

import json
from pathlib import Path

import prune_nets as nets
import pytest
import torch
from torch import nn

from edgekit.errors import UserError
from edgekit.prune import saved
from edgekit.prune.criteria import Evidence
from edgekit.prune.shrink import Request, shrink

EXAMPLE = (torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pruned")
    net = nets.made(nets.Residual)
    done = shrink(net, EXAMPLE, Request(multiple=8), Evidence())
    saved.save(net, done.module, done.kept, place)
    return place


def test_the_file_tells_what_was_kept(folder: Path) -> None:
    told = json.loads((folder / saved.FILE).read_text())
    assert told["model"] == "Residual" and told["numbers"]["conv1"]["out_channels"] == {
        "before": 16,
        "after": 8,
    }
    assert told["shapes"]["conv1.weight"] == {"before": [16, 1, 3, 3], "after": [8, 1, 3, 3]}
    assert len(told["kept"]["conv1"]) == 8 and [p.name for p in folder.iterdir()] == [saved.FILE]


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (
            lambda: nets.Residual(width=24),
            r"is a Residual with 16 at conv1\.out_channels; this Residual has 24 there",
        ),
        (
            nets.Mobile,
            r"with 16 at conv1\.out_channels; this Mobile has nothing there\. It is a checkpoint of another",
        ),
        (lambda: nn.Linear(2, 2), "checkpoint of another model: give the task that was pruned"),
    ],
)
def test_a_checkpoint_of_another_model(folder: Path, net: type[nn.Module], message: str) -> None:
    with pytest.raises(UserError, match=message):
        saved.rebuild(net(), folder)


def test_folders_that_hold_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no pruned model at .*: No such file"):
        saved.rebuild(nets.Residual(), tmp_path / "none")
    for text in (
        "{",
        '{"model": 3}',
        '{"model": "a", "numbers": {}, "shapes": {}, "kept": {}, "code": "import os"}',
    ):
        (tmp_path / saved.FILE).write_text(text)
        with pytest.raises(UserError, match="does not describe a pruned model"):
            saved.rebuild(nets.Residual(), tmp_path)
