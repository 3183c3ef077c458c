"""The stored tensors of a graph module by their dotted path, and the observers of those that are weights."""

import torch
from torch.fx import GraphModule, Node


def held(module: torch.nn.Module, path: str) -> torch.Tensor:
    """Returns the very object at `path`: a parameter, a buffer or a plain tensor."""
    *parents, name = path.split(".")
    tensor: torch.Tensor = getattr(module.get_submodule(".".join(parents)), name)
    return tensor


def read(module: torch.nn.Module, path: str) -> torch.Tensor:
    """Returns the tensor at `path`, without gradients."""
    return held(module, path).detach()


def write(module: torch.nn.Module, path: str, value: torch.Tensor) -> None:
    """Puts a new tensor in place of the one at `path`, which the user's model may share."""
    *parents, name = path.split(".")
    owner = module.get_submodule(".".join(parents))
    is_parameter = name in owner._parameters
    setattr(owner, name, torch.nn.Parameter(value, requires_grad=False) if is_parameter else value)


def to_parameter(module: torch.nn.Module, path: str) -> None:
    """Makes a buffer or a plain tensor of floats a parameter."""
    *parents, name = path.split(".")
    owner = module.get_submodule(".".join(parents))
    value = getattr(owner, name)
    delattr(owner, name)
    owner.register_parameter(name, torch.nn.Parameter(value.detach()))


def drop_unread(module: GraphModule) -> None:
    """Removes stored tensors that no node reads any more, which an export would otherwise store."""
    read_paths = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    called = tuple(f"{node.target}." for node in module.graph.nodes if node.op == "call_module")
    for path in [*dict(module.named_parameters()), *dict(module.named_buffers())]:
        if path not in read_paths and not path.startswith(called):
            *parents, name = path.split(".")
            delattr(module.get_submodule(".".join(parents)), name)


def weight_observer(prepared: GraphModule, node: object) -> torch.nn.Module | None:
    """Returns the observer of a weight; None unless `node` is an observer of a stored tensor."""
    if not isinstance(node, Node) or node.op != "call_module":
        return None
    source = node.args[0]
    if not isinstance(source, Node) or source.op != "get_attr":
        return None
    module = prepared.get_submodule(str(node.target))
    return module if hasattr(module, "calculate_qparams") else None
