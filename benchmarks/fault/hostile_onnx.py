"""ONNX files of strangers: weights that lead elsewhere, names, sizes and graphs that no net has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

SHAPE = (1, 3, 8, 8)
Maker = Callable[[Path], Path]
Change = Callable[[Any, Path], None]


def maker(change: Change) -> Maker:
    def make(place: Path) -> Path:
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        weight = numpy_helper.from_array(__import__("numpy").ones((4, 3, 1, 1), "float32"), "w")
        graph = helper.make_graph(
            [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")],
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 8, 8))],
            [weight],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        change(model, place)
        (place / "net.onnx").write_bytes(model.SerializeToString())
        del onnx
        return place / "net.onnx"

    return make


def _beside(location: str, **more: str) -> Change:
    """Its weights lie in another file."""

    def change(model: Any, place: Path) -> None:
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = 1
        for key, value in {"location": location.format(place=place), **more}.items():
            entry = weight.external_data.add()
            entry.key, entry.value = key, value

    return change


def _linked(to: str) -> Change:
    def change(model: Any, place: Path) -> None:
        (place / "weights").symlink_to(to)
        _beside("weights", length="48")(model, place)

    return change


def _hard_linked(model: Any, place: Path) -> None:
    (place / "weights").hardlink_to(place.parent / "secret")
    _beside("weights", length="48")(model, place)


def _named(name: str) -> Change:
    def change(model: Any, _: Path) -> None:
        model.graph.input[0].name = model.graph.node[0].input[0] = name
        model.graph.output[0].name = model.graph.node[0].output[0] = name + "y"
        model.graph.node[0].name = model.graph.name = model.producer_name = name

    return change


def _node(kind: str, inputs: list[str], **attributes: Any) -> Change:
    """One more node at the end."""

    def change(model: Any, _: Path) -> None:
        from onnx import helper

        made = helper.make_node(kind, ["y", *inputs], ["z"], **attributes)
        model.graph.node.append(made)
        model.graph.output[0].name = "z"
        del model.graph.output[0].type.tensor_type.shape.dim[:]

    return change


def _stored(name: str, values: list[int]) -> Change:
    def change(model: Any, _: Path) -> None:
        from onnx import helper

        model.graph.initializer.append(helper.make_tensor(name, 7, [len(values)], values))

    return change


def _all(*changes: Change) -> Change:
    def change(model: Any, place: Path) -> None:
        for each in changes:
            each(model, place)

    return change


def _set(**fields: Any) -> Change:
    def change(model: Any, _: Path) -> None:
        for name, value in fields.items():
            setattr(model, name, value)

    return change


def _nested(depth: int) -> Change:
    def change(model: Any, _: Path) -> None:
        from onnx import TensorProto, helper

        inner = helper.make_graph(
            [helper.make_node("Identity", ["y"], ["z0"])],
            "g",
            [],
            [helper.make_tensor_value_info("z0", 1, None)],
        )
        for level in range(1, depth):
            one = helper.make_node("If", ["c"], [f"z{level}"], then_branch=inner, else_branch=inner if level < 3 else helper.make_graph([helper.make_node("Identity", ["y"], ["e"])], "e", [], [helper.make_tensor_value_info("e", 1, None)]))  # fmt: skip
            inner = helper.make_graph([one], "g", [], [helper.make_tensor_value_info(f"z{level}", 1, None)])
        model.graph.initializer.append(helper.make_tensor("c", TensorProto.BOOL, [], [True]))
        model.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner))
        model.graph.output[0].name = "z"

    return change


def _recursive(model: Any, _: Path) -> None:
    """A function of the model's own that calls itself."""
    from onnx import helper

    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model.functions.append(
        helper.make_function(
            "own", "F", ["a"], ["b"], [helper.make_node("F", ["a"], ["b"], domain="own")], opsets
        )
    )
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node.append(helper.make_node("F", ["y"], ["z"], domain="own"))
    model.graph.output[0].name = "z"


def _dims(*dims: int) -> Change:
    def change(model: Any, _: Path) -> None:
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)

    return change


def _many(model: Any, _: Path) -> None:
    from onnx import helper

    model.graph.node.extend(helper.make_node("Relu", ["y"], [f"r{index}"]) for index in range(50_000))


HUGE = [1 << 20, 1 << 20, 1 << 10]
GRAPHS: dict[str, Change] = {
    "weights above its folder": _beside("../secret", length="48"),
    "weights by an absolute path": _beside("{place}/../secret", length="48"),
    "weights in /etc/passwd": _beside("/etc/passwd", length="48"),
    "weights through a link": _linked("../secret"),
    "weights through a link to a device": _linked("/dev/zero"),
    "weights through a hard link": _hard_linked,
    "weights that are a folder": _beside("."),
    "weights before their file": _beside("net.onnx", offset="-8", length="48"),
    "weights behind their file": _beside("net.onnx", offset=str(1 << 62), length="48"),
    "weights of any length": _beside("net.onnx", length=str(1 << 62)),
    "names that lead elsewhere": _named("../../../was-written"),
    "names of control characters": _named("a\nb\x1b[2J\0\u202e"),
    "names of 200,000 characters": _named("n" * 200_000),
    "names of nothing": _named(""),
    "names of code": _named("'); import os; os.mkdir('was-run'); ('"),
    "a fill of 10^15 numbers": _all(_stored("s", HUGE), lambda model, _: model.graph.node.add(op_type="ConstantOfShape", input=["s"], output=["huge"]), _node("Add", ["huge"])),
    "a widening to 10^15 numbers": _all(_stored("s", HUGE), _node("Expand", ["s"])),
    "a tiling to 10^15 numbers": _all(_stored("s", [1, 1 << 20, 1 << 20, 1 << 10]), _node("Tile", ["s"])),
    "a padding by 10^15": _all(_stored("s", [0, 0, 0, 0, 0, 0, 1 << 25, 1 << 25]), _node("Pad", ["s"])),
    "branches in 12 branches": _nested(12),
    "branches in 22 branches": _nested(22),
    "a function that calls itself": _recursive,
    "50,000 nodes": _many,
    "a node that reads itself": lambda model, _: model.graph.node[0].input.__setitem__(0, "y"),
    "weights fewer than their shape": _dims(4, 3, 1000, 1000),
    "weights of a negative shape": _dims(4, 3, -1, -1),
    "weights of 2^63 numbers": _dims(1 << 31, 1 << 31, 2, 1),
    "an unknown operator": _node("Reboot", []),
    "an operator of a foreign library": _node("Evil", [], domain="com.evil"),
    "a kernel of 2^31": _node("MaxPool", [], kernel_shape=[1 << 31, 1 << 31]),
    "a group of none": lambda model, _: model.graph.node[0].attribute.add(name="group", type=2, i=0),
    "no opset": lambda model, _: model.ClearField("opset_import"),
    "an opset of the future": lambda model, _: setattr(model.opset_import[0], "version", 1 << 40),
    "a version of the future": _set(ir_version=1 << 40),
    "no graph": lambda model, _: model.ClearField("graph"),
    "no input": lambda model, _: model.graph.ClearField("input"),
    "no output": lambda model, _: model.graph.ClearField("output"),
    "an input without a type": lambda model, _: model.graph.input[0].ClearField("type"),
    "an input of text": lambda model, _: setattr(model.graph.input[0].type.tensor_type, "elem_type", 8),
    "an input of an unknown type": lambda model, _: setattr(model.graph.input[0].type.tensor_type, "elem_type", 99),
    "a doc of 30 MB": _set(doc_string="\x1b[2J" * 6_000_000),
}  # fmt: skip
