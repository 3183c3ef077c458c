"""The child process of one stage: what the call costs, beyond imports and loading the model.

A peer that is given a path loads the model itself; the copy that was loaded before stays alive meanwhile, so that
every peer is measured above a process that already holds its model.
"""

import gc
import os
import time

import torchvision  # noqa: F401  before any converter: see edgekit.engine.process
from edgekit_runner.host import memory

import peers
from edgekit.trace.metric import seed_everything
from peers._records import Job, StageRun

# peers that would report each run to their makers are told that this is an automated one
NO_TELEMETRY = {"CI": "true", "NNCF_CI": "1", "OLIVE_DISABLE_TELEMETRY": "1"}


def run(spec: Job) -> StageRun:
    """Prepares the stage, then measures its call: wall and CPU time, and how far memory rose above RSS before it."""
    os.environ.update(NO_TELEMETRY)
    seed_everything(spec.seed)
    call = getattr(peers.load(spec.module), spec.stage)(spec)
    next(iter(spec.source.load().calibration or ()), None)  # what decoding needs is loaded
    gc.collect()
    reset = memory.reset_peak()
    before = memory.sample()
    wall, cpu = time.perf_counter(), time.process_time()
    note = call()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    extra = memory.sample().minus(before)["peak_bytes"] if reset else None
    return StageRun(
        stage=spec.stage,
        wall_s=round(wall, 3),
        cpu_s=round(cpu, 3),
        rss_before_bytes=before.rss_bytes,
        extra_peak_bytes=extra,
        note=note or "",
    )
