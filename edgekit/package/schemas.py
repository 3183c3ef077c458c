"""JSON Schemas of the files that pipelines read, made from their records: what is written is what the schema says."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from edgekit_runner import __version__

from edgekit.records import Record, Report
from edgekit.records.bundle import Bundle, Measured
from edgekit.records.instructions import Instructions
from edgekit.records.manifest import Manifest
from edgekit.records.updates import UpdateIndex

DIALECT = "https://json-schema.org/draft/2020-12/schema"
RECORDS: Mapping[str, type[Record]] = MappingProxyType(
    {
        "bundle": Bundle,
        "index": UpdateIndex,
        "instructions": Instructions,
        "manifest": Manifest,
        "measured": Measured,
        "report": Report,
    }
)


def schema(name: str) -> dict[str, Any]:
    """Makes the schema of one file.

    Args:
        name: A key of RECORDS.

    Returns:
        A JSON Schema as plain data.
    """
    found = msgspec.json.schema(RECORDS[name])
    return {"$schema": DIALECT, "title": f"{name}.json of edgekit {__version__}", **found}
