"""The command line in the test's own process, its stages too where a test asks for `in_process`."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from edgekit import errors
from edgekit.cli.main import main
from edgekit.engine import child, process
from edgekit.engine.catalogue import Stage
from edgekit.profile.reading import profile_dir
from edgekit.records import StageTime

TASKS = Path(__file__).parents[1] / "task_files"
SMALL = TASKS / "small.py"


def edgekit(*arguments: object, exit_code: int | None = None) -> Result:
    """What a command gave; `exit_code` is the one it must end with, None any."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert exit_code in (None, result.exit_code), result.output
    return result


def run_here(stage: Stage[Any, Any], spec: Any, folder: Path, **more: Any) -> tuple[Any, StageTime]:
    """In place of `process.run`: everything crosses as JSON, as it would to a child."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.txt").write_text("ran in the test's own process\n")
    job = {"function": stage.function, "spec": msgspec.to_builtins(spec)}
    (folder / "spec.json").write_text(json.dumps(job))
    try:
        answer = child.call(folder / "spec.json")
    except Exception as error:
        failure = child.failure(error)
        raise errors.by_name(failure["kind"])(failure["message"]) from error
    found = msgspec.convert(json.loads(json.dumps(answer["result"])), stage.result)
    return found, StageTime(stage=more.get("label") or stage.name, wall_s=0.0)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages run here."""
    monkeypatch.setattr(process, "run", run_here)


def without_ladder(name: str) -> str:
    """A built-in profile's text, its ladder left out."""
    text = (profile_dir() / f"{name}.toml").read_text(encoding="utf-8")
    return re.sub(r"(?ms)^ladder = \[.*?^\]\n", "", text)
