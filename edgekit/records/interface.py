"""How a model is called and what it returns, in names: what makes one flat program of whatever structure the user has."""

from typing import Literal

from edgekit.records._base import Record
from edgekit.records.inputs import Scalar


class Tree(Record):
    """One place in the arguments of forward or in its result, with everything below it.

    Attributes:
        kind: "tensor" is a leaf, "value" a constant, "object" a dataclass, a named tuple or a ModelOutput.
        index: The position of the tensor among all inputs, or all outputs.
        value: The constant.
        keys: The names of what is below, of a dict and an object; as many as `items`.
        items: What is below.
        type: Where the class of an object is found, "module:name".
    """

    kind: Literal["tensor", "none", "value", "tuple", "list", "dict", "object"]
    index: int = -1
    value: Scalar | None = None
    keys: tuple[str | int, ...] = ()
    items: tuple["Tree", ...] = ()
    type: str = ""


class Interface(Record):
    """The names of a model's inputs and outputs, and the structures that the user's own code has them in.

    Attributes:
        inputs: The names of all input tensors, in the order of the program.
        outputs: The names of all output tensors.
        input_axes: The axis of the samples in each input; None where every sample has the same.
        output_axes: The same of each output.
        arguments: A dict of forward's parameters.
        variadic: The parameter that takes any number of inputs (`*args`), "" where there is none.
        keywords: Whether forward is called by the names of its parameters.
        result: What forward returns.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    input_axes: tuple[int | None, ...]
    output_axes: tuple[int | None, ...]
    arguments: Tree
    result: Tree
    variadic: str = ""
    keywords: bool = False
