"""DeepSpeed's ZeRO: its configuration, and its state as a checkpoint keeps it.

Every process holds a part of the optimizer's state, which only the same number of processes can take back; a checkpoint holds
the parts of all of them. DeepSpeed's own files hold objects that reading would execute, so of its state only tensors and
numbers are kept, and put into the state of a new optimizer. Weights stay float32 and are kept as those of any other strategy.
"""

import importlib.util
import os
from typing import Any

import torch
from torch import nn

from edgekit.errors import MissingRuntime, UserError
from edgekit.train.settings import Options

STRATEGIES = ("zero2", "zero3")
#: what DeepSpeed calls the state of the optimizer that it wraps, by stage
_INNER = ("base_optimizer_state", "optimizer_state_dict")
_PARTS = "parts"


def check(options: Options) -> None:
    """Checks that a training can run with ZeRO.

    Raises:
        MissingRuntime: DeepSpeed is not installed.
        UserError: An option does not go with it.
    """
    if importlib.util.find_spec("deepspeed") is None:
        raise MissingRuntime(
            f"deepspeed is not installed, but strategy {options.strategy} needs it: pip install 'edgekit[zero]'"
        )
    if options.precision == "float16":
        raise UserError(
            f"training option precision is float16, which strategy {options.strategy} does not train in; use bfloat16 or float32"
        )
    if options.ema and options.strategy == "zero3":
        raise UserError(
            "training option ema averages whole weights, which strategy zero3 has nowhere; leave ema out, or use zero2 or fsdp"
        )
    if "LOCAL_RANK" not in os.environ:
        raise UserError(
            f"training option strategy is {options.strategy}, but no launcher started this process: start it with torchrun "
            "--nproc-per-node N, for one process too, or use ddp"
        )


def configuration(options: Options) -> dict[str, Any]:
    """Returns DeepSpeed's configuration. The micro batch is nominal: batches come as the task makes them."""
    stage = 2 if options.strategy == "zero2" else 3
    pinned = torch.cuda.is_available()
    zero: dict[str, Any] = {"stage": stage, "overlap_comm": pinned, "contiguous_gradients": True}
    if options.offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": pinned}
        if stage == 3:
            zero["offload_param"] = {"device": "cpu", "pin_memory": pinned}
    return {
        "zero_optimization": zero,
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": options.accumulate,
        "gradient_clipping": options.largest_norm,
        # not its bf16, which turns the weights themselves into bfloat16
        "torch_autocast": {"enabled": options.precision == "bfloat16", "dtype": "bfloat16"},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }


def plugin(options: Options) -> Any:
    """Returns what accelerate takes DeepSpeed's configuration in."""
    from accelerate import DeepSpeedPlugin

    _without_compiler()
    return DeepSpeedPlugin(hf_ds_config=configuration(options))


def _without_compiler() -> None:
    """Leaves sums between CPU processes to gloo: DeepSpeed's own take a compiler and minutes at the first start."""
    if not torch.cuda.is_available():
        import deepspeed

        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def is_sharded(model: nn.Module) -> bool:
    """Whether ZeRO-3 has taken the weights of a model apart."""
    return any(hasattr(parameter, "ds_id") for parameter in model.parameters())


def state_of(optimizer: Any, processes: int) -> dict[str, Any]:
    """Returns the state of ZeRO's optimizer, the parts of all processes; all of them must call this together."""
    own = {name: _plain(value) for name, value in optimizer.state_dict().items() if name in _INNER}
    parts: list[Any] = [None] * processes
    torch.distributed.all_gather_object(parts, own)
    return {_PARTS: parts}


def put(optimizer: Any, saved: dict[str, Any]) -> None:
    """Writes what `state_of` returned back, once the weights are in their place."""
    optimizer.refresh_fp32_params()
    optimizer.load_state_dict([{**optimizer.state_dict(), **part} for part in saved[_PARTS]])


def _plain(value: Any) -> Any:
    """The same with copies of tensors on the CPU, which no later step writes to."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
