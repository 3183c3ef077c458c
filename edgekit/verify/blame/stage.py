"""Layer blame: which operator, of which torch module, makes an artifact leave the float model. One child process.

Two things can go wrong between a float model and a file, and they are told apart:

1. Conversion. The file, or its runtime, does not compute the candidate's program: a converter bug, a damaged file, a
   kernel that saturates. `edgekit.verify.blame.conversion` compares operator by operator.
2. Compression. It does, but the program itself is far from float: a layer whose range one channel blows up, say.
   `edgekit.verify.blame.compression` compares layer by layer.

Backends are found by module name: edgekit/verify/blame/values_<runtime>.py has `tensors(path)` and
`open_values(path, names, fused)`. Cost: a few walks of both programs in torch for each of 8 samples. EfficientNet-Lite0:
45 s of CPU time in float16, about two minutes in int8, 1.1 GiB; a small network takes seconds.

TensorFlow Lite's quantization debugger and ONNX Runtime's `qdq_loss_debug` also compare a converted model layer by
layer; here every operator gets the inputs that the file had, so one fault is one row.
"""

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType

import numpy as np
import torchvision  # noqa: F401  before any other framework: see edgekit.engine.process

from edgekit.engine.verify_specs import BlameSpec
from edgekit.errors import MissingRuntime, VerificationError
from edgekit.formats import RUNTIMES
from edgekit.records import Blame, ChannelDegradation, LayerDegradation
from edgekit.verify.backends import check_content, load_backend
from edgekit.verify.blame import sentences as text
from edgekit.verify.blame.cause import cause, is_off
from edgekit.verify.blame.compression import Compression
from edgekit.verify.blame.conversion import Conversion, Watched, tolerance_db
from edgekit.verify.blame.graph_walk import Program
from edgekit.verify.blame.match import Match, Run, match
from edgekit.verify.blame.moves import watched
from edgekit.verify.predict import Predictor

SAMPLES = 8


def blame(spec: BlameSpec) -> Blame:
    """Runs the artifact and both programs on the kept samples.

    Raises:
        VerificationError: The file was altered, or none of its operators is found in the program.
        MissingRuntime: The runtime is not installed.
        UserError: An input does not fit the file.
    """
    check_content(spec.artifact)
    session = load_backend(spec.runtime).open_session(spec.artifact.path, exact=False)
    samples = _samples(spec)
    program = Program(spec.candidate.program)
    predictor = Predictor(session, spec.artifact, spec.traced.inputs)
    converted = _Converted(spec, program, predictor, samples)
    compressed = _compressed(spec, samples) if program.quantized else None
    rows = compressed.rows() if compressed is not None else ()
    lost = compressed.lost() if compressed is not None else None
    weakest = compressed.outputs.weakest() if compressed is not None else None
    skip = text.skip(compressed, rows, lost) if compressed is not None else ""
    return Blame(
        runtime=spec.runtime,
        samples=len(samples),
        conversion=converted.rows,
        compression=rows,
        wrong_operator=converted.cause or next((row for row in converted.rows if row.wrong), None),
        degraded_layer=text.degraded_layer(rows, lost),
        skip=skip,
        matched=converted.matched(),
        conclusion=" ".join(
            [
                text.conversion(
                    spec.runtime,
                    converted.rows,
                    converted.outputs,
                    len(samples),
                    converted.fused_only,
                    converted.cause,
                ),
                *(
                    [text.compression(rows, compressed.outputs.snr_db, len(samples), skip, weakest, lost)]
                    if compressed
                    else []
                ),
            ]
        ),
        weakest=weakest,
        doubts=(*converted.doubts(), *(text.compared_with(compressed) if compressed is not None else ())),
    )


class _Converted:
    """The artifact against the candidate's program: as written and, where that is right, as the runtime fuses it."""

    def __init__(
        self, spec: BlameSpec, program: Program, predictor: Predictor, samples: Sequence[Sequence[np.ndarray]]
    ) -> None:
        self._spec, self._program, self._predictor, self._samples = spec, program, predictor, samples
        self._values = _load_values(spec.runtime)
        self._tensors = self._values.tensors(spec.artifact.path)
        self._matches = match(program.units, self._tensors, program.outputs)
        if not self._matches:
            raise VerificationError(
                f"no operator of {spec.artifact.path} could be matched to one of {spec.candidate.program}; "
                "give the candidate that the artifact was exported from"
            )
        self._changed_by_watching = False
        ways = [Watched(self._matches, self._open(self._matches, fused=False)), *self._fused()]
        names = [output.name for output in spec.traced.outputs]
        found = Conversion(program, ways, tolerance_db(spec.artifact), names)
        for sample in samples:
            found.add(sample, predictor.feeds(sample), predictor.run(sample))
        self.outputs, self.rows = found.outputs, found.rows(0)
        self.cause = self._cause(found.ends.weakest())
        fused = found.rows(1) if len(ways) > 1 and not is_off(self.rows, None) and self.cause is None else ()
        self.fused_only = any(row.wrong for row in fused)
        self.rows = fused if self.fused_only else self.rows

    def _cause(self, end: ChannelDegradation | None) -> LayerDegradation | None:
        if not is_off(self.rows, end):
            return None
        values: Mapping[str, np.ndarray] = {}
        if names := watched(self._tensors):
            run = self._values.open_values(self._spec.artifact.path, names, False)
            values = run(self._predictor.feeds(self._samples[0]))
        return cause(self._program, self._matches, self.rows, end, self._tensors, values)

    def matched(self) -> str:
        """How the tensors were found, and how many of them the values confirm."""
        names = sum(m.by == "name" for m in self._matches)
        wanted = [u for u in self._program.units if u.family != "move" and u.op != "input"]
        units = sum(m.unit in wanted for m in self._matches)
        right = sum(not row.wrong for row in self.rows)
        return (
            f"{units} of {len(wanted)} operators found in the file: {names} tensors by name, "
            f"{len(self._matches) - names} by order, kind and shape; the values confirm {right}"
        )

    def doubts(self) -> tuple[str, ...]:
        """What this comparison could not judge."""
        if not self._changed_by_watching:
            return ()
        return (
            "asking for intermediate tensors changed what the runtime fuses: its fused kernels were not judged one by one",
        )

    def _open(self, matches: list[Match], fused: bool, others: Sequence[str] = ()) -> Run:
        names = [m.tensor.name for m in matches]
        return self._values.open_values(self._spec.artifact.path, [*names, *others], fused)

    def _fused(self) -> list[Watched]:
        """The integer kernels that the runtime's optimizer made, watched at their integers.

        Empty where watching them changes the answers.
        """
        if not RUNTIMES[self._spec.runtime].fuses_integers or self._spec.artifact.precision != "int8":
            return []
        codes = [m for m in self._matches if m.at == m.unit.codes]
        outputs = [spec.name for spec in self._spec.artifact.outputs]
        watched = self._open(codes, True, outputs)(self._predictor.feeds(self._samples[0]))
        plain = self._predictor.run(self._samples[0])
        self._changed_by_watching = not all(
            np.array_equal(watched[name], array) for name, array in zip(outputs, plain, strict=True)
        )
        return [] if self._changed_by_watching else [Watched(codes, self._open(codes, fused=True))]


def _compressed(spec: BlameSpec, samples: Sequence[Sequence[np.ndarray]]) -> Compression:
    names = [output.name for output in spec.traced.outputs]
    return Compression(
        Program(spec.candidate.program, fold=False), Program(spec.traced.program), samples, names
    )


def _samples(spec: BlameSpec) -> list[list[np.ndarray]]:
    """Up to SAMPLES of the kept samples, each a list of [1, ...] arrays."""
    with np.load(spec.traced.samples_file, allow_pickle=False) as kept:
        inputs = [kept[f"input_{i}"] for i in range(len(spec.traced.inputs))]
    return [[a[i : i + 1] for a in inputs] for i in range(min(SAMPLES, len(inputs[0])))]


def _load_values(runtime: str) -> ModuleType:
    try:
        return importlib.import_module(f"edgekit.verify.blame.values_{runtime}")
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("edgekit"):
            raise VerificationError(
                f"layer blame cannot look into {runtime}; allowed are {', '.join(RUNTIMES)}"
            ) from error
        raise MissingRuntime.of(str(error.name), f"looking into {runtime} artifacts") from error
