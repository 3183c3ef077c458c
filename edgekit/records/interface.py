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
        state: Output -> the input that takes it in the next call.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    input_axes: tuple[int | None, ...]
    output_axes: tuple[int | None, ...]
    arguments: Tree
    result: Tree
    variadic: str = ""
    keywords: bool = False
    state: dict[str, str] = {}


class FreeAxis(Record):
    """An axis whose length is chosen with every call.

    Attributes:
        least: The shortest.
        most: The longest; None where nothing limits it.
        example: The length in the example inputs.
        default: Whether nobody asked for it: the samples of a server.
    """

    name: str
    least: int = 1
    most: int | None = None
    example: int = 1
    default: bool = False


class FreeArgument(Record):
    """An operator whose arguments hold the length of a free axis, as numbers in a program of fixed shapes.

    Attributes:
        target: The operator.
        fixed: Its arguments that are numbers and lists of numbers, at the lengths of the example inputs.
        free: "1.0" for the first number of the second argument -> what it is of the axes' names, in Python; nothing for an
            operator whose arguments depend on no free axis.
    """

    target: str
    fixed: str
    free: dict[str, str] = {}


class FreeAxes(Record):
    """The axes that the user's model leaves free, and what makes a program of fixed shapes one of free ones.

    Attributes:
        axes: Each of them.
        inputs: The position of an input -> the number of its axis, in text -> the name.
        outputs: The same of outputs.
        arguments: The operators that take shapes, in the order of the program.
        reason: Why the model fixes them, where it does; then nothing is free.
    """

    axes: tuple[FreeAxis, ...] = ()
    inputs: tuple[dict[str, str], ...] = ()
    outputs: tuple[dict[str, str], ...] = ()
    arguments: tuple[FreeArgument, ...] = ()
    reason: str = ""
