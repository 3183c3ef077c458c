"""Deploys one task to several targets: trace once, walk each target's ladder side by side, place the results."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from edgekit_runner import __version__ as __version__
from edgekit_runner.host.environment import local_isa

from edgekit import requirements
from edgekit.engine import fingerprint, process, warm
from edgekit.engine.catalogue import CHECK, INSPECT, LOOK
from edgekit.engine.events import Event, EventLog
from edgekit.engine.families import TORCH
from edgekit.engine.machine import jobs_at_once, machine_facts
from edgekit.engine.output import check_output, output_folder
from edgekit.engine.parts import GRAPH
from edgekit.engine.reference_check import check_reference
from edgekit.engine.specs import Inspected, Steps, TraceSpec
from edgekit.engine.stage_cache import STAGES, StageCache
from edgekit.engine.stage_times import TIMES, StageTimes
from edgekit.engine.stages import Stages
from edgekit.engine.task_source import TaskSource, pickle_task
from edgekit.engine.user_cache import private_folder
from edgekit.engine.workspace import invalidate_if_changed, work_folder
from edgekit.errors import ConversionError, UserError
from edgekit.ladder import feasibility, measuring
from edgekit.ladder.context import RunRequest
from edgekit.ladder.option_names import check_names
from edgekit.ladder.planner import budget_for, plan
from edgekit.ladder.profiles import choose_isa, load_targets
from edgekit.ladder.recipe_parser import parse, with_recipes
from edgekit.ladder.walk import walk
from edgekit.measure import lab
from edgekit.package import folder as folders
from edgekit.package.anonymous import Anonymous
from edgekit.records import SCHEMA_VERSION, Budget, Report, StageTime, Step, TargetReport, TaskFacts
from edgekit.target import Target
from edgekit.task import Task

if TYPE_CHECKING:
    from edgekit.engine.cluster import Cluster


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
        cache: Whether finished stages are kept in the user's cache, and taken from there; time is always measured.
        devices: Where files are timed, "ssh:user@host" or "adb:SERIAL", for the targets that admit such a machine.
        records: A folder of records that were measured elsewhere, in place of devices.
        cluster: The address of a Dask scheduler, "tcp://host:8786": its workers run the stages, in place of this machine.
        on_event: Is told of stages that begin and end.

    Returns:
        The report; a target without an accepted artifact is a refusal in it.

    Raises:
        UserError: Something given is wrong; TaskError and TargetError are subclasses of it.
        MissingRuntime: A package that a target needs is not installed.
        ConversionError: No converter takes the model for any target.
    """
    asked = tuple(recipes)
    profiles = [with_recipes(target, asked) for target in load_targets(targets)]
    levels = [choose_isa(target, isa, profiles) for target in profiles]
    for target in profiles:
        feasibility.check(budget_for(target, budget), target)  # refused before any work
    requirements.check(profiles)
    named = measuring.named(devices, profiles)
    if records is not None:
        lab.check(Path(records))
    check_output(Path(out))
    if not isinstance(task, Task):
        check_reference(task, settings or {})
    if cluster is not None:
        requirements.check_cluster()
    check_recipes(asked)
    log = EventLog(on_event)
    known = measuring.ask(named, profiles, log.note)
    with (
        warm.servers() as servers,
        work_folder(Path(out), resume, log.note, keep_work) as work,
        output_folder(Path(out), work) as partial,
        _machines(cluster, work, log) as elsewhere,
    ):
        if servers is not None and elsewhere is None:
            servers.warm_up(TORCH)
        at_once = jobs or (elsewhere.jobs if elsewhere else jobs_at_once())
        stages = Stages(work, at_once, log, stage_timeout_s, elsewhere)
        request, time = _trace(task, settings or {}, stages, work, seed)
        request = msgspec.structs.replace(
            request, explore=explore, devices=known, records=str(records) if records is not None else ""
        )
        parts = _fingerprint(request)
        invalidate_if_changed(work, parts, log.note)
        times = _use_cache(stages, parts, log) if cache else StageTimes()
        _raise_if_impossible(profiles, levels, budget, request)
        try:
            results = _walk_all(profiles, levels, budget, request, stages)
        finally:
            times.keep()
        _raise_if_nothing_converts(results)
        placed = [
            folders.place(result, target, request.traced, partial, stages.logs(target.name), log)
            for result, target in zip(results, profiles, strict=True)
        ]
        report = _report(request, budget if isinstance(budget, Budget) else None, placed, time)
        folders.finish(report, partial, Anonymous(work, Path(out)))
    return report


@contextmanager
def _machines(address: str | None, work: Path, log: EventLog) -> Iterator["Cluster | None"]:
    """Yields the cluster of an address; None is this machine."""
    if address is None:
        yield None
        return
    from edgekit.engine.cluster import Cluster

    found = Cluster(address, work, log.note)
    try:
        yield found
    finally:
        found.close()


def _use_cache(stages: Stages, parts: Mapping[str, str], log: EventLog) -> StageTimes:
    """Takes the stages of earlier runs, and what they took; returns where the times of this one go."""
    times = StageTimes()
    try:
        stages.use(StageCache(private_folder(STAGES)), parts)
        times = StageTimes(private_folder(TIMES))
    except OSError as error:
        log.note(f"no cache: {error}")
    stages.learn(times, parts.get(GRAPH, ""))
    return times


def _walk_all(
    profiles: list[Target],
    levels: list[str],
    budget: Budget | Mapping[str, float | str] | None,
    request: RunRequest,
    stages: Stages,
) -> list[TargetReport]:
    """Walks the targets side by side; the first error, or an interrupt, ends them all."""
    with ThreadPoolExecutor(max_workers=len(profiles)) as pool:
        try:
            walks = [
                pool.submit(walk, target, level, budget, request, stages)
                for target, level in zip(profiles, levels, strict=True)
            ]
            for done in wait(walks, return_when=FIRST_EXCEPTION).done:
                done.result()
        except BaseException:
            stages.stop()
            raise
    return [done.result() for done in walks]


def _fingerprint(request: RunRequest) -> dict[str, str]:
    """Returns what all stages rest on, in the words that say what changed."""
    return {**request.traced.fingerprint, **fingerprint.of_tools(), "the seed": str(request.seed)}


def check_recipes(texts: Iterable[str]) -> None:
    """Checks the options of recipes: their names here, their values in a child process, which knows all techniques.

    Raises:
        UserError: A recipe has an option that its technique does not have or allow.
    """
    rungs = [parse(text) for text in texts]
    steps = [Step(technique=step.technique, options=step.options) for rung in rungs for step in rung.steps]
    for step in steps:
        check_names(step)
    if not any(step.options for step in steps):
        return
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        process.run(CHECK, Steps(steps=tuple(steps)), Path(folder))


def look(task: str, settings: dict[str, str]) -> TaskFacts:
    """Returns what the plan must know of a task.

    Its model is exported and counted in a child process that is gone afterwards.
    """
    check_reference(task, settings)
    source = TaskSource(name=task, reference=task, settings=settings)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        spec = TraceSpec(source=source, work=folder)
        return process.run(LOOK, spec, Path(folder))[0]


def inspect(task: str, settings: dict[str, str]) -> Inspected:
    """Returns what the model of a task is; it is built and traced in a child process, and nothing is scored."""
    check_reference(task, settings)
    source = TaskSource(name=task, reference=task, settings=settings)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        return process.run(INSPECT, TraceSpec(source=source, work=folder), Path(folder))[0]


def _trace(
    task: Task | str, settings: dict[str, str], stages: Stages, work: Path, seed: int
) -> tuple[RunRequest, StageTime]:
    if isinstance(task, Task):
        source = pickle_task(task, work / "task.pkl")
    else:
        source = TaskSource(name=task, reference=task, settings=settings)
    traced, time = stages.trace(lambda folder: TraceSpec(source=source, work=str(folder), seed=seed))
    return RunRequest(source=source, traced=traced, host_isa=local_isa(), seed=seed), time


def _raise_if_impossible(
    profiles: list[Target],
    levels: list[str],
    budget: Budget | Mapping[str, float | str] | None,
    request: RunRequest,
) -> None:
    """Raises where no target can reach the size: that is for the user to fix.

    A size that some target can reach is for the report to tell.
    """
    traced = request.traced
    plans = [plan(traced.facts, t, budget, level) for t, level in zip(profiles, levels, strict=True)]
    found = [feasibility.too_small(made, traced) for made in plans]
    if all(found):
        raise UserError("; ".join(dict.fromkeys(found)))


def _raise_if_nothing_converts(results: list[TargetReport]) -> None:
    """Raises for a model that no converter takes: that is for the user to fix, not a budget that was missed."""
    attempts = [attempt for result in results for attempt in result.attempts]
    errors = [a.error for a in attempts if a.error is not None and a.artifact is None]
    if attempts and len(errors) == len(attempts):
        raise ConversionError("; ".join(dict.fromkeys(errors)))


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
