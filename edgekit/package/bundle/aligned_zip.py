"""Zip files with the same bytes for the same content; what is mapped into memory is stored, at an aligned place.

Names are sorted, the date is 1980-01-01, mode and host are fixed. Stored entries begin at a multiple of 4 bytes, by padding
their extra field as Android's zipalign does.
"""

import io
import zipfile
from collections.abc import Mapping

EPOCH = (1980, 1, 1, 0, 0, 0)
STORED = (".tflite", ".onnx", ".jar", ".f32", ".i32", ".i64", ".u8")
ALIGN = 4
ALIGNMENT_FIELD = 0xD935  # Android's; with its alignment it takes 6 bytes at least
LOCAL_HEADER_BYTES = 30
UNIX = 3


def zipped(entries: Mapping[str, bytes]) -> bytes:
    """Makes the bytes of a zip file.

    Args:
        entries: Name -> content.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system, info.external_attr = UNIX, 0o100644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            if name.endswith(STORED):
                info.compress_type = zipfile.ZIP_STORED
                info.extra = _padding(buffer.tell() + LOCAL_HEADER_BYTES + len(name.encode()))
            archive.writestr(info, entries[name], compresslevel=9)
    return buffer.getvalue()


def _padding(start: int) -> bytes:
    missing = -start % ALIGN
    if not missing:
        return b""
    while missing < 6:
        missing += ALIGN
    head = b"".join(n.to_bytes(2, "little") for n in (ALIGNMENT_FIELD, missing - 4, ALIGN))
    return head + bytes(missing - 6)
