"""The examples of other kinds of model: each is read and planned; the slow ones train and export."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from commands import edgekit

import edgekit as ek

EXAMPLES = Path(__file__).parents[2] / "examples"
KINDS = (
    "detection",
    "keywords",
    "ocr_line",
    "streaming_speech",
    "super_resolution",
    "tabular",
    "text_lengths",
)
NEEDS = {"detection": "torchmetrics", "text_lengths": "transformers"}


@pytest.mark.parametrize("name", KINDS)
def test_it_is_a_task_for_every_target(name: str) -> None:
    task = ek.load_task(f"{EXAMPLES / name}.py:task")
    for target in ("x86-server", "arm-mobile", "tflite-int8", "coreml-fp16"):
        made = ek.plan(task, ek.load_target(target))
        assert made.recipes, target
        assert target == "coreml-fp16" or made.recipes[0].precision == "int8"


def test_lines_are_read_back_and_counted() -> None:
    task = ek.load_task(f"{EXAMPLES / 'ocr_line.py'}:task", {"samples": "8"})
    import ocr_line  # type: ignore[import-not-found]

    _, symbols = ocr_line.lines(8, task.metric.seed)
    logits = np.zeros((8, ocr_line.COLUMNS, len(ocr_line.SYMBOLS) + 1), np.float32)
    logits[..., 0] = 1
    for row, line in zip(logits, symbols, strict=True):
        for place, symbol in enumerate(line):  # a blank after each, so that a repeat is two
            row[2 * place, symbol] = 2
    assert task.metric(lambda pixels: logits) == 1.0
    assert task.metric(lambda pixels: np.zeros_like(logits)) == 0.0


def test_boxes_that_overlap_are_one() -> None:
    ek.load_task(f"{EXAMPLES / 'detection.py'}:task")
    import detection  # type: ignore[import-not-found]

    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 40, 40]], np.float32)
    scores = np.array([[0.9, 0], [0.8, 0], [0, 0.7]], np.float32)
    found = detection.decoded(boxes, scores)
    assert found["labels"].tolist() == [0, 1] and found["scores"].tolist() == pytest.approx([0.9, 0.7])


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_it_exports(name: str, tmp_path: Path) -> None:
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    done = edgekit(
        "export",
        f"{EXAMPLES / name}.py:task",
        "-t",
        "arm-mobile",
        "-o",
        tmp_path / "out",
        "--min-speedup",
        "0",
    )
    assert done.exit_code == 0, done.output
