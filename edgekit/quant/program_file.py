"""What may stand in the file of a program: numbers, and calls of torch's operators.

`torch.export.load` trusts its file. It unpickles weights and example inputs, calls whatever function of Python a node names,
evaluates expressions of shapes and guards, and loads compiled libraries. A program of edgekit has none of these, and a file
that has one is refused before it is loaded; what torch still unpickles then may only hold tensors.
"""

import functools
import json
import os
import re
import typing
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch._export.serde import schema, serialize
from torch.export.pt2_archive import constants as places

_FOLDERS = (
    places.WEIGHTS_DIR,
    places.CONSTANTS_DIR,
    places.SAMPLE_INPUTS_DIR,
    places.MODELS_DIR,
    places.EXTRA_DIR,
)
_PLAIN = {"archive_format", "archive_version", "byteorder", "version"}
_OPERATOR = re.compile(r"torch\.ops\.[a-z]\w*\.[A-Za-z_]\w*(\.\w+)?|torch\._?sym_\w+|math\.[a-z]\w*")
_DUNDER = re.compile(r"^torch\.ops\.aten\.__i?(and|or|xor|lshift|rshift)__")
# operators of torch that read and write files, or look into an object
TOUCHES_FILES = ("from_file", "load_tensor", "save")
_NOT_COMPUTING = re.compile(
    rf"torch\.ops\.(.*c10d.*|symm_mem|prim|export|\w+\.({'|'.join(TOUCHES_FILES)}))(\..*)?"
)
_ARITHMETIC = {
    f"_operator.{name}"
    for name in (
        "abs", "add", "and_", "eq", "floordiv", "ge", "getitem", "gt", "index", "inv", "invert", "le", "lshift", "lt", "matmul", "mod",
        "mul", "ne", "neg", "not_", "or_", "pos", "pow", "rshift", "sub", "truediv", "xor",
    )
}  # fmt: skip
# a symbol with its assumptions, and torch's functions of sizes
_SHAPE_NAMES = {
    "Symbol", "Add", "Mul", "Half", "Zero", "One", "NegativeOne", "Equality", "StrictLessThan", "LessThan",
    "StrictGreaterThan", "GreaterThan", "true", "false", "nonzero", "negative", "positive", "nonnegative", "integer", "real", "True", "False", "Integer", "Float", "Rational", "Mod", "PythonMod",
    "FloorDiv", "CleanDiv", "CeilDiv", "IntTrueDiv", "FloatTrueDiv", "Max", "Min", "Abs", "Pow", "PowByNatural", "ceiling", "floor",
    "CeilToInt", "FloorToInt", "TruncToInt", "RoundToInt", "ToFloat", "Identity", "ModularIndexing", "LShift", "RShift", "Eq", "Ne", "Gt", "Ge", "Lt", "Le", "And", "Or",
    "Not", "Piecewise", "Where",
}  # fmt: skip
_SYMBOL = re.compile(r"[a-z]{1,3}\d+")
_FORCE, _FORCE_NOT = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


class CodeInside(ValueError):
    """A file holds something that could run code."""


def read(path: Path) -> torch.export.ExportedProgram:
    """Reads a program, whoever wrote it; nothing in the file is run.

    Raises:
        CodeInside: It holds what could run code.
        Exception: The file is no program, or of a torch that this one does not read.
    """
    check(path)
    with tensors_only(), quick():
        return torch.export.load(str(path))


def check(path: Path) -> None:
    """Looks for what could run code.

    Raises:
        CodeInside: It is there; the sentence names it.
        Exception: The file is no archive, or no program.
    """
    with zipfile.ZipFile(path) as archive:
        roots = {name.split("/")[0] for name in archive.namelist()}
        packed = any(each.compress_type != zipfile.ZIP_STORED for each in archive.infolist())
    if packed:
        raise ValueError(
            "it is compressed; torch stores numbers as they are, and a small file could fill the memory"
        )
    if len(roots) != 1:
        raise CodeInside("it holds more than one archive")
    reader = torch._C.PyTorchFileReader(str(path))  # the one that torch reads it with
    for name in reader.get_all_records():
        if not (name.startswith((*_FOLDERS, ".data/")) or name in _PLAIN):
            raise CodeInside(f"it holds {name!r}, which is no part of a program")
        if name.endswith("_config.json"):
            _check_payload(json.loads(reader.get_record(name)))
        elif name.startswith(places.MODELS_DIR):
            _check_graph(json.loads(reader.get_record(name)))


def _check_payload(config: dict[str, Any]) -> None:
    """Weights and constants are raw numbers; a pickle of them, or an object among them, is neither."""
    for name, entry in config["config"].items():
        objects = (places.CUSTOM_OBJ_FILENAME_PREFIX, places.OPAQUE_OBJ_FILENAME_PREFIX)
        if entry.get("use_pickle") or str(entry["path_name"]).startswith(objects):
            raise CodeInside(f"{name!r} in it is a pickle")


def _check_graph(found: Any) -> None:
    """Checks all that torch looks up or evaluates: the targets of calls, expressions of shapes, guards, types of containers."""
    todo = [found]
    while todo:
        value = todo.pop()
        if isinstance(value, list):
            todo += value
        elif isinstance(value, dict):
            _check_call(value)
            todo += value.values()


def _check_call(value: dict[str, Any]) -> None:
    target, shape = value.get("target"), value.get("expr_str")
    if isinstance(target, str) and "inputs" in value and not _is_operator(target):
        raise CodeInside(f"it calls {target!r}, which is no operator of torch that computes")
    if isinstance(shape, str) and not _is_shape(shape):
        raise CodeInside(f"{shape[:80]!r} in it is no size")
    if value.get("guards_code"):
        raise CodeInside("it has guards, which are code")
    if any("defaultdict" in str(value.get(key)) for key in ("in_spec", "out_spec")):
        raise CodeInside("its outputs are made by a function")


def _is_operator(target: str) -> bool:
    if target in _ARITHMETIC:
        return True
    namespace = target.split(".")[2:3]
    known = _OPERATOR.fullmatch(target) is not None and "__" not in _DUNDER.sub("", target)
    known = known and _NOT_COMPUTING.fullmatch(target) is None
    return known and not any(hasattr(type(torch.ops), name) for name in namespace)


def _is_shape(text: str) -> bool:
    names = re.findall(r"[^\W\d]\w*", text)
    known = all(name in _SHAPE_NAMES or _SYMBOL.fullmatch(name) for name in names)
    return known and re.fullmatch(r"[\w\s+\-*/%()<>=!&|~,.']*", text) is not None


@contextmanager
def tensors_only() -> Iterator[None]:
    """While it lasts, torch unpickles nothing but tensors, whatever its caller asks for."""
    before = {name: os.environ.get(name) for name in (_FORCE, _FORCE_NOT)}
    os.environ.pop(_FORCE_NOT, None)
    os.environ[_FORCE] = "1"
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def quick() -> Iterator[None]:
    """While it lasts, torch does not repeat itself: it takes 0.4 of the time to load a program, and a third of it to save one.

    The types of a class of its schema are worked out once, not for every node; what it is about to write is not copied and put
    in order besides, as a check, only to be thrown away.
    """
    if not all(
        hasattr(serialize, name) for name in ("typing", "canonicalize")
    ):  # another torch, written otherwise
        yield
        return
    before = serialize.typing, serialize.canonicalize
    serialize.typing = ModuleType(typing.__name__)
    vars(serialize.typing).update(vars(typing) | {"get_type_hints": _hints})
    serialize.canonicalize = lambda program, _constants: program
    try:
        yield
    finally:
        serialize.typing, serialize.canonicalize = before


@functools.cache
def _types(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, globalns=vars(schema))


def _hints(kind: type, globalns: dict[str, Any]) -> dict[str, Any]:
    return _types(kind) if globalns is vars(schema) else typing.get_type_hints(kind, globalns=globalns)
