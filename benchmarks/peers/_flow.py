"""One row after the other: quantize in fresh processes, score, time. The float model is prepared once."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from edgekit_runner.host.environment import local_isa
from ptq_task import is_random

import peers
from edgekit.engine import process
from edgekit.engine.catalogue import EXPORT, TRACE, Stage
from edgekit.engine.specs import ExportSpec, TraceSpec
from edgekit.engine.task_source import TaskSource
from edgekit.errors import EdgekitError, VerificationError
from edgekit.golden import Golden, golden_atol, of_float
from edgekit.ladder.build import FLOAT
from edgekit.profile.reading import load_target
from edgekit.records import Artifact, Candidate
from peers._records import FORMATS, Job, Judged, JudgeSpec, Result, Results, Row, Settings, StageRun, Timing
from peers._timing import compare

TASK = Path(__file__).parents[1] / "ptq_task.py"
PROFILES = {"onnx": "x86-server", "tflite": "tflite-int8"}  # whose float files the peers read
RANDOM = "random weights: top-1 is of distorted copies of the model's own source images, no accuracy"

RUN = Stage(name="run", function="peers._stage:run", spec=Job, result=StageRun, limit_s=0)
SCORE = Stage(name="score", function="peers._judge:judge", spec=JudgeSpec, result=Judged, limit_s=0)


class Flow:
    """What all rows share: the task, the float model and its files, the folder of this run."""

    def __init__(self, settings: Settings, work: Path) -> None:
        self._settings, self._work = settings, work
        keys = ("model", "photos", "calibrate", "score")
        self._source = TaskSource(
            name=settings.model,
            reference=f"{TASK}:task",
            settings={key: str(getattr(settings, key)) for key in keys},
        )
        self._floats: dict[str, Artifact] = {}

    def start(self, machine: dict[str, str], names: Sequence[str]) -> Results:
        """Traces and scores the float model, and exports the files that the rows `names` read; still without a row."""
        folder = self._work / "trace"
        spec = TraceSpec(source=self._source, work=str(folder), seed=self._settings.seed)
        self._traced, _ = process.run(TRACE, spec, folder)
        read = {FORMATS[peers.rows()[name][1].runtime][0] for name in names}
        sizes = {format: self._float(format).size_bytes for format in sorted({"onnx", *read})}
        return Results(
            settings=self._settings,
            machine=machine,
            float_metric=self._traced.metric,
            samples=self._traced.samples,
            float_sizes=sizes,
            float_sha256=self._float("onnx").sha256,
        )

    def row(self, name: str) -> Result:
        """One row, whatever becomes of it."""
        module, row = peers.rows()[name]
        head = {"name": name, "summary": row.summary, "runtime": row.runtime}
        pip = peers.pip_line(module)
        if pip is not None:
            return Result(**head, status="missing", reason=pip)
        try:
            return self._measured(name, module, row)
        except EdgekitError as error:
            return Result(**head, status="failed", reason=" ".join(str(error).split()))

    def _measured(self, name: str, module: str, row: Row) -> Result:
        folder = self._work / name
        runs, files = [], []
        for number in range(self._settings.repeat):
            stages, out = self._quantize(name, module, folder / f"run-{number}")
            runs.append(stages)
            files.append(out)
        judged = self._judge(row, files[0], folder)
        timings, doubts = self._time(row, files[0], folder)
        doubts = (*judged.doubts, *doubts)
        if len({_digest(file) for file in files}) > 1:
            doubts = (*doubts, f"{len(files)} runs gave files that are not byte-identical")
        if is_random(self._settings.model):
            doubts = (RANDOM, *doubts)
        notes = dict.fromkeys(stage.note for stage in runs[0] if stage.note)
        return Result(
            name=name,
            status="ok",
            summary=": ".join((row.summary, *notes)),
            runtime=row.runtime,
            versions=peers.versions(module),
            stages=tuple(runs),
            size_bytes=sum(file.stat().st_size for file in _parts(files[0])),
            judged=judged,
            timings=timings,
            doubts=tuple(dict.fromkeys(doubts)),
        )

    def job(self, name: str, stage: str, folder: Path) -> Job:
        """A stage of a row, that works in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        module, row = peers.rows()[name]
        format, suffix = FORMATS[row.runtime]
        return Job(
            module=module,
            name=name,
            stage=stage,
            row=row,
            source=self._source,
            traced=self._traced,
            float_file=self._float(format),
            isa=self._settings.isa,
            work=str(folder),
            out=str(folder / f"model{suffix}"),
            seed=self._settings.seed,
        )

    def run(self, name: str, stage: str, folder: Path) -> StageRun:
        """One stage of a row in a process of its own."""
        job = self.job(name, stage, folder)
        run, _ = process.run(RUN, job, folder / f"log-{stage}", label=f"{name} {stage}")
        return run

    def _quantize(self, name: str, module: str, folder: Path) -> tuple[tuple[StageRun, ...], Path]:
        """Every stage of a row."""
        runs = tuple(self.run(name, stage, folder) for stage in peers.load(module).STAGES)
        return runs, Path(self.job(name, "", folder).out)

    def _judge(self, row: Row, file: Path, folder: Path) -> Judged:
        spec = JudgeSpec(
            path=str(file),
            runtime=row.runtime,
            layout=self._float(FORMATS[row.runtime][0]).layout,
            traced=self._traced,
            source=self._source,
            isa=self._settings.isa,
            host_isa=local_isa(),
            golden=str(folder / "golden.npz"),
            emulator=""
            if row.runtime == "litert"
            else self._settings.emulator,  # its int8 kernels never saturate
            seed=self._settings.seed,
        )
        return process.run(SCORE, spec, folder / "log-score")[0]

    def _time(self, row: Row, file: Path, folder: Path) -> tuple[tuple[Timing, ...], tuple[str, ...]]:
        """Against the float file of its own runtime and, where that is another, against the ONNX one.

        A file that the runner refuses keeps its row: the doubt says why it has no time.
        """
        golden = folder / "golden.npz"
        mine = Golden(path=str(golden), atol=golden_atol(golden, "int8"))
        timings: list[Timing] = []
        doubts: list[str] = []
        for runtime in baselines(row.runtime):
            float_file = self._float(FORMATS[runtime][0])
            reference = of_float(self._traced, float_file, folder / f"float-{runtime}.npz")
            pair = (row.runtime, runtime)
            try:
                timing, said = compare(pair, str(file), mine, float_file.path, reference, self._settings)
            except VerificationError as error:
                doubts.append(f"not timed against the {runtime} float file: {error}")
            else:
                timings.append(timing)
                doubts += said
        return tuple(timings), tuple(doubts)

    def _float(self, format: str) -> Artifact:
        """The float file of a format, exported when it is first asked for."""
        if format not in self._floats:
            folder = self._work / f"float-{format}"
            candidate = Candidate(program=self._traced.program, recipe=FLOAT)
            spec = ExportSpec(candidate=candidate, target=load_target(PROFILES[format]), folder=str(folder))
            self._floats[format], _ = process.run(EXPORT, spec, folder, label=f"export float {format}")
        return self._floats[format]


def baselines(runtime: str) -> tuple[str, ...]:
    """The runtimes whose float files a row is timed against."""
    return tuple(dict.fromkeys((runtime, "onnxruntime")))


def complete(row: Result) -> bool:
    """Whether a resumed run may keep the row."""
    return row.status == "ok" and len(row.timings) == len(baselines(row.runtime))


def _parts(file: Path) -> list[Path]:
    """An OpenVINO model is two files."""
    weights = file.with_suffix(".bin")
    return [file, weights] if file.suffix == ".xml" and weights.exists() else [file]


def _digest(file: Path) -> str:
    return hashlib.sha256(b"".join(part.read_bytes() for part in _parts(file))).hexdigest()
