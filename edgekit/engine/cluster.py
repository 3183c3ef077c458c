"""Stages on the workers of a Dask cluster: another machine starts their processes, everything else is as on one machine.

The work folder lies on a path that host and workers share: a stage's spec, result and log are there, wherever it ran. A worker
takes part if it has the host's edgekit and packages, and sees the work folder. Stages run on workers with the host's instruction set and
number of threads, so that the numbers are those of one machine; what measures time runs on a worker that the target
admits, alone there, whatever its instruction set. A worker that is lost is replaced by another one.

Dask has no locks on its doors: whoever reaches the scheduler runs code on the workers. TLS is by Dask's own configuration.
"""

import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from distributed import Client, Future, KilledWorker

from edgekit.engine import cluster_worker, fingerprint
from edgekit.engine.child import LOG, RESULT
from edgekit.engine.job import Execute, Job, Stop
from edgekit.engine.machine import machine_facts
from edgekit.errors import ChildCrash, Stopped, UserError
from edgekit.records import Record
from edgekit.target import Target

CONNECT_S, POLL_S, LOOK_S, NOBODY_S = 10.0, 0.05, 2.0, 60.0
VISIBLE_S = 30.0  # a network file system may show a file late
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
Say = Callable[[str], None]


class Cluster:
    """The workers of a scheduler, for one run.

    Args:
        address: "tcp://host:8786" or "tls://host:8786".
        work: The work folder.
        say: Is told of workers that do not take part, and why.
        warm: Whether workers keep warm servers while it lasts.

    Attributes:
        jobs: How many stages run at once.

    Raises:
        UserError: The scheduler does not answer, or no worker can do the work.
    """

    def __init__(self, address: str, work: Path, say: Say, *, warm: bool = True) -> None:
        self._address, self._say = address, say
        self._token = work / "cluster.token"
        self._token.write_text(secrets.token_hex(8), encoding="utf-8")
        self._machine, self._tools = machine_facts(), fingerprint.of_tools()
        self._variables = {name: os.environ[name] for name in THREADS if name in os.environ}
        self._variables.setdefault("OMP_NUM_THREADS", self._machine["cpu_usable_count"])
        self._known: dict[str, dict[str, str] | None] = {}  # address -> facts; None does not take part
        try:
            self._client = Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"no Dask scheduler answers at {address} ({error}); start one with `dask scheduler` and its workers with `dask worker "
                f"{address}`"
            ) from error
        try:
            self._plugin = f"edgekit-{secrets.token_hex(4)}"
            if warm:
                self._client.register_plugin(cluster_worker.Warm(self._variables), name=self._plugin)
            self.jobs = self._threads()
        except BaseException:
            self.close()
            raise

    def _threads(self) -> int:
        with suppress(
            TimeoutError
        ):  # workers that were started with their scheduler may still be on their way
            self._client.wait_for_workers(1, timeout=CONNECT_S)
        found = self._same()
        if not found:
            has = {facts["isa"] for facts in self._alive().values()}
            raise UserError(
                f"no worker of {self._address} can do what this machine ({self._machine['isa']}) would: "
                f"{'they are ' + ', '.join(sorted(has)) if has else 'none takes part'}; start one on such a machine with the same edgekit, "
                "or start this run on a machine like the workers'"
            )
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        return sum(int(workers[address]["nthreads"]) for address in found if address in workers) or 1

    def _alive(self) -> dict[str, dict[str, str]]:
        """Returns the workers that take part, with their facts; new ones are asked first."""
        there = [*self._client.scheduler_info(n_workers=-1)["workers"]]
        new = [address for address in there if address not in self._known]
        if new:
            with suppress(OSError, KeyError, ValueError):  # one of them was lost meanwhile
                said = self._client.run(
                    cluster_worker.introduce, str(self._token), workers=new, on_error="ignore"
                )
                for address, one in said.items():
                    self._known[address] = self._accepted(address, one)
        return {address: facts for address in there if (facts := self._known.get(address)) is not None}

    def _accepted(self, address: str, said: Mapping[str, Any]) -> dict[str, str] | None:
        other = [name for name, value in self._tools.items() if said["tools"].get(name) != value]
        if said["token"] != self._token.read_text(encoding="utf-8"):
            self._say(
                f"worker {address} does not take part: it does not see {self._token.parent}; share the folder of -o"
            )
        elif other:
            self._say(f"worker {address} does not take part: other than here are {', '.join(other)}")
        else:
            return dict(said["machine"])
        return None

    def _same(self) -> list[str]:
        """Lists the workers whose numbers are those of the host."""
        same = ("machine", "isa")
        return [a for a, f in self._alive().items() if all(f[name] == self._machine[name] for name in same)]

    def _admitted(self, target: Target | None) -> list[str]:
        """Lists the workers that may measure for a target; those that are like the host, where the target admits none."""
        if target is None:
            return self._same()
        found = [a for a, f in self._alive().items() if target.admits(f["machine"], f["isa"])]
        return found or self._same()

    def executor(self, spec: Record, urgency_s: float) -> Execute:
        """Returns what executes a stage.

        Args:
            spec: What goes into it: the target that it names, if it measures, chooses the worker.
            urgency_s: Who has more comes first.
        """
        target = getattr(spec, "target", None)

        def execute(job: Job, stop: Stop | None) -> int | None:
            places = (lambda: self._admitted(target)) if job.alone else self._same
            code = self._await(job, stop, places, urgency_s)
            if code is not None:
                _see(Path(job.folder) / (LOG if code else RESULT))
            return code

        return execute

    def _await(
        self, job: Job, stop: Stop | None, places: Callable[[], list[str]], urgency_s: float
    ) -> int | None:
        """Submits a stage and waits for it; submits it again where no worker that may run it is left."""
        asked: list[str] = []
        future: Future | None = None
        looked_s = seen_s = time.monotonic()
        try:
            while stop is None or not stop.is_set():
                now_s = time.monotonic()
                if future is None or now_s - looked_s > LOOK_S:
                    looked_s, there = now_s, self._ask(places)
                    seen_s = now_s if there else seen_s
                    if there and not set(asked) & set(there):
                        asked, future = there, self._submit(job, there, urgency_s)
                    if now_s - seen_s > NOBODY_S:
                        raise UserError(
                            f"{job.label}: no worker is left that may run it; start one and run again with --resume"
                        )
                if future is not None and future.done():
                    return self._result(future, job)
                time.sleep(POLL_S)
            raise Stopped(f"{job.label} was stopped")
        finally:
            if future is not None and not future.done():
                with suppress(OSError):
                    future.cancel()

    def _ask(self, places: Callable[[], list[str]]) -> list[str]:
        if self._client.status != "running":
            raise UserError(f"the scheduler at {self._address} is gone; start it and run again with --resume")
        return places()

    def _submit(self, job: Job, workers: list[str], urgency_s: float) -> Future:
        return self._client.submit(
            cluster_worker.run_stage, job, self._variables, key=f"{self._plugin}-{job.label}-{secrets.token_hex(4)}",
            workers=workers, allow_other_workers=False, priority=int(urgency_s), pure=False,
        )  # fmt: skip

    def _result(self, future: Future, job: Job) -> int | None:
        if future.cancelled():
            raise UserError(
                f"{job.label}: the scheduler at {self._address} dropped it; run again with --resume"
            )
        try:
            return future.result()  # type: ignore[no-any-return]
        except KilledWorker as error:
            raise ChildCrash(f"{job.label}: each worker that ran it was lost ({error})") from error

    def close(self) -> None:
        """Ends what still runs, and the servers of this run on the workers."""
        self._token.unlink(missing_ok=True)
        with suppress(Exception):
            self._client.unregister_worker_plugin(self._plugin)
        self._client.close()


def _see(file: Path) -> None:
    """Waits until this machine sees what the worker has written last."""
    deadline_s = time.monotonic() + VISIBLE_S
    while not file.is_file() and time.monotonic() < deadline_s:
        time.sleep(POLL_S)
