"""A worker: each strategy trains a net at a stretch, then stopped and resumed, and by autocast. `zero_worker.py FOLDER`, under torchrun.

Both strategies in one start, whose imports are most of its time.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from train_nets import net, task

from edgekit.train import checkpoint, distributed
from edgekit.train.history import Trained
from edgekit.train.loop import fit
from edgekit.train.settings import Options
from edgekit.train.zero import STRATEGIES

State = dict[str, torch.Tensor]
SHORT = {"images": 160, "learning_rate": 0.01, "checks": 4, "device": "cpu", "offload": True}


class Stopped(Exception):
    """In place of a signal."""


def train(folder: Path | None = None, stops: bool = False, **given: Any) -> tuple[Trained, State]:
    def on_step(progress: float) -> None:
        if stops and progress > 0.6:
            raise Stopped

    model, training = net(), task(size=15).training
    assert training is not None
    done = fit(model, training, Options(**SHORT, **given), on_step=on_step, folder=folder)
    return done, checkpoint.state_of(model)


def found(strategy: str, folder: Path) -> dict[str, Any]:
    whole, weights = train(strategy=strategy)
    try:
        train(folder, stops=True, strategy=strategy)
    except Stopped:
        torch.distributed.barrier()
    kept = checkpoint.latest(folder)
    assert kept is not None
    parts = checkpoint.read_optimizer(kept)["parts"]
    resumed, again = train(folder, strategy=strategy)
    half, weights_of_half = train(strategy=strategy, precision="bfloat16")
    return {
        "losses": whole.losses,
        "resumed losses": resumed.losses,
        "resumed at": resumed.resumed_at,
        "same weights": all(torch.equal(weights[name], again[name]) for name in weights),
        "parts": len(parts),
        "losses in bfloat16": half.losses,
        "weights of that": str(weights_of_half["0.weight"].dtype),
    }


def main(place: Path) -> None:
    rows = {strategy: found(strategy, place / strategy) for strategy in STRATEGIES}
    if os.environ["RANK"] == "0":
        (place / "found.json").write_text(json.dumps(rows))
    distributed.stop()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
