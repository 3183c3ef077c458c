"""The size of an artifact as a download: zeros and repeated weights cost little then, and as much as ever in memory."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

GZIP_LEVEL, ZSTD_LEVEL = 6, 3
_CHUNK_BYTES = 1 << 20
_GZIP = 31  # zlib's code for its largest window, with the header and trailer of a gzip file


def compressed(path: Path) -> dict[str, int]:
    """Measures the bytes after gzip -6 and zstd -3.

    The files of a folder are compressed as one stream, in the order of their names.
    """
    packers: dict[str, Any] = {
        "gzip": zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP),
        "zstd": zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj(),
    }
    sizes = dict.fromkeys(packers, 0)
    for chunk in _chunks(path):
        for name, packer in packers.items():
            sizes[name] += len(packer.compress(chunk))
    return {name: sizes[name] + len(packer.flush()) for name, packer in packers.items()}


def _chunks(path: Path) -> Iterator[bytes]:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk
