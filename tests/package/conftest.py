"""Exports that nothing here executes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plain_export import write_plain_export

Export = Callable[..., Path]


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """Writes an export of one target under this name."""

    def write(name: str, *given: Any, **changes: Any) -> Path:
        return write_plain_export(tmp_path / name, *given, **changes)

    return write
