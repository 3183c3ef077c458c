"""Where a run takes place: its folders, the warm servers or the cluster that run its stages, what earlier runs left."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.engine import warm
from edgekit.engine.events import EventLog
from edgekit.engine.families import TORCH
from edgekit.engine.machine import jobs_at_once
from edgekit.engine.output import output_folder
from edgekit.engine.parts import GRAPH
from edgekit.engine.stage_cache import STAGES, StageCache
from edgekit.engine.stage_times import TIMES, StageTimes
from edgekit.engine.stages import Stages
from edgekit.engine.user_cache import private_folder
from edgekit.engine.workspace import work_folder

if TYPE_CHECKING:
    from edgekit.engine.cluster import Cluster


@dataclass(frozen=True, kw_only=True)
class Room:
    """The place of one run.

    Attributes:
        work: The folder of its stages.
        partial: The output, which is renamed into its place at the end.
        stages: Runs the stages.
        log: Is told of them.
    """

    work: Path
    partial: Path
    stages: Stages
    log: EventLog

    @property
    def cache(self) -> str:
        """The folder of what earlier runs left, for stages on this machine; "" where there is none."""
        try:
            return "" if self.stages.are_elsewhere else str(private_folder(STAGES))
        except OSError:
            return ""

    def use_cache(self, parts: Mapping[str, str]) -> StageTimes:
        """Takes the stages of earlier runs, and what they took; returns where the times of this one go."""
        times = StageTimes()
        try:
            self.stages.use(StageCache(private_folder(STAGES)), parts)
            times = StageTimes(private_folder(TIMES))
        except OSError as error:
            self.log.note(f"no cache: {error}")
        self.stages.learn(times, parts.get(GRAPH, ""))
        return times


@contextmanager
def room(
    out: Path,
    log: EventLog,
    *,
    resume: bool,
    keep_work: bool,
    jobs: int | None,
    stage_timeout_s: float | None,
    cluster: str | None,
) -> Iterator[Room]:
    """Holds the place of a run, with warm servers, or the machines of a cluster.

    Args:
        out: The folder to write.
        log: Is told of the stages.
        resume: Whether the stages that a stopped run on `out` finished are taken.
        keep_work: Whether the folder of the stages stays.
        jobs: How many stages run at once; None is as many as fit.
        stage_timeout_s: In place of each stage's own limit of wall time, in seconds.
        cluster: The address of a Dask scheduler; None is this machine.
    """
    with (
        warm.servers() as servers,
        work_folder(out, resume, log.note, keep_work) as work,
        output_folder(out, work) as partial,
        _machines(cluster, work, log) as elsewhere,
    ):
        if servers is not None and elsewhere is None:
            servers.warm_up(TORCH)
        at_once = jobs or (elsewhere.jobs if elsewhere else jobs_at_once())
        stages = Stages(work, at_once, log, stage_timeout_s, elsewhere)
        yield Room(work=work, partial=partial, stages=stages, log=log)


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
