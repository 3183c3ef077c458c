"""A worker: distils a small net with features, and prints its losses. `torchrun two_processes.py MODE STRATEGY`."""

import json
import os
import sys

import torch
from distill_nets import graph, stages
from torch.nn import functional as F

from edgekit.distill import modes
from edgekit.distill.distiller import Setting
from edgekit.task import Training
from edgekit.train import distributed
from edgekit.train.data import seed_step
from edgekit.train.loop import fit
from edgekit.train.settings import Options


def main(mode: str, strategy: str) -> None:
    x = torch.randn(160, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = (x.mean((1, 2, 3)) * 10).long().clamp(0, 9)
    training = Training(batches=list(zip(x.split(16), y.split(16), strict=True)), loss=F.cross_entropy)
    seed_step(0, 0, 0)
    teachers = [] if modes.teachers(mode) == "none" else [graph(stages(8, 1))]
    setting = Setting(
        student=graph(stages(4, 2)),
        teachers=teachers,
        loss=F.cross_entropy,
        alpha=0.5,
        temperature=2.0,
        features="" if mode == "exits" else "auto:hint",
        cached=False,
    )
    method = modes.method(mode, setting)
    options = Options(images=320, learning_rate=1e-2, strategy=strategy, device="cpu")  # type: ignore[arg-type]
    done = fit(method.model, training, options, objective=method.objective, on_step=method.on_step)
    if os.environ["RANK"] == "0":
        print(json.dumps(done.losses), flush=True)
    distributed.stop()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
