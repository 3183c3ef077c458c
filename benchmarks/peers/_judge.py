"""The child process that scores one quantized file, the same way for every peer.

The task's own metric runs in the file's own runtime; each answer is compared with what the float model answered to
the same sample in torch. With an emulator, the very same inputs run once more under another CPU (outputs only, times
mean nothing there): int8 products that saturate on x86 without VNNI do not on a machine that has it.
"""

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torchvision  # noqa: F401  before any other framework: see edgekit.engine.process
from edgekit_runner import backends

from edgekit.errors import ChildCrash, VerificationError
from edgekit.golden import write_golden
from edgekit.records import Artifact, TensorSpec
from edgekit.trace.metric import score, seed_everything
from edgekit.verify.parity import ComparingPredictor
from edgekit.verify.predict import Predictor, Session, usable_cpus
from peers import _emulated
from peers._records import FORMATS, Judged, JudgeSpec, Score


def judge(spec: JudgeSpec) -> Judged:
    """Scores the file and writes its golden pair. Raises VerificationError if it answers NaN."""
    session = Recorder(backend_of(spec.runtime).open(spec.path, usable_cpus(), {}))
    artifact = _artifact(spec, session.opened)
    _write_golden(spec, Predictor(session.opened, artifact, spec.traced.inputs))
    native = _score(spec, session, artifact)
    emulated = _score(spec, _emulate(spec, session), artifact) if spec.emulator else None
    return Judged(native=native, emulated=emulated, doubts=_doubts(spec, artifact))


def backend_of(runtime: str) -> ModuleType:
    """The runner's backend, or the one for OpenVINO that stands beside this file."""
    if runtime == "openvino":
        from peers import _openvino_backend

        return _openvino_backend
    return backends.load(runtime)


class Recorder:
    """A session that keeps what it was fed, for the emulator; only the first time it is scored."""

    def __init__(self, opened: backends.Session) -> None:
        self.opened = opened
        self.fed: list[dict[str, np.ndarray]] = []

    def run(self, feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        self.fed.append(dict(feeds))
        return self.opened.run(feeds)


class Replay:
    """A session that gives recorded outputs back, in order; the metric asks in the same order every time."""

    def __init__(self, outputs: Mapping[str, np.ndarray]) -> None:
        self._outputs, self._next = outputs, 0

    def run(self, feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        row, self._next = self._next, self._next + 1
        return {name: stacked[row] for name, stacked in self._outputs.items()}


def _score(spec: JudgeSpec, session: Session, artifact: Artifact) -> Score:
    seed_everything(spec.seed)
    predictor = Predictor(session, artifact, spec.traced.inputs)
    comparing = ComparingPredictor(predictor, np.load(spec.traced.predictions, allow_pickle=False))
    metric = score(spec.source.load(), comparing)
    return Score(metric=metric, parity=comparing.comparison.parity())


def _emulate(spec: JudgeSpec, recorded: Recorder) -> Replay:
    """Runs the recorded inputs in `python` under the emulator. Raises ChildCrash with the end of what it said."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = str(Path(folder) / "in.npz"), str(Path(folder) / "out.npz")
        np.savez(asked, **_stacked(recorded.fed))
        script = [sys.executable, "-P", _emulated.__file__, spec.runtime, spec.path, asked, answered]
        done = subprocess.run([*shlex.split(spec.emulator), *script], capture_output=True, text=True)
        if done.returncode:
            raise ChildCrash(f"{spec.emulator} ended with exit code {done.returncode}: {done.stderr[-400:]}")
        with np.load(answered, allow_pickle=False) as outputs:
            return Replay(dict(outputs))


def _stacked(fed: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    return {name: np.stack([feeds[name] for feeds in fed]) for name in fed[0]}


def _artifact(spec: JudgeSpec, session: backends.Session) -> Artifact:
    inputs, outputs = (
        tuple(
            TensorSpec(name=t.name, shape=t.shape, dtype=t.dtype, scale=t.scale, zero_point=t.zero_point)
            for t in side
        )
        for side in (session.inputs, session.outputs)
    )
    return Artifact(
        path=spec.path,
        format=FORMATS[spec.runtime][0],
        precision="int8",
        size_bytes=Path(spec.path).stat().st_size,
        sha256="",
        inputs=inputs,
        outputs=outputs,
        layout=spec.layout,
        toolchain={},
    )


def _write_golden(spec: JudgeSpec, predictor: Predictor) -> None:
    with np.load(spec.traced.samples_file, allow_pickle=False) as kept:
        sample = [kept[f"input_{i}"][:1] for i in range(len(spec.traced.inputs))]
    outputs = predictor.run(sample)
    if not all(np.isfinite(output).all() for output in outputs):
        raise VerificationError("the file answers NaN or infinity on the first sample of the metric")
    write_golden(Path(spec.golden), sample, outputs, spec.layout)


def _doubts(spec: JudgeSpec, artifact: Artifact) -> tuple[str, ...]:
    """What edgekit's own lint and saturation check say of the file, whoever wrote it."""
    if spec.runtime == "openvino":
        return ("OpenVINO's compiled graph is not linted: how much of it runs in int8 is not checked",)
    from edgekit.verify.backends import load_backend

    verify = load_backend(spec.runtime)
    found = list(verify.lint(artifact).findings)
    if spec.runtime == "onnxruntime":
        with np.load(spec.traced.samples_file, allow_pickle=False) as kept:
            inputs = [kept[f"input_{i}"] for i in range(len(spec.traced.inputs))]
        seen = verify.saturation(artifact, inputs, spec.traced.inputs, spec.isa, spec.host_isa)
        found += [seen.conclusion] if seen.can_saturate else []
    return tuple(found)
