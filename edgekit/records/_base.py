"""The base of all records, and the types of fields that several of them share."""

from typing import Annotated, Any, dataclass_transform

import msgspec

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class _KeywordOnly(msgspec.StructMeta):
    """Makes every subclass keyword-only.

    msgspec does not pass kw_only on to subclasses: each would take its fields by position.
    """

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **config: Any) -> Any:
        return super().__new__(mcls, name, bases, namespace, kw_only=True, **config)


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Record(msgspec.Struct, metaclass=_KeywordOnly, frozen=True, forbid_unknown_fields=True):
    """Base of all records."""
