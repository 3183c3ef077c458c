"""Reads a saved ML Program (.mlpackage): its interface, its operations, its constants on demand.

The file is read as it stands on disk, without the code that wrote it: Manifest.json names the model file
under `Data/`, that protobuf holds the program, and weight.bin holds the large constants. Everything that
can be wrong with the package is checked when it is opened, and reported as a VerificationError.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import UserError, VerificationError
from edgekit.verify.mil.proto import parse_model
from edgekit.verify.mil.values import WeightFiles, read_value, type_and_shape


@dataclass(frozen=True)
class TensorSpec:
    """What the program declares of a value.

    Attributes:
        name: Its name.
        shape: Its shape; -1 is a flexible dimension.
        dtype: Its type: "float16", "int32", ...
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Literal:
    """A constant written where it is used, or as an attribute; `Package.read` gives its value."""

    message: Any


@dataclass(frozen=True)
class Operation:
    """One operation of a program.

    Attributes:
        type: Its type in the MIL documentation.
        inputs: Argument -> names of values, or literals; `concat` and the like take several.
        outputs: What it declares of its results.
        attributes: Literals that are not arguments.
        blocks: How many nested blocks it has.
    """

    type: str
    inputs: dict[str, tuple[str | Literal, ...]]
    outputs: tuple[TensorSpec, ...]
    attributes: dict[str, Literal]
    blocks: int = 0

    @property
    def name(self) -> str:
        """The name of the first output, the only name that an operation is sure to have."""
        return self.outputs[0].name if self.outputs else "(no output)"

    @property
    def is_constant(self) -> bool:
        """True for const and for the constexpr_* operations, which depend on constants alone."""
        return self.type == "const" or self.type.startswith("constexpr_")

    def names_read(self) -> Iterator[str]:
        """The names of the values that it reads."""
        for arguments in self.inputs.values():
            yield from (a for a in arguments if isinstance(a, str))


class Package:
    """A saved ML Program.

    Args:
        path: The folder of the .mlpackage.

    Attributes:
        inputs: The inputs of the program, as TensorSpec.
        examples: Input -> the shape that its description gives where axes are flexible.
        outputs: Its outputs, as TensorSpec.
        operations: The operations of the main function in execution order, `const` included.
        spec_version: The Core ML specification version (8 is iOS17).
        opset: The name of the operation set, e.g. "CoreML7".
        weight_bytes: The size of the blobs that the program refers to, shared ones counted once.

    Raises:
        UserError: There is nothing at `path`.
        VerificationError: What is there is not a sound ML Program.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        model_path = _find_model(self.path)
        model = _parse(model_path)
        self._files = WeightFiles(model_path.parent)
        function, block = _main_block(model, self.path)
        self.spec_version = int(model.specificationVersion)
        self.opset = str(function.opset)
        self.operations = tuple(_operation(message) for message in block.operations)
        self.inputs = tuple(_spec(message) for message in function.inputs)
        self.examples = {
            str(feature.name): tuple(map(int, feature.type.multiArrayType.shape))
            for feature in model.description.input
        }
        self.outputs = self._find_outputs([str(name) for name in block.outputs])
        self._constants = {op.name: op for op in self.operations if op.type == "const"}
        self.weight_bytes = self._check_blobs()

    def constant(self, name: str) -> Any:
        """The value of the const operation `name`: an array in its stored type, a str or a list."""
        if name not in self._constants:
            raise UserError(f"{self.path.name} has no constant {name!r}")
        operation = self._constants[name]
        if "val" not in operation.attributes:
            raise VerificationError(f"{self.path.name}: const {name!r} has no value")
        return self.read(operation.attributes["val"])

    def read(self, literal: Literal) -> Any:
        """The value of a literal: an array in its stored type, a str or a list."""
        return read_value(literal.message, self._files)

    def _find_outputs(self, names: list[str]) -> tuple[TensorSpec, ...]:
        made = {spec.name: spec for op in self.operations for spec in op.outputs}
        made |= {spec.name: spec for spec in self.inputs}
        missing = [name for name in names if name not in made]
        if missing or not names:
            raise VerificationError(f"{self.path.name}: no operation makes the outputs {missing}")
        return tuple(made[name] for name in names)

    def _check_blobs(self) -> int:
        sizes: dict[tuple[str, int], int] = {}
        for operation in self.operations:
            for message in _blob_values(operation):
                try:
                    data = self._files.blob(message.fileName, message.offset)
                except VerificationError as error:
                    raise VerificationError(
                        f"{self.path.name}: {operation.type} {operation.name!r}: {error}"
                    ) from None
                sizes[message.fileName, message.offset] = len(data)
        return sum(sizes.values())


def _find_model(path: Path) -> Path:
    """The protobuf file that Manifest.json names as the root model."""
    if not path.exists():
        raise UserError(f"{path} does not exist; give the folder of an .mlpackage")
    try:
        manifest = json.loads((path / "Manifest.json").read_text())
        relative = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VerificationError(
            f"{path} is not an .mlpackage: Manifest.json cannot be read ({type(error).__name__}: {error})"
        ) from error
    return path / "Data" / str(relative)


def _parse(path: Path) -> Any:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise VerificationError(f"Manifest.json names {path.name}, which cannot be read: {error}") from error
    try:
        return parse_model(data)
    except Exception as error:  # google.protobuf.message.DecodeError; the class depends on the implementation
        if type(error).__name__ != "DecodeError":
            raise
        raise VerificationError(
            f"{path.name} is not a Core ML model: corrupt or truncated protobuf"
        ) from error


def _main_block(model: Any, path: Path) -> tuple[Any, Any]:
    """The main function and the block for its operation set."""
    kind = model.WhichOneof("Type")
    if kind != "mlProgram":
        raise VerificationError(f"{path.name} is not an ML Program but {kind or 'an empty model'}")
    if len(model.description.state):
        raise VerificationError(f"{path.name} keeps state between calls, which is not supported")
    name = model.description.defaultFunctionName or "main"
    functions = model.mlProgram.functions
    if name not in functions or functions[name].opset not in functions[name].block_specializations:
        raise VerificationError(f"{path.name} has no function {name!r}, only {sorted(functions)}")
    function = functions[name]
    return function, function.block_specializations[function.opset]


def _spec(message: Any) -> TensorSpec:
    dtype, shape = type_and_shape(message.type)
    return TensorSpec(str(message.name), shape, dtype)


def _operation(message: Any) -> Operation:
    """Copies an operation into a plain record, once: protobuf messages are temporary wrappers."""
    inputs = {
        str(name): tuple(
            str(binding.name) if binding.WhichOneof("binding") == "name" else Literal(binding.value)
            for binding in argument.arguments
        )
        for name, argument in message.inputs.items()
    }
    attributes = {str(name): Literal(value) for name, value in message.attributes.items()}
    outputs = tuple(_spec(output) for output in message.outputs)
    return Operation(str(message.type), inputs, outputs, attributes, len(message.blocks))


def _blob_values(operation: Operation) -> Iterator[Any]:
    """The blobFileValue messages of an operation, in attributes and in literal arguments."""
    arguments = (a for group in operation.inputs.values() for a in group)
    for literal in (*operation.attributes.values(), *arguments):
        if isinstance(literal, Literal) and literal.message.WhichOneof("value") == "blobFileValue":
            yield literal.message.blobFileValue
