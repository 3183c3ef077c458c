"""What frameworks would tell their makers, switched off: the one table of it, for every process of edgekit and of the runner.

Most frameworks read these when they are imported, or with their first session; so they stand in the environment before.
`HF_HUB_OFFLINE` is not among them: a task may fetch its own weights, which is for its author to decide.
"""

import os
from collections.abc import Mapping
from types import MappingProxyType

NO_TELEMETRY: Mapping[str, str] = MappingProxyType(
    {
        # a device id and an event store in the user's cache, and uploads with the path of the interpreter
        "ORT_DISABLE_TELEMETRY": "1",
        # Hugging Face: accelerate and whatever a task imports
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "DISABLE_TELEMETRY": "1",
        # https://consoledonottrack.com: what else a task imports
        "DO_NOT_TRACK": "1",
    }
)


def switch_off() -> None:
    """Switches telemetry off in this process and in those that it starts, before any framework is imported."""
    os.environ.update(NO_TELEMETRY)
