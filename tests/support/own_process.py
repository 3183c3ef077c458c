"""Runs a test file as a program: networks are built and converted there, so no converter enters the test process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def found_by(file: str, folder: Path) -> Any:
    """Returns what `file`, run with `folder` as its argument, wrote into `found.json` there."""
    run = subprocess.run(
        [sys.executable, file, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (folder / "found.json").is_file(), run.stderr[-3000:]
    return json.loads((folder / "found.json").read_text())
