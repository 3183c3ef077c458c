"""What widths of layers cost on the target: the table that pruning for latency chooses from. One child process, alone on
the machine.

For each kind of micro-model of the network (`edgekit.prune.latency`) the target's own exporter writes files at some ten
widths, and the runner times them in turns in one process on one thread: here, or on a device. Each row goes to the user's
cache as soon as it is measured (`edgekit.prune.latency.table`): who is cut off, or whose device vanishes, loses the row
that was being measured, and networks that share layers share rows.

Cost: about 2 s for each file written, twice that in integers, and 0.1 to 2 s to time it. ResNet-20: 5 rows, 2 minutes.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torchvision  # noqa: F401  before any converter: see edgekit.child
from edgekit_runner import __version__

from edgekit.compress import prune
from edgekit.device import Device, open_device, run, zipapp
from edgekit.errors import VerificationError
from edgekit.prune.latency.chains import surroundings
from edgekit.prune.latency.micro import Micro
from edgekit.prune.latency.plan import widths_to_measure
from edgekit.prune.latency.table import Store
from edgekit.prune.shrink import cuttable
from edgekit.quant import program as programs
from edgekit.records import Artifact, WidthRow, WidthTable
from edgekit.specs import PlanTime, WidthTableSpec
from edgekit.trace import examples_of, model_of, seed_everything
from edgekit.verify.width_files import of_program, write

ROUNDS = 40
WARMUP_S = 0.02
MOST_S = 60.0
Timer = Callable[[Sequence[Artifact]], dict[str, Any]]


def width_table(spec: WidthTableSpec) -> WidthTable:
    """The table for `spec.candidate`; without rows, and with the reason, where the machine is none of the target's.

    Raises what the exporter and the device raise, and VerificationError where the runner does not time a file.
    """
    start = time.perf_counter()
    seed_everything(0)
    with timer(spec.device) as times:
        whole = _whole(spec, Path(spec.work))
        record = times(whole)
        conditions = conditions_of(record, spec)
        reason = _no_machine(record, spec)
        if reason:
            return WidthTable(conditions=conditions, rows=(), base_s=0, float_s=0, reason=reason)
        rows, entries = measured(spec, Store(conditions), times)
    return WidthTable(
        conditions=conditions,
        rows=rows,
        base_s=record["turns"][0]["cpu_min_s"],
        float_s=record["turns"][-1]["cpu_min_s"],
        entries=entries,
        seconds=time.perf_counter() - start,
    )


def plan_time(spec: WidthTableSpec) -> PlanTime:
    """The whole pruned network beside the one it was cut from, in turns: what the table foretold, measured."""
    assert spec.pruned is not None
    seed_everything(0)
    with timer(spec.device) as times:
        whole, work = _whole(spec, Path(spec.work))[0], Path(spec.work) / "pruned"
        cut = of_program(spec.pruned.program, spec.precision, spec.target, spec.isa, work)
        cut_turn, whole_turn = times([cut, whole])["turns"]
    return PlanTime(pruned_s=cut_turn["cpu_min_s"], base_s=whole_turn["cpu_min_s"])


def measured(spec: WidthTableSpec, store: Store, times: Timer) -> tuple[tuple[WidthRow, ...], int]:
    """Every row that the network needs, from the cache or from the device; how many figures are new."""
    task = spec.source.load()
    module, _ = prune.loaded(spec.candidate, model_of(task), examples_of(task))
    request = prune.options_of(spec.step).request(spec.target.channel_multiple)
    graph = cuttable(module, examples_of(task), request)
    found = surroundings(graph.module, graph.examples, graph.groups)
    rows, entries = dict[str, WidthRow](), 0
    for root, several in found.micros.items():
        for micro in several:
            widths = widths_to_measure(micro, graph.groups[root], request.multiple)
            row = rows.get(micro.text) or store.row(micro.text, widths)
            if row is None:
                row = _row(micro, widths, spec, times)
                store.add(row)
                entries += len(widths)
            rows[micro.text] = row
    return tuple(rows.values()), entries


def _row(micro: Micro, widths: list[int], spec: WidthTableSpec, times: Timer) -> WidthRow:
    """All widths of one micro-model, in turns."""
    with TemporaryDirectory(dir=spec.work) as folder:
        files = []
        for width in widths:
            module, x = micro.at(width)
            place = Path(folder) / str(width)
            files.append(write(module, (x,), spec.precision, spec.target, spec.isa, place))
        turns = times(files)["turns"]
    seconds = tuple(float(turn["cpu_min_s"]) for turn in turns)
    return WidthRow(micro=micro.text, widths=tuple(widths), seconds=seconds)


@contextmanager
def timer(name: str) -> Iterator[Timer]:
    """What times files on a device, opened once. It raises DeviceError, VerificationError."""
    with TemporaryDirectory() as folder, closing(open_device(name)) as device:
        runner = zipapp.build(Path(folder))
        yield lambda files: _timed(device, runner, files)


def _timed(device: Device, runner: Path, files: Sequence[Artifact]) -> dict[str, Any]:
    """The runner's record of kind turns."""
    spec = {
        "kind": "turns", "artifact": files[0].path, "others": [file.path for file in files[1:]], "format": files[0].format,
        "rounds_count": ROUNDS, "warmup_s": WARMUP_S, "max_duration_s": MOST_S,
    }  # fmt: skip
    record = run.run(device, spec, runner)
    if record["status"] != "ok":
        raise VerificationError(
            f"{device.name}: the runner does not time {files[0].path}: {record['reason']}"
        )
    return record


def conditions_of(record: dict[str, Any], spec: WidthTableSpec) -> dict[str, str]:
    """What a figure depends on besides the layers."""
    host, quant = record["environment"], spec.target.quant_for(spec.isa)
    found = {
        "runtime": record["runtime"]["name"],
        "version": record["runtime"]["version"],
        "machine": host["machine"],
        "CPU": host["cpu_model"],
        "isa": host["isa"],
        "threads": "1",
        "precision": spec.precision,
        "edgekit": __version__,
    }
    if spec.precision == "int8":
        found["integers"] = str(quant)
    return {name: str(value) for name, value in found.items()}


def _no_machine(record: dict[str, Any], spec: WidthTableSpec) -> str:
    host = record["environment"]
    if spec.target.admits(host["machine"], host["isa"]) and host["emulated"] == "no":
        return ""
    return (
        f"{spec.device} is a {host['machine']} {host['isa']}, not one of the machines of {spec.target.name}"
    )


def _whole(spec: WidthTableSpec, work: Path) -> list[Artifact]:
    """The network before the cut in the precision of the table, and in float where that is another one."""
    program = spec.candidate.program
    programs.load(program)
    kinds = list(dict.fromkeys([spec.precision, "float32"]))
    return [of_program(program, kind, spec.target, spec.isa, work / "whole") for kind in kinds]  # type: ignore[arg-type]
