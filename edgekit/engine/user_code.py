"""The user's own code: what it raises becomes one sentence with the line it came from."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError, TaskError


def run_user_code(call: Callable[[], Any], where: str) -> Any:
    """Runs the user's code; what it raises becomes one sentence with the line it came from."""
    try:
        return call()
    except (EdgekitError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise TaskError(f"{where} raised {describe(error)}") from error


def describe(error: BaseException) -> str:
    """Says where the user's own code raised an error: `ValueError: text (file.py, line 7)`."""
    ours, stack = Path(__file__).parents[1], traceback.extract_tb(error.__traceback__)
    frames = [f for f in stack if "importlib" not in f.filename and not Path(f.filename).is_relative_to(ours)]
    theirs = [f for f in frames if "site-packages" not in f.filename] or frames
    line = f" ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})" if theirs else ""
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text[:400]}{line}"
