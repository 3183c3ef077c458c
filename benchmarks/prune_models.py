"""Which networks structured pruning can do: half of the multiply-accumulates asked for, what is left, in how many seconds.

    python benchmarks/prune_models.py --json prune_models.json
    python benchmarks/prune_models.py --json prune_models.json --resume --only resnet18,vit_b_16 --macs 0.3

torchvision's nets have random weights from seed 0, since only shapes and time are asked; EfficientNet-Lite0 has its own. CIFAR ResNets
have theirs where --weights names the folder of resnet20_cifar10.safetensors and resnet56_cifar10.safetensors. Widths are
multiples of 8. Each net is pruned, run, saved, rebuilt, compared with the rebuilt one and exported. Nets that cannot be pruned
are rows too, with the sentence that edgekit says. Seconds are wall time of pruning alone, one thread.
"""

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import result_file
import torch
import torchvision
from example import example
from torch import nn

from edgekit.errors import EdgekitError
from edgekit.prune import saved
from edgekit.prune.criteria import Evidence
from edgekit.prune.shrink import Request, shrink
from edgekit.records import Record
from edgekit.trace.model import export

TORCHVISION = (
    "resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "vit_b_16",
    "shufflenet_v2_x1_0", "swin_t", "densenet121", "googlenet", "squeezenet1_1", "mnasnet1_0", "regnet_y_400mf",
)  # fmt: skip
CIFAR = ("resnet20", "resnet56")
NAMES = (*TORCHVISION, "lraspp_mobilenet_v3_large", "efficientnet_lite0", *CIFAR)
MULTIPLE = 8


class Row(Record):
    """One net. error: why it could not be pruned; then the numbers are 0."""

    name: str
    macs_before: int = 0
    macs: int = 0
    parameters_before: int = 0
    parameters: int = 0
    groups: int = 0
    whole: int = 0
    seconds: float = 0.0
    same_rebuilt: bool = False
    exported: bool = False
    doubt: str = ""
    error: str = ""


class Settings(Record):
    """What rows of one table share."""

    macs: float
    criterion: str
    scope: str


class Results(Record):
    settings: Settings
    rows: tuple[Row, ...]


def built(name: str, weights: Path | None) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """The net in eval mode and an input."""
    torch.manual_seed(0)
    if name in CIFAR:
        cifar = example("cifar10")
        net = (
            cifar.build_model(str(weights / f"{name}_cifar10.safetensors"))
            if weights
            else cifar.ResNet({"resnet20": 3, "resnet56": 9}[name])
        )
        return net.eval(), (torch.randn(1, 3, 32, 32),)
    if name == "efficientnet_lite0":
        net = example("imagenet").build_model()
    elif name == "lraspp_mobilenet_v3_large":
        net = example("segmentation").Picked(
            torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
        )
    elif name == "googlenet":
        net = torchvision.models.googlenet(weights=None, aux_logits=False, init_weights=True)
    else:
        net = getattr(torchvision.models, name)(weights=None)
    return net.eval(), (torch.randn(1, 3, 224, 224),)


def pruned(name: str, weights: Path | None, settings: Settings) -> Row:
    """Prunes one net and checks what came of it."""
    net, examples = built(name, weights)
    request = Request(
        macs=settings.macs, criterion=settings.criterion, scope=settings.scope, multiple=MULTIPLE
    )
    start = time.perf_counter()
    try:
        done = shrink(net, examples, request, Evidence())
    except EdgekitError as error:
        return Row(name=name, error=str(error), seconds=time.perf_counter() - start)
    seconds = time.perf_counter() - start
    small = done.module.requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        saved.save(net, small, done.kept, Path(folder))
        again = copy.deepcopy(net)
        saved.rebuild(again, Path(folder))
        again.load_state_dict(small.state_dict())
        same = torch.equal(again.eval()(*examples), small(*examples))
    export(small, examples)
    return Row(
        name=name,
        macs_before=done.macs_before,
        macs=done.macs,
        parameters_before=sum(p.numel() for p in net.parameters()),
        parameters=sum(p.numel() for p in small.parameters()),
        groups=len(done.widths),
        whole=sum(1 for before, after in done.widths.values() if before == after),
        seconds=seconds,
        same_rebuilt=same,
        exported=True,
        doubt="; ".join(done.doubts),
    )


def cells(row: Row) -> list[str]:
    if row.error:
        return [row.name, "-", "-", "-", f"{row.seconds:.1f}", "-", row.error]
    return [
        row.name,
        f"{row.macs_before / 1e6:.0f}",
        f"{row.macs / row.macs_before:.2f}",
        f"{row.parameters / row.parameters_before:.2f}",
        f"{row.seconds:.1f}",
        f"{row.groups - row.whole} of {row.groups}",
        ("" if row.same_rebuilt else "REBUILT DIFFERS ") + row.doubt,
    ]


HEAD = ["model", "MMACs", "MACs left", "params left", "seconds", "groups narrowed", "note"]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path, help="file of the rows, written after each net")
    parser.add_argument("--resume", action="store_true", help="add to the file")
    parser.add_argument("--only", default=",".join(NAMES), help=f"of {', '.join(NAMES)}")
    parser.add_argument("--weights", type=Path, help="folder of resnet20_cifar10.safetensors and its like")
    parser.add_argument("--macs", type=float, default=0.5, help="share to keep (default 0.5)")
    parser.add_argument("--criterion", default="l2")
    parser.add_argument("--scope", default="uniform")
    asked = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        rows = measured(asked)
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print("\n".join(result_file.markdown([HEAD, *map(cells, rows)])))
    return 0


def measured(asked: argparse.Namespace) -> tuple[Row, ...]:
    """The rows of the file and those that it lacks."""
    names = result_file.names("models", asked.only, NAMES)
    settings = Settings(macs=asked.macs, criterion=asked.criterion, scope=asked.scope)
    found = result_file.read(asked.json, asked.resume, Results)
    if found is not None:
        result_file.refuse_others(asked.json, found.settings, settings)
    rows = found.rows if found is not None else ()
    for name in names:
        if name not in {row.name for row in rows}:
            rows = (*rows, pruned(name, asked.weights, settings))
            result_file.write(asked.json, Results(settings=settings, rows=rows))
            print(msgspec.json.encode(rows[-1]).decode(), file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
