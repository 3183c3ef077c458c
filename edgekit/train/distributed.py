"""Where a training runs and how its weights are distributed: accelerate's `Accelerator`.

| strategy | weights | gradients, optimizer | for |
|---|---|---|---|
| ddp | a copy in every process | copies | what fits one device; a single process is the same thing |
| fsdp | sharded, gathered layer by layer | sharded | models that do not fit (`fully_shard`, FSDP2) |
| zero2, zero3 | DeepSpeed (`edgekit.train.zero`): copies, sharded | sharded, offloaded with `offload` | one small GPU |

FSDP2 is applied here and not by accelerate's plugin, which 1.15 ignores on CPUs: this way the same lines are
tested on a laptop and run on GPUs. Zhao et al. 2023 (arXiv:2304.11277); Rajbhandari et al. 2020, "ZeRO"
(arXiv:1910.02054).

A process that dies takes the others with it: gloo and NCCL fail in its neighbours, which `watched` turns into
a sentence, and torchrun ends those that are left.
"""

import logging
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState, PartialState
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.fx import GraphModule

from edgekit.errors import UserError, WorkerLost
from edgekit.train import zero
from edgekit.train.settings import Options

log = logging.getLogger("edgekit")

_PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
#: what torch says when another process is gone
_LOST = (
    "connection closed by peer",
    "connection reset",
    "broken pipe",
    "connection refused",
    "socket",
    "nccl",
    "gloo",
)


def start(options: Options, changes: bool = False) -> Accelerator:
    """Returns the accelerator of this process.

    Args:
        options: How the training is run.
        changes: Whether some weights may stop training on the way, which ddp must look for in each update.

    Raises:
        MissingRuntime: The strategy needs DeepSpeed, which is not installed.
        UserError: The precision or the strategy is not possible here.
    """
    sharded = options.strategy in zero.STRATEGIES
    if sharded:
        zero.check(options)
    cpu = options.device == "cpu" or not torch.cuda.is_available()
    if cpu and options.precision == "float16":
        raise UserError(
            "training option precision is float16, which CPUs do not train in; use bfloat16 or float32"
        )
    if sharded and cpu:
        PartialState(
            cpu=True
        )  # told of DeepSpeed, accelerate looks for GPUs and takes itself for the only process
    AcceleratorState._reset_state()  # else a second training in the same process keeps the precision of the first
    accelerator = Accelerator(
        cpu=cpu and not sharded,
        mixed_precision="no" if sharded else _PRECISION[options.precision],
        gradient_accumulation_steps=options.accumulate,
        deepspeed_plugin=zero.plugin(options) if sharded else None,
        step_scheduler_with_optimizer=False,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)] if changes else None,
    )
    if options.strategy == "fsdp" and accelerator.num_processes == 1:
        raise UserError(
            "training option strategy is fsdp, but this is one process: start several with torchrun, or use ddp"
        )
    return accelerator


def spread(model: nn.Module, accelerator: Accelerator, options: Options) -> None:
    """Shards the weights in place, if the strategy is fsdp."""
    if options.strategy != "fsdp":
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard

    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    offloads = options.offload and accelerator.device.type != "cpu"
    policy: OffloadPolicy = CPUOffloadPolicy() if offloads else OffloadPolicy()
    model.to(accelerator.device)
    for parameter in model.parameters():  # FSDP2 accepts no other layout
        parameter.data = parameter.data.contiguous()
    for block in blocks(model):
        fully_shard(block, mesh=mesh, offload_policy=policy)
    fully_shard(model, mesh=mesh, offload_policy=policy)


def spread_teachers(teachers: Iterable[nn.Module], accelerator: Accelerator, options: Options) -> None:
    """Shards teachers before their first use, if the strategy is fsdp: a large one must not be whole anywhere."""
    if options.strategy != "fsdp":
        return
    for teacher in teachers:
        spread(teacher, accelerator, options)
        own, everything = held(teacher)
        log.info("training: each process holds %d of the %d numbers of a teacher", own, everything)


def blocks(model: nn.Module) -> list[nn.Module]:
    """Returns what is gathered at a time: the outermost members of module lists; a graph as a whole."""
    if isinstance(model, GraphModule):
        return []
    found: list[nn.Module] = []
    for child in model.children():
        if isinstance(child, nn.ModuleList | nn.Sequential):
            found += [member for member in child if any(True for _ in member.parameters())]
        else:
            found += blocks(child)
    return found


def held(model: nn.Module) -> tuple[int, int]:
    """Returns how many of the model's parameter elements this process holds, and how many there are."""
    parameters = list(model.parameters())
    own = sum(p.to_local().numel() if isinstance(p, DTensor) else p.numel() for p in parameters)
    return own, sum(p.numel() for p in parameters)


def mean(value: float, accelerator: Accelerator) -> float:
    """Returns the mean over all processes."""
    if accelerator.num_processes == 1:
        return value
    tensor = torch.tensor(value, dtype=torch.float64, device=accelerator.device)
    return float(accelerator.reduce(tensor, "mean"))


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Returns a copy on the CPU; a sharded tensor is gathered, so all processes must call this together."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().to("cpu", copy=True).contiguous()


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Makes parameters that ZeRO-3 has sharded whole in every process; what is written meanwhile is kept."""
    if not zero.is_sharded(model):
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(list(model.parameters()), modifier_rank=0):
        yield


@torch.no_grad()
def fill(target: torch.Tensor, value: torch.Tensor) -> None:
    """Writes a whole tensor into one that may be sharded."""
    target.copy_(like(value, target))


def like(value: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Returns a whole tensor moved to the device of `target`, and sharded as it is."""
    moved = value.to(target.device, target.dtype)
    if isinstance(target, DTensor):
        return distribute_tensor(moved, target.device_mesh, target.placements)
    return moved


@contextmanager
def watched() -> Iterator[None]:
    """Turns torch's errors about a dead process into WorkerLost."""
    try:
        yield
    except RuntimeError as error:
        text = " ".join(str(error).split())
        alone = not torch.distributed.is_available() or not torch.distributed.is_initialized()
        if alone or not any(sign in text.lower() for sign in _LOST):
            raise
        raise _lost(text[:200]) from error


def end_with_the_others() -> None:
    """Makes this process raise WorkerLost when torchrun asks it to end, because another process died.

    So the user reads the same sentence, whichever process is told first.
    """

    def told(*_: object) -> None:
        raise _lost("torchrun ends the others")

    signal.signal(signal.SIGTERM, told)


def _lost(how: str) -> WorkerLost:
    rank = os.environ.get("RANK", "?")
    return WorkerLost(
        f"process {rank} of the training lost another one, which died or was killed: {how}. "
        "Start it again with the same command and --resume: it resumes from the last checkpoint"
    )


def stop() -> None:
    """Leaves the process group, so that torch does not complain at exit."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    PartialState._reset_state()
