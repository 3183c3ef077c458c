"""What a task file defines can be sent to workers that are spawned."""

import importlib.util
import multiprocessing
import sys
from pathlib import Path

import pytest

from edgekit.engine.task_reference import attribute

FILE = """
class Items:
    def __getitem__(self, number):
        return number * 2

def third(items):
    return items[3]
"""


@pytest.mark.parametrize("main", ["edgekit.engine.server", "edgekit.engine.child"])
def test_a_spawned_worker_finds_classes_of_a_task_file(
    main: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_TASK_FILES", "{}")
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "0 my-data.py"
    path.write_text(FILE)
    items = attribute(f"{path}:Items")
    third = sys.modules[items.__module__].third
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", importlib.util.find_spec(main))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(third, (items(),)).get(30) == 6
