"""What can run here, without loading any runtime."""

import importlib.metadata
import importlib.util
import sys
from typing import Any

from edgekit_runner import __version__, backends
from edgekit_runner.host import environment, sensors
from edgekit_runner.record import SCHEMA_VERSION


def describe() -> dict[str, Any]:
    """The runner, the machine, every backend with its version or its pip line, and the readable sensors."""
    return {
        "schema_version": SCHEMA_VERSION,
        "runner_version": __version__,
        "environment": environment.describe(),
        "backends": [_backend(name) for name in backends.names()],
        "sensors": sensors.available(),
    }


def _backend(name: str) -> dict[str, Any]:
    module = backends.load(name)
    version = _version(module.DISTRIBUTION)
    hint = None if version else f"pip install {module.DISTRIBUTION}"
    if module.FORMAT == "coreml" and sys.platform != "darwin":
        version, hint = None, "Core ML runs on macOS only."
    return {
        "format": module.FORMAT, "suffix": module.SUFFIX, "runtime": module.RUNTIME,
        "available": version is not None, "version": version, "hint": hint, "options": list(module.OPTIONS),
    }  # fmt: skip


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def render(found: dict[str, Any]) -> str:
    """What `describe` found as text for a person."""
    env = found["environment"]
    flags = env["isa_flags"] if isinstance(env["isa_flags"], str) else " ".join(env["isa_flags"])
    lines = [
        f"edgekit-runner {found['runner_version']}",
        f"machine  {env['machine']}, {env['cpu_model']}, {env['cpu_logical_count']} CPUs",
        f"isa      {env['isa']} ({flags})",
    ]
    for backend in found["backends"]:
        state = backend["version"] if backend["available"] else f"not here: {backend['hint']}"
        lines.append(f"{backend['suffix']:<12}{backend['runtime']:<14}{state}")
    lines += [f"sensor   {name}: {state}" for name, state in found["sensors"].items()]
    return "\n".join(lines)
