"""What a stage is known by beyond its run: a hash of all that went in, wherever the folders lie.

In a work folder a stage is known by the text of its spec, and by the fingerprint of the run. For the cache that outlives runs
both go into one hash: paths are replaced by what they hold, and of the fingerprint only those parts count that the
stage depends on. So another metric finds the exported files again, and has them proven again.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from edgekit.engine.catalogue import Stage
from edgekit.engine.machine import boot
from edgekit.engine.parts import UNSTABLE
from edgekit.records import Record

SELF, TRACE = (
    "@self",
    "@trace",
)  # the stage's own folder; that of the trace, whose content the fingerprint tells
OF_THE_TASK = ("source", "facts")  # fields that the fingerprint stands for


class Places:
    """The folders of the stages of one run, by identity; it turns paths into identities and back.

    Args:
        work: The work folder.
    """

    def __init__(self, work: Path) -> None:
        self._work = f"{work}/"
        self._identities: dict[str, str] = {}  # "owner/stage-key" -> identity
        self._folders: dict[str, str] = {}

    def know(self, folder: Path, identity: str) -> None:
        """Notes which stage a folder holds."""
        name = str(folder).removeprefix(self._work)
        self._identities[name] = identity
        self._folders[identity] = str(folder)

    def without(self, value: Any, own: Path | None = None) -> Any:
        """Returns plain data with every path of a stage as its identity.

        Args:
            value: Plain data, with absolute paths.
            own: The folder that becomes `SELF`.

        Raises:
            KeyError: A path lies in the work folder but in no known stage.
        """
        if isinstance(value, dict):
            return {key: self.without(each, own) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.without(each, own) for each in value]
        if not isinstance(value, str) or not value.startswith(self._work):
            return value
        owner, name, *rest = value.removeprefix(self._work).split("/")
        folder = f"{owner}/{name}"
        known = SELF if own is not None and f"{self._work}{folder}" == str(own) else self._identities[folder]
        return "/".join([known, *rest])

    def with_(self, value: Any, own: Path) -> Any:
        """Returns plain data of `without` with the folders of this run in it.

        Raises:
            KeyError: It names a stage that this run does not know.
        """
        if isinstance(value, dict):
            return {key: self.with_(each, own) for key, each in value.items()}
        if isinstance(value, list):
            return [self.with_(each, own) for each in value]
        if not isinstance(value, str) or not value.startswith("@"):
            return value
        token, *rest = value.split("/")
        return "/".join([str(own) if token == SELF else self._folders[token], *rest])


def of_stage(
    stage: Stage[Any, Any], spec: Record, parts: Mapping[str, str], places: Places, machine: Mapping[str, str]
) -> str | None:
    """Returns the identity of a stage.

    Args:
        stage: The stage.
        spec: Its spec, for the folder that has no name yet.
        parts: The fingerprint of the run.
        places: The stages that ran before it.
        machine: The facts of the host.

    Returns:
        None for a stage that is run each time: it measures what may have changed, or depends on data that is not the same
        twice.
    """
    started = {"boot": boot()} if stage.alone else {}
    if stage.alone and not (stage.lasts(spec) and all(started.values())):
        return None
    ignored = stage.ignores(spec)
    content = {name: value for name, value in parts.items() if name not in ignored}
    if any(value.startswith(UNSTABLE) for value in content.values()):
        return None
    try:
        plain = places.without(_essential(msgspec.to_builtins(spec)))
    except KeyError:
        return None
    whole = json.dumps([stage.function, plain, content, {**machine, **started}], sort_keys=True)
    return "@" + hashlib.sha256(whole.encode()).hexdigest()[:32]


def _essential(spec: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what the fingerprint stands for: the task, and of the traced model all but its program."""
    found = {}
    for key, value in spec.items():
        if key == "traced" and value is not None:
            found[key] = value["program"]
        elif isinstance(value, dict) and key not in OF_THE_TASK:
            found[key] = _essential(value)
        elif key not in OF_THE_TASK:
            found[key] = value
    return found
