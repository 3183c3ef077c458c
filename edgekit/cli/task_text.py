"""The text of a task file for a model that has none yet: everything but the user's data."""

import json
from pathlib import Path

from edgekit.errors import UserError
from edgekit.task import MODEL_NAMES

SUFFIXES = (".pt2", ".pt", ".pth", ".keras", ".onnx")
SAY_THEMSELVES = (".pt2", ".onnx")
IMAGE = "1,3,224,224"
DTYPES = ("float32", "float16", "float64", "uint8", "int8", "int32", "int64", "bool")

_TEXT = '''"""{model}, for edgekit. Read your data in `load`, then: edgekit export {file}:task -t x86-server -o out"""

from collections.abc import Iterator

import numpy as np
import torch

import edgekit as ek


def load() -> tuple[list[np.ndarray], np.ndarray]:
    """Returns the inputs, one array [n, ...] for each of {names}, and what is right for them [n]."""
    raise ek.TaskError("load in {file} reads no data yet: return inputs that the model was not trained on, and their labels")


class Calibration:
    """Unlabelled inputs, in batches: the first 100 samples; do not score on them."""

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        inputs, _ = load()
        for i in range(100):
            yield tuple(array[i : i + 1] for array in inputs)


def metric(predict) -> float:
    """Share of the other samples whose highest score is the right one; higher is better."""
    inputs, labels = load()
    answers = predict(*(array[100:] for array in inputs))
    return float((np.asarray(answers).argmax(1) == labels[100:]).mean())


task = ek.Task(
    name="{name}",
    model="{model}",
    example_inputs=({examples},),
    calibration=Calibration(),
    metric=metric,
)
'''


def task_text(model: str, inputs: tuple[str, ...], file: str) -> str:
    """Writes a task for a model that a name or a file gives.

    Args:
        model: "timm:NAME", "torchvision:NAME", "hf:FOLDER", or the path of a model's file.
        inputs: The shape of each input, "1,3,224,224", with its type behind a colon where it is not float32.
        file: What the file will be called.

    Raises:
        UserError: The model or an input is none.
    """
    _check_model(model)
    if not inputs and model.partition(":")[0] in ("timm", "torchvision"):
        inputs = (IMAGE,)
    if not inputs and Path(model).suffix in SAY_THEMSELVES:
        from edgekit.engine.file_inputs import takes

        inputs = tuple(f"{','.join(map(str, each.shape))}:{each.dtype}" for each in takes(Path(model)))
    if not inputs:
        raise UserError(
            f"say what {model} takes for one sample: --input 1,3,224,224 for an image, --input 1,128:int64 for text; once for each input"
        )
    name = Path(model.partition(":")[2].partition("?")[0] or model).stem
    return _TEXT.format(
        model=_quoted(model),
        name=_quoted(name),
        file=_quoted(file),
        names=f"{len(inputs)} input{'s' if len(inputs) > 1 else ''}",
        examples=", ".join(_example(text) for text in inputs),
    )


def _quoted(text: str) -> str:
    """What stands for a text between double quotes in Python; the name of a file may hold anything, code too."""
    return json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "backslashreplace").decode("utf-8")


def is_model(reference: str) -> bool:
    """Whether it names a model and no task."""
    return reference.partition(":")[0] in MODEL_NAMES or Path(reference).suffix in SUFFIXES


def _check_model(model: str) -> None:
    if not is_model(model):
        raise UserError(
            f"{model} names no model; give timm:NAME, torchvision:NAME, hf:FOLDER, or a file that ends with {', '.join(SUFFIXES)}"
        )
    if model.partition(":")[0] not in MODEL_NAMES and not Path(model).is_file():
        raise UserError(f"model file {model} does not exist")


def _example(text: str) -> str:
    shape, _, dtype = text.partition(":")
    try:
        sizes = (
            [int(part) for part in shape.split(",")] if shape or not dtype else []
        )  # ":float32" is a number
    except ValueError:
        sizes = [0]
    if min(sizes, default=1) < 1 or (dtype or "float32") not in DTYPES:
        raise UserError(
            f"--input {text!r} is no shape such as 1,3,224,224 or 1,128:int64; allowed types: {', '.join(DTYPES)}"
        )
    kind = f", dtype=torch.{dtype}" if dtype not in ("", "float32") else ""
    return f"torch.zeros({', '.join(map(str, sizes)) or '()'}{kind})"
