"""What a float model loses when it runs in half precision on this machine: float16 and bfloat16, by autocast and in whole.

    python benchmarks/half.py examples/imagenet.py:task --set photos=photos.tar
    python benchmarks/half.py examples/cifar10.py:task --set weights=resnet20.safetensors --set train=train.npz --set test=test.npz

Each row runs the task's own metric, its answers beside those of float32. autocast: weights stay float32, torch chooses the operators
that run in half, as in a training with `precision`. whole: weights and every operator. OpenVINO (where installed): its float model with
INFERENCE_PRECISION_HINT, which is bfloat16 by itself on processors that have it. CPU time: of the whole process, one thread, one
sample, the rows in turns; the ratio to float32 of the same runtime is the median over rounds with its 95 % interval.
The files of a phone or a server are another question: `edgekit export --recipe fp16` exports, proves and times one.
"""

import argparse
import copy
import importlib.util
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import result_file
import torch
from torch import nn

from edgekit.cli.options import read_settings
from edgekit.engine.task_reference import load_task
from edgekit.errors import EdgekitError
from edgekit.records import Record
from edgekit.task import Task
from edgekit.trace.model import program_of
from edgekit.train.__main__ import model_of

Predict = Callable[..., np.ndarray]
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
HINTS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
HEAD = ("runs in", "metric", "drop in points", "agreement", "SNR dB", "CPU / float32")
ROUNDS, WARM = 40, 5


class Row(Record):
    """One way to run it. agreement: share of samples with the same first class; cpu_ratio: median, low and high."""

    name: str
    metric: float
    samples: int
    agreement: float
    snr_db: float | None
    cpu_ratio: tuple[float, float, float]


def ways(task: Task) -> dict[str, dict[str, Predict]]:
    """{runtime: {name: predict}}; float32 is the first of each."""
    model = model_of(task, 0).eval().requires_grad_(False)
    found = {"torch": {"float32": in_torch(model, torch.float32, False)}}
    for name, kind in HALVES.items():
        found["torch"][f"{name}, autocast"] = in_torch(model, kind, True)
        found["torch"][f"{name}, whole"] = in_torch(copy.deepcopy(model).to(kind), kind, False)
    if importlib.util.find_spec("openvino") is not None:
        found["OpenVINO"] = in_openvino(task)
    return found


def in_torch(model: nn.Module, kind: torch.dtype, by_autocast: bool) -> Predict:
    def predict(*arrays: np.ndarray) -> np.ndarray:
        inputs = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
        if not by_autocast:
            inputs = [x.to(kind) if x.is_floating_point() else x for x in inputs]
        half = kind if by_autocast else torch.bfloat16
        with torch.inference_mode(), torch.autocast("cpu", half, enabled=by_autocast):
            return first(model(*inputs)).float().numpy()

    return predict


def first(outputs: object) -> torch.Tensor:
    while not isinstance(outputs, torch.Tensor):
        outputs = next(iter(outputs.values() if isinstance(outputs, dict) else outputs))  # type: ignore[call-overload]
    return outputs


def in_openvino(task: Task) -> dict[str, Predict]:
    import openvino

    converted = openvino.convert_model(program_of(task))
    return {name: hinted(openvino.Core(), converted, hint) for name, hint in HINTS.items()}


def hinted(core: object, converted: object, hint: str) -> Predict:
    settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(converted, "CPU", settings)  # type: ignore[attr-defined]

    def predict(*arrays: np.ndarray) -> np.ndarray:
        rows = [compiled([array[i : i + 1] for array in arrays])[0].copy() for i in range(len(arrays[0]))]
        return np.concatenate(rows)

    return predict


def rows(task: Task, runtime: str, predicts: dict[str, Predict], rounds: int) -> list[Row]:
    base, *_ = predicts.values()
    times = in_turns(list(predicts.values()), [x.numpy() for x in task.example_inputs], rounds)
    right, made = np.empty(0), []
    for (name, predict), taken in zip(predicts.items(), times.T, strict=True):
        metric, answers = scored(task, predict)
        right = answers if predict is base else right
        noise = float(((answers - right) ** 2).sum())
        made.append(
            Row(
                name=f"{runtime} {name}",
                metric=metric,
                samples=len(answers),
                agreement=float((answers.argmax(1) == right.argmax(1)).mean()),
                snr_db=10 * float(np.log10((right**2).sum() / noise)) if noise else None,
                cpu_ratio=interval(taken / times[:, 0]),
            )
        )
        print("  ".join(cells(made[-1], made[0].metric)), file=sys.stderr, flush=True)
    return made


def scored(task: Task, predict: Predict) -> tuple[float, np.ndarray]:
    """The metric, and all answers that it asked for, a row a sample."""
    answers = list[np.ndarray]()

    def recorded(*arrays: np.ndarray) -> np.ndarray:
        answers.append(predict(*arrays))
        return answers[-1]

    assert task.metric is not None
    metric = float(task.metric(recorded))
    return metric, np.concatenate([a.reshape(len(a), -1) for a in answers])


def in_turns(predicts: Sequence[Predict], inputs: Sequence[np.ndarray], rounds: int) -> np.ndarray:
    """CPU seconds [rounds, ways]."""

    def taken(predict: Predict) -> float:
        start = time.process_time()
        predict(*inputs)
        return time.process_time() - start

    return np.array([[taken(predict) for predict in predicts] for _ in range(rounds + WARM)])[WARM:]


def interval(ratios: np.ndarray) -> tuple[float, float, float]:
    """The median, and where it lies in 95 % of samples drawn anew."""
    drawn = np.random.default_rng(0).choice(ratios, (1000, len(ratios)))
    low, high = np.quantile(np.median(drawn, 1), (0.025, 0.975))
    return float(np.median(ratios)), float(low), float(high)


def cells(row: Row, base: float) -> list[str]:
    return [
        row.name,
        f"{row.metric:.4f} (n={row.samples})",
        f"{100 * (base - row.metric):+.2f}",
        f"{100 * row.agreement:.2f} %",
        "exact" if row.snr_db is None else f"{row.snr_db:.1f}",
        "{:.2f} [{:.2f}, {:.2f}]".format(*row.cpu_ratio),
    ]


class Results(Record):
    rows: tuple[Row, ...]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("task", help="file.py:attr, whose answers are classes")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the task's function")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of the timing (default {ROUNDS})")
    parser.add_argument("--json", type=Path, help="the results")
    asked = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        task = load_task(asked.task, read_settings(tuple(asked.set)))
        found = [rows(task, name, predicts, asked.rounds) for name, predicts in ways(task).items()]
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    result_file.write(asked.json, Results(rows=tuple(row for part in found for row in part)))
    print(
        "\n".join(result_file.markdown([HEAD, *(cells(r, part[0].metric) for part in found for r in part)]))
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
