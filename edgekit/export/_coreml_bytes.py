"""Rewrites a saved package so that the same program has the same bytes.

coremltools saves protobuf maps in random order, the date of the conversion, random keys in Manifest.json, and a table for
ExecuTorch's debugger that no device reads. Only with equal bytes does equal content have equal hashes: a build sees that
nothing changed, and every file that ships can be covered by one.
"""

import json
import uuid
from pathlib import Path
from typing import Any

from coremltools.proto import Model_pb2

DATE = "com.github.apple.coremltools.conversion_date"
DEBUG_TABLE = "executorch_debug_handle_mapping.json"
MANIFEST = "Manifest.json"


def normalize(package: Path) -> None:
    """Rewrites the .mlpackage in place: its program, its Manifest.json, and without the debugger's table."""
    (package / DEBUG_TABLE).unlink(missing_ok=True)
    _rewrite_manifest(package / MANIFEST)
    for path in sorted((package / "Data").rglob("*.mlmodel")):
        model = Model_pb2.Model()
        model.ParseFromString(path.read_bytes())
        model.description.metadata.userDefined.pop(DATE, None)
        path.write_bytes(model.SerializeToString(deterministic=True))


def _rewrite_manifest(path: Path) -> None:
    """Gives every item a key that follows from its path, in place of a random one."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    items = content["itemInfoEntries"]
    named = {
        key: str(uuid.uuid5(uuid.NAMESPACE_URL, f"edgekit:{item['path']}")) for key, item in items.items()
    }
    content["itemInfoEntries"] = {named[key]: item for key, item in items.items()}
    content["rootModelIdentifier"] = named[content["rootModelIdentifier"]]
    path.write_text(json.dumps(content, indent=4, sort_keys=True) + "\n", encoding="utf-8")
