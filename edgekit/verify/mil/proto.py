"""The protobuf classes of Core ML files, without importing coremltools itself.

`import coremltools` pulls in torch, TensorFlow and scikit-learn where they are installed, and crashes the
process when it comes before torch. The generated `*_pb2` files need none of that: they load here under an
alias package whose `__path__` is the folder of the installed coremltools, so that its `__init__` never
runs.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from functools import cache
from pathlib import Path
from typing import Any

from edgekit.errors import MissingRuntime, VerificationError

_ALIAS = "_edgekit_coremltools"


@cache
def _module(name: str) -> Any:
    """The generated module `name`, e.g. "Model_pb2". Raises MissingRuntime without coremltools."""
    if "coremltools.proto" in sys.modules:  # loaded already: a second copy of the descriptors is not needed
        return importlib.import_module(f"coremltools.proto.{name}")
    spec = importlib.util.find_spec("coremltools")
    if spec is None or spec.origin is None:
        raise MissingRuntime.of("coremltools", "reading an .mlpackage")
    root = Path(spec.origin).parent
    for alias, folder in ((_ALIAS, root), (f"{_ALIAS}.proto", root / "proto")):
        if alias not in sys.modules:
            package = types.ModuleType(alias)
            package.__path__ = [str(folder)]
            sys.modules[alias] = package
    return importlib.import_module(f"{_ALIAS}.proto.{name}")


def parse_model(data: bytes) -> Any:
    """Parses the `Model` message in `data`. Raises google.protobuf.message.DecodeError where there is none."""
    model = _module("Model_pb2").Model()
    model.ParseFromString(data)
    return model


def dtype_name(number: int) -> str:
    """The MIL type with this number, in lower case: "float16", "int32", "uint4", "string".

    Raises:
        VerificationError: No type has this number.
    """
    try:
        return str(_module("MIL_pb2").DataType.Name(number)).lower()
    except ValueError as error:
        raise VerificationError(f"the program uses a data type with the unknown number {number}") from error
