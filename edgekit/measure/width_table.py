"""What widths of layers cost on the target: the table that pruning for latency chooses from. Two child processes.

For each kind of micro-model of the network (`edgekit.prune.latency`) the target's own exporter writes files at some ten
widths (`width_files`). The runner times them in turns in one process on one thread, on this machine with nothing else
running or on a device (`width_table`). Each row goes to the user's cache as soon as it is measured
(`edgekit.prune.latency.width_costs`): a run that is cut off, or whose device vanishes, loses only the row that was being
measured, and networks that share layers share rows.

Cost: about 2 s for each file written and 0.2 s to time it. ResNet-20: 5 rows of 41 files, 2 minutes.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torchvision  # noqa: F401  before any converter: see edgekit.engine.process
from edgekit_runner import __version__

from edgekit.device import Device, open_device, run, zipapp
from edgekit.engine.measure_specs import PlanTime, RowFiles, WidthFiles, WidthTableSpec
from edgekit.errors import UserError, VerificationError
from edgekit.measure.width_files import of_program, write
from edgekit.prune.latency.chains import surroundings
from edgekit.prune.latency.micro import Border, Micro
from edgekit.prune.latency.width_costs import Store
from edgekit.prune.latency.width_plan import widths_to_measure
from edgekit.prune.shrink import cuttable
from edgekit.records import Artifact, Precision, WidthRow, WidthTable
from edgekit.techniques import prune
from edgekit.trace.flat import flat_task
from edgekit.trace.metric import seed_everything
from edgekit.trace.model import examples_of

ROUNDS = 40
WARMUP_S = 0.02
MOST_S = 60.0
Timer = Callable[[Sequence[Artifact]], dict[str, Any]]


def width_files(spec: WidthTableSpec) -> WidthFiles:
    """Writes what is not in the cache yet.

    Returns:
        The files by row; without rows, and with the reason, where the machine is not one of the target's.

    Raises:
        EdgekitError: Whatever the exporter or the device raises.
    """
    seed_everything(0)
    whole = _whole(spec)
    with closing(open_device(spec.device)) as device:
        record = _asked(device, {"kind": "check", "artifact": whole[0].path, "format": whole[0].format})
    conditions = conditions_of(record, spec)
    reason = _no_machine(record, spec)
    if reason:
        return WidthFiles(whole=whole, conditions=conditions, reason=reason)
    store = Store(conditions)
    wanted: list[tuple[Micro | Border, list[int]]] = [(Border(), list(Border.widths)), *_wanted(spec)]
    rows = [_written(micro, widths, spec, store) for micro, widths in wanted]
    return WidthFiles(whole=whole, conditions=conditions, rows=tuple(rows))


def _wanted(spec: WidthTableSpec) -> list[tuple[Micro, list[int]]]:
    """Every micro-model of the network once, and the widths to time it at."""
    task = flat_task(spec.source.load(), spec.candidate.interface)
    module, _ = prune.loaded(spec.candidate, prune.module_of(spec.candidate, task), examples_of(task))
    request = prune.options_of(spec.step).request(spec.target.channel_multiple)
    graph, _ = cuttable(module, examples_of(task), request)
    found = surroundings(graph.module, graph.examples, graph.groups)
    each = {
        micro.text: (micro, widths_to_measure(micro, graph.groups[root], request.multiple))
        for root, several in found.micros.items()
        for micro in several
    }
    return list(each.values())


def _written(micro: Micro | Border, widths: list[int], spec: WidthTableSpec, store: Store) -> RowFiles:
    if store.row(micro.text, widths) is not None:
        return RowFiles(micro=micro.text, widths=tuple(widths))
    digest = hashlib.sha256(micro.text.encode()).hexdigest()[:16]
    files = []
    for width in widths:
        module, x = micro.at(width)
        place = Path(spec.work) / digest / str(width)
        files.append(write(module, (x,), spec.precision, spec.target, spec.isa, place))
    return RowFiles(micro=micro.text, widths=tuple(widths), files=tuple(files))


def width_table(spec: WidthTableSpec) -> WidthTable:
    """Times the files. Raises what the device raises, and VerificationError where the runner does not time a file."""
    start, files = time.perf_counter(), spec.files
    assert files is not None
    with timer(spec.device) as times:
        turns = times(files.whole)["turns"]
        rows, entries = measured(files, Store(files.conditions), times)
    return WidthTable(
        conditions=files.conditions,
        rows=rows,
        base_s=turns[0]["cpu_min_s"],
        float_s=turns[-1]["cpu_min_s"],
        entries=entries,
        wall_s=time.perf_counter() - start,
    )


def measured(files: WidthFiles, store: Store, times: Timer) -> tuple[tuple[WidthRow, ...], int]:
    """Completes every row, from the cache or from the device.

    Returns:
        The rows, and how many figures are new.
    """
    rows, entries = list[WidthRow](), 0
    for row in files.rows:
        found = store.row(row.micro, list(row.widths))
        if found is None and not row.files:
            raise UserError(
                f"{store.path} has lost a row since the files were written; run again without --resume"
            )
        if found is None:
            seconds = tuple(float(turn["cpu_min_s"]) for turn in times(row.files)["turns"])
            found = WidthRow(micro=row.micro, widths=row.widths, cpu_s=seconds)
            store.add(found)
            entries += len(row.widths)
        rows.append(found)
    return tuple(rows), entries


def plan_time(spec: WidthTableSpec) -> PlanTime:
    """Times the whole pruned network beside the one it was cut from, in turns: a measurement of what the table predicted."""
    assert spec.pruned is not None and spec.files is not None
    seed_everything(0)
    cut = of_program(spec.pruned.program, spec.precision, spec.target, spec.isa, Path(spec.work))
    with timer(spec.device) as times:
        cut_turn, whole_turn = times([cut, spec.files.whole[0]])["turns"]
    return PlanTime(pruned_s=cut_turn["cpu_min_s"], base_s=whole_turn["cpu_min_s"])


@contextmanager
def timer(name: str) -> Iterator[Timer]:
    """Opens a device once and gives what times files on it: the runner's record of kind turns.

    The timer raises DeviceError or VerificationError.
    """
    with closing(open_device(name)) as device:
        yield lambda files: _asked(
            device,
            {
                "kind": "turns", "artifact": files[0].path, "others": [file.path for file in files[1:]],
                "format": files[0].format, "rounds_count": ROUNDS, "warmup_s": WARMUP_S, "max_duration_s": MOST_S,
            },
        )  # fmt: skip


def _asked(device: Device, spec: dict[str, Any]) -> dict[str, Any]:
    """The record that a runner on the device gives."""
    with TemporaryDirectory() as folder:
        record = run.run(device, spec, zipapp.build(Path(folder)))
    if record["status"] != "ok":
        raise VerificationError(
            f"{device.name}: the runner does not time {spec['artifact']}: {record['reason']}"
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


def _whole(spec: WidthTableSpec) -> tuple[Artifact, ...]:
    """The network before the cut, in the precision of the table, and in float where the two differ."""
    program, work = spec.candidate.program, Path(spec.work) / "whole"
    kinds: tuple[Precision, ...] = (
        (spec.precision,) if spec.precision == "float32" else (spec.precision, "float32")
    )
    return tuple(of_program(program, kind, spec.target, spec.isa, work) for kind in kinds)
