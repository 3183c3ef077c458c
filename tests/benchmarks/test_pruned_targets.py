"""benchmarks/pruned_targets.py: its rows and its questions; the stages themselves are tested where they are."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import pruned_targets

from edgekit.errors import UserError


def test_data_that_was_not_given_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="resnet56 needs --cifar"):
        pruned_targets.source("resnet56", None, None)
    with pytest.raises(UserError, match="efficientnet_lite0 needs --photos"):
        pruned_targets.source("efficientnet_lite0", None, tmp_path)
    assert pruned_targets.source("resnet56", None, tmp_path).settings["train"].endswith("train.npz")


def test_every_net_has_a_task_of_the_examples(tmp_path: Path) -> None:
    for name in pruned_targets.NAMES:
        file, _, attribute = pruned_targets.source(name, tmp_path, tmp_path).reference.rpartition(":")
        assert Path(file).is_file()
        assert attribute == "task"


def test_a_net_without_a_file_is_a_row_with_its_sentence() -> None:
    row = pruned_targets.Row(model="swin_t", target="x86-server", error="it cannot be pruned")
    cells = pruned_targets.cells(row)
    assert len(cells) == len(pruned_targets.HEAD)
    assert cells[-1] == "it cannot be pruned"


@pytest.mark.slow
def test_one_net_on_one_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--work", str(tmp_path), "--only", "mobilenet_v3_small", "--targets", "coreml-fp16"]
    assert pruned_targets.main(asked) == 0
    assert "mobilenet_v3_small" in capsys.readouterr().out
    assert pruned_targets.main(asked) == 0, "what is finished is kept"
    assert pruned_targets.main([*asked, "--macs", "0.7"]) == 2
