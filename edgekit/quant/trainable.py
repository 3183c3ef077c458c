"""A graph that was exported to answer one sample, made one that trains: any number of samples, and two modes.

An exported graph has its mode written into it: `dropout(x, 0.5, False)`, `batch_norm(..., training=False)`. Here these calls become
modules that follow `train()` and `eval()`; in eval they export to the very same operators. Weights and biases become parameters that
take gradients, under the paths that they have. So every technique can train whatever program it is handed, the user's
or one that was pruned before.

Where samples might meet (`edgekit.quant.batching`), the graph runs them one by one: right, and slow.
"""

from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torch.nn import functional as F

from edgekit.quant import batching, rules, tensors
from edgekit.quant.program import calls

ATEN = rules.ATEN


class Norm(nn.Module):
    """A batch norm whose tensors stay where the graph has them.

    Attributes:
        frozen: Whether it uses its stored statistics also while training.
    """

    def __init__(self, momentum: float, eps: float) -> None:
        super().__init__()
        self.momentum, self.eps, self.frozen = momentum, eps, False

    def forward(
        self,
        x: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        mean: torch.Tensor,
        var: torch.Tensor,
    ) -> torch.Tensor:
        """Normalizes `x`, by the statistics of the batch while training."""
        fresh = self.training and not self.frozen
        return F.batch_norm(x, mean, var, weight, bias, fresh, self.momentum, self.eps)


class OneByOne(nn.Module):
    """A graph that takes one sample, run for each of several."""

    def __init__(self, graph: GraphModule) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Runs the samples one by one and concatenates the results."""
        rows = [self.graph(*(x[i : i + 1] for x in inputs)) for i in range(len(inputs[0]))]
        if isinstance(rows[0], torch.Tensor):
            return torch.cat(rows)
        return tuple(torch.cat(column) for column in zip(*rows, strict=True))


def trainable(graph: GraphModule) -> GraphModule | OneByOne:
    """Makes a module that trains, on the same tensors.

    It shares modules with `graph`; parameters may have to be new objects.
    """
    module = batching.copied(graph)
    apart = batching.free(module)
    for number, node in enumerate(calls(module)):
        if node.target is ATEN.dropout.default:
            _replace(module, node, f"_dropout_{number}", nn.Dropout(node.args[1]), node.args[:1])
        elif node.target is ATEN.batch_norm.default:
            x, weight, bias, mean, var, _, momentum, eps, *_ = node.args
            _replace(module, node, f"_norm_{number}", Norm(momentum, eps), (x, weight, bias, mean, var))
    for path in weights(module):
        own = tensors.read(module, path)
        _set(module, path, nn.Parameter(own.clone(), requires_grad=True))
    module.graph.lint()
    module.recompile()
    return module if apart else OneByOne(module)


def weights(module: GraphModule) -> list[str]:
    """Returns the paths of the tensors that training changes: weights and biases of layers and norms, other parameters."""
    parameters = {name for name, p in module.named_parameters() if p.is_floating_point()}
    read = {str(n.target): n for n in module.graph.nodes if n.op == "get_attr"}
    found = [path for path, node in read.items() if path in parameters or _is_weight(node)]
    return list(dict.fromkeys(found))


def give_back(trained: GraphModule | OneByOne, graph: GraphModule) -> None:
    """Writes the trained tensors into the graph that `trainable` was given."""
    module = trained.graph if isinstance(trained, OneByOne) else trained
    stored = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    for path in stored:
        value = tensors.read(module, path)
        tensors.write(graph, path, value.detach().to("cpu").clone(memory_format=torch.contiguous_format))


def _is_weight(node: Node) -> bool:
    """Whether a layer reads `node` as its weight or bias, with or without an observer between."""
    if not rules.is_float(node):
        return False
    users = [
        (user, user) if user.op != "call_module" else (next(iter(user.users), user), user)
        for user in node.users
    ]
    return any(
        reader.target in rules.MAC | rules.FLOAT_MAC
        and (source in reader.args[1:3] or node in reader.args[1:3])
        for reader, source in users
    )


def _replace(module: GraphModule, node: Node, name: str, by: nn.Module, args: tuple[Any, ...]) -> None:
    module.add_submodule(name, by)
    with module.graph.inserting_before(node):
        call = module.graph.call_module(name, args)
    call.meta = dict(node.meta)
    node.replace_all_uses_with(call)
    module.graph.erase_node(node)


def _set(module: GraphModule, path: str, value: nn.Parameter) -> None:
    *parents, name = path.split(".")
    owner = module.get_submodule(".".join(parents))
    owner._buffers.pop(name, None)
    vars(owner).pop(name, None)
    owner.register_parameter(name, value)
