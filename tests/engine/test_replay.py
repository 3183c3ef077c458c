"""A kept stage runs again in this process, where a debugger sees it."""

import json
from pathlib import Path

import pytest
from child_functions import Answer, Order

from edgekit.engine import process, replay
from edgekit.engine.catalogue import Stage
from edgekit.engine.environment import environment
from edgekit.errors import StageTimeout, UserError


def kept(folder: Path, name: str, **order: object) -> Path:
    """A stage's folder as a run leaves it."""
    stage = Stage(name=name, function=f"child_functions:{name}", spec=Order, result=Answer)
    process.run(stage, Order(folder=str(folder), **order), folder)  # type: ignore[arg-type]
    return folder


def test_it_runs_here_and_leaves_the_kept_files_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = kept(tmp_path / "write-1", "write", text="a")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in environment(tuned=True):
        monkeypatch.setenv(name, "")  # put back afterwards
    assert replay.main([str(folder)]) == 0
    assert json.loads(_json(capsys))["result"]["text"] == "a"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def _json(capsys: pytest.CaptureFixture[str]) -> str:
    out = capsys.readouterr().out
    return out[out.index("{") :]


def test_a_folder_of_no_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no stage's folder: it holds no spec.json"):
        replay.replay(tmp_path, tmp_path)


def test_a_stage_that_hangs_is_ended_and_names_its_folder(tmp_path: Path) -> None:
    stage = Stage(name="nap", function="child_functions:sleep", spec=Order, result=Answer)
    with pytest.raises(StageTimeout) as caught:
        process.run(stage, Order(folder=str(tmp_path)), tmp_path, limit_s=0.5)
    text = str(caught.value)
    assert text.startswith("nap took longer than its limit of 0.5 s and was ended; its log ")
    assert f"python -m edgekit.engine.replay {tmp_path}" in text and "--stage-timeout" in text
