"""Deploys one task to several targets: trace once, walk each target's ladder side by side, place the results."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from edgekit_runner import __version__ as __version__
from edgekit_runner.host.environment import local_isa

from edgekit import requirements
from edgekit.device.scratch import Scratch
from edgekit.engine import fingerprint, process
from edgekit.engine.catalogue import CHECK, INSPECT, LOOK
from edgekit.engine.events import Event, EventLog
from edgekit.engine.machine import machine_facts
from edgekit.engine.output import check_output
from edgekit.engine.reference_check import check_reference
from edgekit.engine.room import Room, room
from edgekit.engine.specs import Inspected, Steps, TraceSpec
from edgekit.engine.stage_times import StageTimes
from edgekit.engine.task_source import TaskSource, pickle_task
from edgekit.engine.workspace import invalidate_if_changed
from edgekit.ladder import emulation_gate, measuring, side_by_side
from edgekit.ladder.context import RunRequest
from edgekit.ladder.option_names import check_names
from edgekit.measure import lab
from edgekit.package import folder as folders
from edgekit.package.anonymous import Anonymous
from edgekit.records import SCHEMA_VERSION, Budget, Report, StageTime, Step, TargetReport, TaskFacts
from edgekit.target import Target
from edgekit.task import Task


def deploy(
    task: Task | str,
    targets: Iterable[str],
    out: str | Path,
    *,
    budget: Budget | Mapping[str, float | str] | None = None,
    isa: str | None = None,
    settings: dict[str, str] | None = None,
    seed: int = 0,
    jobs: int | None = None,
    recipes: Iterable[str] = (),
    explore: bool = False,
    resume: bool = False,
    stage_timeout_s: float | None = None,
    keep_work: bool = False,
    cache: bool = True,
    devices: Iterable[str] = (),
    records: str | Path | None = None,
    cluster: str | None = None,
    arm: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> Report:
    """Exports `task` for every target and writes the folder `out`, whole or not at all.

    Args:
        task: A Task, or a reference "file.py:task".
        targets: Names of profiles, paths of TOML files, or "all".
        out: The folder to write; one target is one folder in it.
        budget: In place of the profile's, or a mapping that overrides some of its fields.
        isa: The instruction-set level of the machine that will serve, for the targets that admit it; "host" is this
            machine's.
        settings: Text for the function that a reference names.
        seed: The seed of everything random.
        jobs: How many stages run at once, each a process of one to four gigabytes; None is one a core, as far as memory
            reaches.
        recipes: In place of the profiles' ladders, see `edgekit.ladder.recipe_parser`.
        explore: Tries every recipe and ships the best accepted one, not the first.
        resume: Continues with the stages that a stopped run on `out` finished.
        stage_timeout_s: Wall time, in seconds, after which a stage counts as hung and is ended, in place of each stage's
            own limit of hours; 0 is none.
        keep_work: Keeps the folder of the stages, `.<out>.edgekit-work`, for `python -m edgekit.engine.replay`.
        cache: Whether finished stages are kept in the user's cache, and taken from there; a time as long as it was
            measured undisturbed, here, and since this machine started.
        devices: Where files are timed, "ssh:user@host" or "adb:SERIAL", for the targets that admit such a machine.
        records: A folder of records that were measured elsewhere, in place of devices.
        cluster: The address of a Dask scheduler, "tcp://host:8786": its workers run the stages, in place of this machine.
        arm: Whether files for ARM machines are run on emulated ones, too: what answers otherwise there, or takes more instructions
            than float, is refused.
        on_event: Is told of stages that begin and end.

    Returns:
        The report; a target without an accepted artifact is a refusal in it.

    Raises:
        UserError: Something given is wrong; TaskError and TargetError are subclasses of it.
        MissingRuntime: A package that a target needs is not installed.
        ConversionError: No converter takes the model for any target.
    """
    place, options = Path(out), settings or {}
    texts = tuple(recipes)
    run = side_by_side.asked(targets, isa, texts, budget)
    named = measuring.named(devices, run.profiles)
    if arm:
        emulation_gate.check(run.profiles)
    _check(task, options, place, records, cluster)
    if texts:
        check_recipes(run.profiles)
    log = EventLog(on_event)
    known = measuring.ask(named, run.profiles, log.note)
    with room(
        place,
        log,
        resume=resume,
        keep_work=keep_work,
        jobs=jobs,
        stage_timeout_s=stage_timeout_s,
        cluster=cluster,
    ) as here:
        request, time = _trace(task, options, here, seed, cache, any(p.free_batch for p in run.profiles))
        request = msgspec.structs.replace(
            request, explore=explore, devices=known, records="" if records is None else str(records), arm=arm
        )
        results = _results(run, request, here, cache)
        return _placed(results, run, request, here, place, time)


def _check(
    task: Task | str, settings: dict[str, str], out: Path, records: str | Path | None, cluster: str | None
) -> None:
    """Checks what can be checked before any work."""
    if records is not None:
        lab.check(Path(records))
    check_output(out)
    if not isinstance(task, Task):
        check_reference(task, settings)
    if cluster is not None:
        requirements.check_cluster()


def _results(run: side_by_side.Asked, request: RunRequest, here: Room, cache: bool) -> list[TargetReport]:
    """Walks all ladders, with what earlier runs left."""
    parts = _fingerprint(request)
    invalidate_if_changed(here.work, parts, here.log.note)
    times = here.use_cache(parts) if cache else StageTimes()
    run.raise_if_impossible(request)
    try:
        results = run.walk(request, here.stages)
    finally:
        times.keep()
    side_by_side.raise_if_nothing_converts(results)
    return results


def _placed(
    results: list[TargetReport],
    run: side_by_side.Asked,
    request: RunRequest,
    here: Room,
    out: Path,
    time: StageTime,
) -> Report:
    """Writes the folder of each target and the report."""
    placed = [
        folders.place(result, target, request.traced, here.partial, here.stages.logs(target.name), here.log)
        for result, target in zip(results, run.profiles, strict=True)
    ]
    report = _report(request, run.budget if isinstance(run.budget, Budget) else None, placed, time)
    folders.finish(report, here.partial, Anonymous(here.work, out))
    return report


def _fingerprint(request: RunRequest) -> dict[str, str]:
    """Returns what all stages rest on, in the words that say what changed."""
    return {**request.traced.fingerprint, **fingerprint.of_tools(), "the seed": str(request.seed)}


def check_recipes(profiles: Iterable[Target]) -> None:
    """Checks the options in ladders: their names here, their values in a child process, which knows all techniques.

    Raises:
        UserError: A recipe has an option that its technique does not have or allow.
    """
    rungs = [rung for target in profiles for rung in target.ladder]
    steps = [Step(technique=step.technique, options=step.options) for rung in rungs for step in rung.steps]
    for step in steps:
        check_names(step)
    if not any(step.options for step in steps):
        return
    with Scratch() as folder:
        process.run(CHECK, Steps(steps=tuple(steps)), folder)


def look(task: str, settings: dict[str, str]) -> TaskFacts:
    """Returns what the plan must know of a task.

    Its model is exported and counted in a child process that is gone afterwards.
    """
    check_reference(task, settings)
    source = TaskSource(name=task, reference=task, settings=settings)
    with Scratch() as folder:
        spec = TraceSpec(source=source, work=str(folder), serves=False)
        return process.run(LOOK, spec, folder)[0]


def inspect(task: str, settings: dict[str, str]) -> Inspected:
    """Returns what the model of a task is; it is built and traced in a child process, and nothing is scored."""
    check_reference(task, settings)
    source = TaskSource(name=task, reference=task, settings=settings)
    with Scratch() as folder:
        return process.run(INSPECT, TraceSpec(source=source, work=str(folder)), folder)[0]


def _trace(
    task: Task | str, settings: dict[str, str], here: Room, seed: int, cache: bool, serves: bool
) -> tuple[RunRequest, StageTime]:
    if isinstance(task, Task):
        source = pickle_task(task, here.work / "task.pkl")
    else:
        source = TaskSource(name=task, reference=task, settings=settings)
    kept = here.cache if cache else ""
    traced, time = here.stages.trace(
        lambda folder: TraceSpec(source=source, work=str(folder), seed=seed, cache=kept, serves=serves)
    )
    return RunRequest(source=source, traced=traced, host_isa=local_isa(), seed=seed), time


def _report(
    request: RunRequest, budget: Budget | None, placed: list[TargetReport], time: StageTime
) -> Report:
    traced = request.traced
    return Report(
        schema_version=SCHEMA_VERSION,
        edgekit_version=__version__,
        task=traced.facts.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine_facts(),
        float_metric=traced.metric,
        samples=traced.samples,
        parameters=traced.parameters,
        targets=tuple(placed),
        budget=budget,
        stages=(time,),
        doubts=traced.doubts,
        layers=traced.layers,
    )
