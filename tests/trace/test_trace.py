"""Tracing a task: what it records of a good one, the sentence about a bad one."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekit.arrays import digest
from edgekit.engine.specs import TraceSpec
from edgekit.engine.task_source import TaskSource
from edgekit.errors import ConversionError, TaskError
from edgekit.quant import program
from edgekit.records import Macs, Traced
from edgekit.trace import recorder
from edgekit.trace import stage as tracing
from edgekit.trace.recorder import Recorder

SMALL = Path(__file__).parents[1] / "task_files" / "small.py"


def run(function: str, work: Path) -> Traced:
    source = TaskSource(name=function, reference=f"{SMALL}:{function}")
    work.mkdir(exist_ok=True)
    return tracing.trace(TraceSpec(source=source, work=str(work)))


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    return run("task", tmp_path_factory.mktemp("trace"))


def test_facts_of_a_good_task(traced: Traced) -> None:
    assert traced.facts.name == "small"
    assert (traced.facts.calibration, traced.facts.training) == (True, False)
    assert traced.metric == 1.0
    assert traced.samples == 16
    assert traced.parameters == 3 * 64 * 9 + 64 + 64 * 10 + 10
    assert traced.doubts == ()
    assert traced.facts.macs == Macs(
        count=64 * 64 * 27 + 640,
        convolution=64 * 64 * 27 / (64 * 64 * 27 + 640),
        linear=640 / (64 * 64 * 27 + 640),
    )
    assert [(s.name, s.shape, s.dtype) for s in traced.inputs] == [("input_0", (1, 3, 8, 8), "float32")]
    assert [(s.name, s.shape, s.dtype) for s in traced.outputs] == [("output_0", (1, 10), "float32")]


def test_looking_gives_the_facts_of_tracing(traced: Traced, tmp_path: Path) -> None:
    source = TaskSource(name="task", reference=f"{SMALL}:task")
    assert tracing.look(TraceSpec(source=source, work=str(tmp_path))) == traced.facts


def test_predictions_are_kept_by_the_hash_of_their_input(traced: Traced) -> None:
    samples = np.load(traced.samples_file)
    images = samples["input_0"]
    kept = np.load(traced.predictions)
    assert images.shape == (16, 3, 8, 8)
    answers = kept[f"{digest([images])}_0"]
    np.testing.assert_array_equal(samples["output_0"], answers)
    exported = program.load(traced.program).module()
    for image, answer in zip(images, answers, strict=True):
        got = exported(torch.from_numpy(image[None])).detach().numpy()[0]
        np.testing.assert_allclose(got, answer, atol=1e-5)


def test_a_number_in_a_tensor_is_a_metric(tmp_path: Path) -> None:
    assert run("metric_tensor", tmp_path).metric == 1.0


def test_a_model_without_calibration_is_traced(tmp_path: Path) -> None:
    assert run("no_calibration", tmp_path).facts.calibration is False


BAD = {
    "task_raises": r"small.py:task_raises raised ValueError: no such weights (small.py, line N)",
    "no_task": r"small.py:no_task() returned a dict; it must return an edgekit.Task",
    "missing": r"small.py has no attribute 'missing'; it has: ",
    "number": r"small.py:number is a int; it must be an edgekit.Task or a function returning one",
    "model_raises": "the model function of task 'small' raised FileNotFoundError: weights.pt (small.py, line N)",
    "no_module": "the model of task 'small' is a list; it must be a torch.nn.Module",
    "forward_raises": "the model's forward, called with example_inputs ([1, 3, 8, 8] float32), raised "
    "ValueError: this layer was never finished (small.py, line N)",
    "forward_object": "the model's forward returned a Boxes at ['boxes']; allowed are tensors, None, and tuples",
    "forward_nan": "the model's forward returned NaN or infinity for example_inputs ([1, 3, 8, 8] float32)",
    "wrong_shape": "the model's forward, called with example_inputs ([1, 1, 8, 8] float32), raised RuntimeError",
    "wrong_dtype": "the model's forward, called with example_inputs ([1, 3, 8, 8] int64), raised RuntimeError",
    "complex_dtype": "example_inputs[0] is torch.complex64; allowed are float16, float32, float64, int8",
    "batch_of_two": "example_inputs[0] has shape [2, 3, 8, 8]; the first dimension is the batch and must be 1",
    "no_tensor": "example_inputs[0][0] is a float; give torch tensors",
    "bare_tensor": "example_inputs is a Tensor; give a tuple of tensors, e.g. (torch.zeros(1, 3, 224, 224),)",
    "calibration_once": "calibration is a one-shot iterator; give something that can be iterated again",
    "metric_raises": "the metric of task 'small' raised ZeroDivisionError: division by zero (small.py, line N)",
    "metric_nan": "the metric of task 'small' returned nan; it must be a finite number, higher is better",
    "metric_text": "the metric of task 'small' returned a str; it must return a float",
    "metric_silent": "the metric never called predict; it must score the function it is given",
    "metric_random": "asked for 4 samples, none of them those it asked for before: it is not deterministic",
    "calibration_empty": "the task's calibration yields no batch; give at least one",
    "calibration_raises": "the task's calibration raised OSError: photo 2 is damaged (small.py, line N)",
    "metric_wrong_input": "predict got input 0 of shape [16, 3, 4, 8]; the model takes [N, 3, 8, 8]",
}


@pytest.mark.parametrize(("function", "sentence"), BAD.items())
def test_bad_task(function: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(TaskError) as caught:
        run(function, tmp_path)
    assert sentence in re.sub(r"line \d+", "line N", str(caught.value))
    assert "\n" not in str(caught.value)


def test_a_model_that_cannot_be_traced(tmp_path: Path) -> None:
    with pytest.raises(
        ConversionError, match=r"cannot trace the model at small\.py, line \d+: .* a choice that depends on"
    ):
        run("branches", tmp_path)


def test_what_exceeds_the_memory_for_predictions_is_a_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "KEEP_BYTES", 1)
    traced = run("task", tmp_path)
    assert traced.samples == 16
    assert len(traced.doubts) == 1, "the replay asks the model where nothing was kept"
    assert traced.doubts[0].startswith("parity leaves out 16 of 16 samples")


def test_at_most_so_many_inputs_are_kept() -> None:
    made = Recorder(lambda *arrays: [arrays[0][:, :1]])
    for seed in range(5):
        made(np.full((20, 3), seed, np.float32))
    assert made.kept()["input_0"].shape == (recorder.KEEP_SAMPLES, 3)
    assert made.samples == 100
    assert len(made.predictions) == 5


def test_questions_are_kept_evenly_spread_within_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "KEEP_QUESTION_BYTES", 4 * 3 * 5)
    made = Recorder(lambda *arrays: [arrays[0]])
    for step in range(16):
        made(np.full((1, 3), step, np.float32))
    assert [int(array[0, 0]) for array in made.kept_questions().values()] == [0, 4, 8, 12]
    made(np.zeros((1, 300), np.float32))
    assert len(made.kept_questions()) == 4, "one question beyond the limit alone"


def test_what_is_kept_says_how_the_outputs_are_compared(traced: Traced) -> None:
    assert [measure.kind for measure in traced.measures] == ["top1"]
    assert len(np.load(traced.questions).files) == 1


# -- a metric that is not deterministic


def test_a_metric_that_asks_for_some_other_samples_is_a_doubt(tmp_path: Path) -> None:
    (doubt,) = run("metric_half_random", tmp_path).doubts
    figures = re.fullmatch(
        r"the metric is not deterministic: (\S+) and then (\S+), it asked for 2 of 10 other samples the second "
        r"time; a drop below \S+ says nothing\. Fix its random seed",
        doubt,
    )
    assert figures is not None and float(figures[1]) != float(figures[2])


def test_a_metric_that_finds_another_figure_is_a_doubt(tmp_path: Path) -> None:
    (doubt,) = run("metric_noisy", tmp_path).doubts
    assert doubt == (
        "the metric is not deterministic: 0.9 and then 0.7, to the same answers of the float model; "
        "a drop below 0.2 says nothing. Fix its random seed"
    )


def test_a_metric_may_draw_from_the_global_generators(tmp_path: Path) -> None:
    first, second = (run("metric_draws", tmp_path / name) for name in "ab")
    assert first.doubts == ()
    assert first.metric == second.metric


# -- calibration that is not what is scored


def test_calibration_with_other_preprocessing_is_a_doubt(tmp_path: Path) -> None:
    (doubt,) = run("calibration_raw", tmp_path).doubts
    assert re.fullmatch(
        r"calibration inputs have mean 12\d, std 6\d\.\d; the metric's have mean -?0\.0\d+, std [01]\.\d+ \(input 0, "
        r"channel \d; \d+% of the calibration values lie outside the metric's range\): the same preprocessing\?",
        doubt,
    )


# -- the fingerprint


def test_one_task_has_one_fingerprint_and_another_differs_where_it_differs(tmp_path: Path) -> None:
    first, same, other = (
        run(name, tmp_path / str(i)) for i, name in enumerate(["task", "task", "calibration_raw"])
    )
    assert first.fingerprint == same.fingerprint
    assert set(first.fingerprint) == {
        "the model's graph", "the model's weights", "what the metric asks", "the metric", "the calibration data", "the task's code",
    }  # fmt: skip
    changed = [name for name, value in other.fingerprint.items() if first.fingerprint[name] != value]
    assert changed == ["the calibration data"]
