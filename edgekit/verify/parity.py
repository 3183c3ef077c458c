"""Parity: an artifact's outputs against the float model's, streamed over the samples of the metric."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from edgekit_runner.stats.deviation import ratio_db

from edgekit.arrays import as_arrays, digest
from edgekit.errors import VerificationError
from edgekit.records import Measure, OutputParity, Parity
from edgekit.verify import measures as measures_of
from edgekit.verify.outputs import OutputStatistics
from edgekit.verify.predict import Predictor


class Comparison:
    """Accumulates the error of one output stream against a reference; memory does not grow with the samples.

    Args:
        names: What the outputs are called.
        measures: How each output is compared; None for the best class of a first output [N, C], and nothing of others.
        free: The axes of each output that may be of another length each time.
    """

    def __init__(
        self,
        names: Sequence[str] = (),
        measures: Sequence[Measure] | None = None,
        free: Sequence[Collection[int]] = (),
    ) -> None:
        self._names, self._measures, self._free = names, measures, free
        self._outputs: list[OutputStatistics] = []
        self._measured: dict[int, measures_of.Measured] = {}
        self.samples = self.elements = 0
        self.max_abs = self.error_power = self.signal_power = 0.0

    def add(self, reference: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> None:
        """Adds one batch: one [N, ...] array for each output. Raises VerificationError where the shapes differ."""
        for i, (a, b) in enumerate(zip(reference, got, strict=True)):
            if a.shape != b.shape:
                raise VerificationError(
                    f"output {i} of the artifact has shape {list(b.shape)}; the float model's has {list(a.shape)}"
                )
            self._add_output(a.astype(np.float64), b.astype(np.float64))
            self._statistics(i).add(a, b)
        self.samples += len(reference[0])
        self._measure(reference, got)

    def _statistics(self, index: int) -> OutputStatistics:
        if index == len(self._outputs):
            name = self._names[index] if index < len(self._names) else f"output_{index}"
            self._outputs.append(OutputStatistics(name, self._free[index] if index < len(self._free) else ()))
        return self._outputs[index]

    def _add_output(self, reference: np.ndarray, got: np.ndarray) -> None:
        error = got - reference
        self.max_abs = max(self.max_abs, float(np.abs(error).max(initial=0.0)))
        if np.isnan(error).any():
            self.max_abs = math.inf
        self.error_power += float(np.square(error).sum())
        self.signal_power += float(np.square(reference).sum())
        self.elements += error.size

    def ranks(self, reference: np.ndarray) -> bool:
        """Whether the first answer holds class scores, so that its largest number is what counts."""
        if self._measures:
            return self._measures[0].kind == "top1"
        return self._measures is None and reference.ndim == 2 and reference.shape[1] > 1

    def _measure(self, reference: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> None:
        measures = self._measures
        if measures is None:
            measures = [Measure(kind="top1")] if self.ranks(reference[0]) else []
        for i, measure in enumerate(measures):
            if measure.kind != "correlation":
                so_far = self._measured.get(i, measures_of.Measured(measure.kind))
                self._measured[i] = measures_of.add(so_far, measure, self._names, i, reference, got)

    def _with_measure(self, index: int, output: OutputParity) -> OutputParity:
        """Adds what the output's own measure found."""
        measured = self._measured.get(index)
        if measured is not None:
            psnr = measured.psnr_db / max(measured.samples, 1) if measured.kind == "psnr" else None
            return msgspec.structs.replace(
                output, measure=measured.kind, agreement=measured.agreement(), psnr_db=psnr
            )
        if self._measures is None or output.correlation is None:
            return output
        return msgspec.structs.replace(output, measure="correlation", agreement=max(0.0, output.correlation))

    def parity(self) -> Parity:
        """The figures over all samples so far."""
        rms, snr = math.inf, None
        if not math.isfinite(self.max_abs):
            snr = -math.inf
        elif self.elements:
            rms = math.sqrt(self.error_power / self.elements)
            if self.error_power > 0 < self.signal_power:
                snr = ratio_db(self.signal_power, self.error_power)
        outputs = tuple(self._with_measure(i, s.parity()) for i, s in enumerate(self._outputs))
        return Parity(
            samples=self.samples,
            max_abs_error=self.max_abs,
            rms_error=rms,
            snr_db=snr,
            agreement=least_agreement(outputs),
            outputs=outputs,
        )


def least_agreement(outputs: Sequence[OutputParity]) -> float | None:
    """Returns the least agreement of an output by its own measure; correlation counts where there is no other."""
    known = [o for o in outputs if o.agreement is not None]
    own = [o for o in known if o.measure != "correlation"] or known
    return min((o.agreement for o in own if o.agreement is not None), default=None)


class ComparingPredictor:
    """A predict function that also compares what it returns with the float model's kept predictions.

    Attributes:
        asked: How many samples the metric asked for.
        unknown: How many of them the float model was never asked.
        forced: How many samples were compared by `force`.
        changed: The rows of every output for each sample whose class changed, by the hash of its question and its row.
    """

    def __init__(
        self,
        predictor: Predictor,
        predictions: Mapping[str, np.ndarray],
        measures: Sequence[Measure] | None = None,
    ) -> None:
        self._predictor = predictor
        self._predictions = predictions
        self._compared = set[str]()
        self.comparison = Comparison(predictor.output_names, measures, predictor.output_free)
        self.asked = self.unknown = self.forced = 0
        self.changed: dict[tuple[str, int], list[np.ndarray]] = {}

    def __call__(self, *inputs: Any) -> Any:
        """Answers for the metric, and compares the answer where the float model's is known."""
        arrays = as_arrays(inputs)
        outputs = self._predictor.run(arrays)
        self.asked += len(arrays[0])
        if not self._compare(digest(arrays), outputs):
            self.unknown += len(arrays[0])
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def force(self, questions: Mapping[str, Sequence[np.ndarray]], most: int) -> None:
        """Compares samples of questions that the metric did not ask this time, each fed to both models.

        A metric that feeds answers back leaves the float model's path with the first error; here every step starts on
        it again ("teacher forcing"), so that each is judged by its own error.

        Args:
            questions: Key -> the inputs that the float model was asked, each [N, ...].
            most: How many samples to compare at most.
        """
        left = {key: arrays for key, arrays in questions.items() if key not in self._compared}
        samples = sum(len(arrays[0]) for arrays in left.values())
        stride = max(1, -(-samples // most))
        for key, arrays in list(left.items())[::stride]:
            if self._compare(key, self._predictor.run(arrays)):
                self.forced += len(arrays[0])

    def _compare(self, key: str, outputs: Sequence[np.ndarray]) -> bool:
        """Whether the float model's answer is known."""
        if f"{key}_0" not in self._predictions:
            return False
        reference = [self._predictions[f"{key}_{i}"] for i in range(len(outputs))]
        self.comparison.add(reference, outputs)
        self._compared.add(key)
        if self.comparison.ranks(reference[0]):
            rows = np.flatnonzero(reference[0].argmax(1) != outputs[0].argmax(1))
            self.changed |= {(key, int(row)): [o[row].copy() for o in outputs] for row in rows}
        return True
