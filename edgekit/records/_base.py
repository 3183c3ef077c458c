"""The base of all records, the types of fields that several of them share, and how plain data becomes one."""

import functools
import threading
from collections.abc import Hashable
from typing import Annotated, Any, TypeVar, cast, dataclass_transform

import msgspec

T = TypeVar("T")
_WORKED_OUT = threading.Lock()
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


def convert(data: Any, kind: type[T], *, strict: bool = True) -> T:
    """Makes a record of plain data, as `msgspec.convert` does, from any thread.

    msgspec works out what a record holds when it first meets it, and shows it to other threads before that is done: one that makes
    such a record in the meantime crashes the process (SIGSEGV). So each kind is worked out by one thread alone.

    Raises:
        ValueError: The data are no such record; msgspec.ValidationError, or of half a character UnicodeEncodeError.
    """
    with _WORKED_OUT:
        _work_out(cast(Hashable, kind))
    return msgspec.convert(data, kind, strict=strict)


@functools.cache
def _work_out(kind: Hashable) -> None:
    msgspec.json.Decoder(kind)
