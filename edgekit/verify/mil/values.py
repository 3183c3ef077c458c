"""Constants of an ML Program: values written in the protobuf, and blobs in `weight.bin`.

weight.bin starts with 64 bytes {u32 count, u32 version = 2}. A blob value names an offset; 64 bytes of
metadata are stored there: {u32 0xDEADBEEF, u32 type, u64 size in bytes, u64 offset of the data}. Elements of
fewer than 8 bits are packed least significant bit first (MIL op documentation, iOS16
`constexpr_lut_to_dense`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import VerificationError
from edgekit.verify.mil.proto import dtype_name

_METADATA_BYTES = 64
_SENTINEL = 0xDEADBEEF
_NUMPY: dict[str, type[np.generic]] = {
    "float16": np.float16,
    "float32": np.float32,
    "float64": np.float64,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "bool": np.bool_,
}
_PACKED = {  # bits, signed
    "uint1": (1, False),
    "uint2": (2, False),
    "uint3": (3, False),
    "uint4": (4, False),
    "uint6": (6, False),
    "int4": (4, True),
}


def type_and_shape(value_type: Any) -> tuple[str, tuple[int, ...]]:
    """Reads a ValueType message into (type name, shape). A flexible dimension is -1; lists have no shape.

    A dictionary, which is what a classifier gives, is the row of its values.
    """
    kind = value_type.WhichOneof("type")
    if kind == "dictionaryType":
        return type_and_shape(value_type.dictionaryType.valueType)[0], (-1,)
    if kind != "tensorType":
        return str(kind), ()
    tensor = value_type.tensorType
    shape = (int(d.constant.size) if d.HasField("constant") else -1 for d in tensor.dimensions)
    return dtype_name(tensor.dataType), tuple(shape)


def unpack_bits(raw: np.ndarray, bits: int, count: int, signed: bool = False) -> np.ndarray:
    """Unpacks bytes [n] into `count` integers of `bits` bits each: [count] of uint8, or int8 when signed."""
    table = np.unpackbits(raw, bitorder="little")[: count * bits].reshape(count, bits)
    values = (table.astype(np.int16) << np.arange(bits, dtype=np.int16)).sum(axis=1).astype(np.int16)
    if signed:
        values = values - ((values >> (bits - 1)) << bits)
    return np.asarray(values, np.int8 if signed else np.uint8)


def decode(raw: np.ndarray, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Turns bytes [n] into an array of `shape`. Raises VerificationError when there are too few bytes for it."""
    count = math.prod(shape)
    bits, signed = _PACKED.get(dtype, (0, False))
    if not bits and dtype not in _NUMPY:
        raise VerificationError(
            f"a constant of type {dtype} is not supported; known: {sorted(_NUMPY | _PACKED)}"
        )
    needed = math.ceil(count * (bits or np.dtype(_NUMPY[dtype]).itemsize * 8) / 8)
    if len(raw) < needed:
        raise VerificationError(f"{dtype}{list(shape)} needs {needed} bytes, the package holds {len(raw)}")
    if bits:
        return unpack_bits(raw, bits, count, signed).reshape(shape)
    return raw[:needed].view(_NUMPY[dtype]).reshape(shape)


class WeightFiles:
    """The blob files of one package.

    Args:
        model_dir: The folder that `@model_path` stands for.
    """

    def __init__(self, model_dir: Path) -> None:
        self._model_dir = model_dir
        self._maps: dict[str, np.ndarray] = {}

    def blob(self, file_name: str, offset: int) -> np.ndarray:
        """The bytes [n] of the blob at `offset`. Raises VerificationError for a missing or damaged file."""
        data = self._open(file_name)
        if offset + _METADATA_BYTES > len(data):
            raise VerificationError(f"{file_name} ends before the blob at {offset}: truncated?")
        sentinel = int(data[offset : offset + 4].view("<u4")[0])
        if sentinel != _SENTINEL:
            raise VerificationError(f"{file_name} has no blob at {offset}: the file is corrupt")
        size, start = (int(v) for v in np.array(data[offset + 8 : offset + 24]).view("<u8"))
        if start + size > len(data):
            raise VerificationError(
                f"{file_name} is truncated: the blob at {offset} ends at byte {start + size} of {len(data)}"
            )
        return data[start : start + size]

    def _open(self, file_name: str) -> np.ndarray:
        if file_name not in self._maps:
            path = Path(file_name.replace("@model_path", str(self._model_dir)))
            if not path.is_file() or path.stat().st_size == 0:
                raise VerificationError(f"the program refers to {file_name}, which is missing or empty")
            self._maps[file_name] = np.memmap(path, np.uint8, "r")
        return self._maps[file_name]


def read_value(value: Any, files: WeightFiles) -> Any:
    """Reads a Value message into an array, a str or a list. A tensor of rank 0 is an array of shape ()."""
    dtype, shape = type_and_shape(value.type)
    if value.WhichOneof("value") == "blobFileValue":
        blob = value.blobFileValue
        return decode(files.blob(blob.fileName, blob.offset), dtype, shape)
    immediate = value.immediateValue
    kind = immediate.WhichOneof("value")
    if kind == "list":
        return [read_value(item, files) for item in immediate.list.values]
    if kind != "tensor":
        raise VerificationError(f"a constant of kind {kind} is not supported; known: tensor, list")
    return _read_tensor(immediate.tensor, dtype, shape)


def _read_tensor(tensor: Any, dtype: str, shape: tuple[int, ...]) -> Any:
    kind = tensor.WhichOneof("value")
    if kind is None:
        return decode(np.zeros(0, np.uint8), dtype, shape)
    values = getattr(tensor, kind).values
    if kind == "strings":
        return list(values) if shape else str(values[0])
    if kind == "bytes":
        return decode(np.frombuffer(values, np.uint8), dtype, shape)
    if len(values) != math.prod(shape):
        raise VerificationError(f"{dtype}{list(shape)} is written with {len(values)} values")
    return np.array(values, _NUMPY[dtype]).reshape(shape)
