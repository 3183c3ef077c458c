"""The weights of a program that may become sparse: those of convolutions and linear layers."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, Literal

from msgspec import Meta
from torch.fx import GraphModule, Node

from edgekit.errors import NotApplicable, UserError
from edgekit.quant import rules, tensors
from edgekit.quant.program import calls, module_path
from edgekit.sparse.patterns import Pattern

Ends = Literal["none", "first", "last", "both"]
Keep = Annotated[Ends, Meta(description="ends of the network that are left as they are")]
Ignore = Annotated[
    str, Meta(description="layers that are left as they are: dotted names, separated by commas")
]


@dataclass(frozen=True)
class Layer:
    """A weight and the layer that reads it.

    Attributes:
        path: The path of the stored weight.
        module: The dotted name of the torch module that reads it first.
        shape: [O, I, ...].
        ends_model: Whether what the layer computes is an output of the model.
    """

    path: str
    module: str
    shape: tuple[int, ...]
    ends_model: bool

    @property
    def size(self) -> int:
        """The number of weights."""
        return prod(self.shape)


def find(graph: GraphModule) -> list[Layer]:
    """Returns the layers in the order of the graph; a weight that several layers share comes once."""
    found: dict[str, Layer] = {}
    for node in calls(graph):
        weight = node.args[1] if node.target in rules.MAC else None
        if isinstance(weight, Node) and weight.op == "call_module":
            weight = weight.args[0]  # before what observes or rounds it
        if not isinstance(weight, Node) or weight.op != "get_attr" or not rules.is_float(weight):
            continue
        path = str(weight.target)
        shape = tuple(tensors.read(graph, path).shape)
        if len(shape) >= 2 and path not in found:
            found[path] = Layer(path, module_path(node) or node.name, shape, _ends(node))
    return list(found.values())


def _ends(node: Node) -> bool:
    return any(user.op == "output" for user in node.users)


def chosen(layers: Sequence[Layer], pattern: Pattern, ignore: str, keep: Ends) -> list[Layer]:
    """Chooses the layers to make sparse: not ignored, not kept dense, and divisible by the pattern.

    Args:
        layers: All layers of the model.
        pattern: Weights that go together.
        ignore: Dotted names that stay dense, separated by commas.
        keep: Ends of the network that stay dense.

    Raises:
        UserError: An ignored name is not a layer, or the names leave nothing to do.
        NotApplicable: The network has no layer that can be made sparse.
    """
    names = [name.strip() for name in ignore.split(",") if name.strip()]
    for name in names:
        _known(name, layers)
    ends = {layers[0].path} if layers and keep in ("first", "both") else set()
    ends |= {layers[-1].path} if layers and keep in ("last", "both") else set()
    left = [
        layer
        for layer in layers
        if layer.path not in ends and not any(_is_in(layer.module, name) for name in names)
    ]
    fitting = [layer for layer in left if pattern.fits(layer.shape)]
    if not left and layers and names:
        raise UserError(f"the options ignore and keep leave out all {len(layers)} layers; name fewer")
    if not fitting:
        raise NotApplicable(f"no layer can be made sparse: {_why(layers, left, pattern)}")
    return fitting


def _why(layers: Sequence[Layer], left: Sequence[Layer], pattern: Pattern) -> str:
    if not layers:
        return "the model has no convolution or linear layer with a stored float weight (make it sparse before ptq or qat)"
    if not left:
        return f"it has {len(layers)}, and the option keep leaves them as they are"
    shapes = ", ".join(f"{layer.module} {list(layer.shape)}" for layer in left[:3])
    return f"pattern {pattern.name} divides none of the weights, {shapes}; take another pattern"


def _is_in(module: str, name: str) -> bool:
    return module == name or module.startswith(f"{name}.")


def _known(name: str, layers: Sequence[Layer]) -> None:
    modules = [layer.module for layer in layers]
    if any(_is_in(module, name) for module in modules):
        return
    close = difflib.get_close_matches(name, modules, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise UserError(f"option ignore: no layer is called {name!r}{hint} Layers are {', '.join(modules)}")
