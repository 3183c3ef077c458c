"""LiteRT (the TensorFlow Lite runtime), by its `Interpreter`, with the XNNPACK delegate as it comes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit_runner.backends import (
    Arrays,
    Feeds,
    NotReported,
    OpCall,
    Session,
    TensorInfo,
    check_options,
    dtype_name,
    flag,
    missing,
)
from edgekit_runner.errors import MissingRuntime, RunnerError, UserError, first_line

FORMAT = "tflite"
SUFFIX = ".tflite"
RUNTIME = "LiteRT"
DISTRIBUTION = "ai-edge-litert"
OPTIONS = ("xnnpack", "delegate")
_SOURCE = "Interpreter._get_ops_details"
_NO_LIST = "this version of LiteRT does not list its nodes"


def load_runtime() -> str:
    """Imports the interpreter and returns the version.

    Raises:
        MissingRuntime: It does not import.
    """
    try:
        import ai_edge_litert
        import ai_edge_litert.interpreter
    except ImportError as error:
        raise MissingRuntime(missing(DISTRIBUTION, error)) from None
    return str(getattr(ai_edge_litert, "__version__", "unknown"))


def open(path: str, threads: int, options: Mapping[str, Any]) -> Session:
    """Opens a .tflite file.

    Args:
        options: `xnnpack` (default true; false runs the built-in kernels) and `delegate` (path of an external
            delegate's shared library; what it does not take stays where it was).

    Raises:
        UserError: An option is wrong, or this is no model.
    """
    check_options(OPTIONS, options, RUNTIME)
    xnnpack = flag(options, "xnnpack", True)
    version = load_runtime()
    delegates = _delegates(options)
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter = Interpreter(
            model_path=path,
            num_threads=threads,
            experimental_op_resolver_type=resolver,
            experimental_delegates=delegates,
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"{path} is not a model that {RUNTIME} {version} loads: {first_line(error)}"
        ) from None
    return LiteRtSession(interpreter, version)


def choices() -> dict[str, tuple[Any, ...]]:
    """Options worth sweeping: XNNPACK's kernels and the built-in ones."""
    return {"xnnpack": (True, False)}


def profile(
    path: str, threads: int, options: Mapping[str, Any], feeds: Feeds, runs_count: int
) -> list[OpCall]:
    """Times no operator: the profiler of the interpreter cannot be reached from Python.

    Raises:
        NotReported: Always.
    """
    raise NotReported(f"{RUNTIME} gives no profile per operator from Python; use its native benchmark_model.")


def _delegates(options: Mapping[str, Any]) -> list[Any] | None:
    library = options.get("delegate")
    if library is None:
        return None
    from ai_edge_litert.interpreter import load_delegate

    try:
        return [load_delegate(library)]
    except (ValueError, OSError, TypeError, AttributeError) as error:  # the last: no such function in it
        raise UserError(
            f"option 'delegate': {library!r} is not a delegate that {RUNTIME} loads: {first_line(error)}"
        ) from None


def interface(interpreter: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Details of inputs and outputs, named as an app passes them: by the file's signature.

    Args:
        interpreter: An allocated Interpreter.

    Returns:
        Inputs and outputs in the order of the main subgraph. A file without a signature, or with several, has the names of its
        tensors.
    """
    sides = interpreter.get_input_details(), interpreter.get_output_details()
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1:
        return sides
    called = interpreter.get_signature_runner(next(iter(signatures)))
    named = called.get_input_details(), called.get_output_details()
    return _named(sides[0], named[0]), _named(sides[1], named[1])


def _named(details: list[dict[str, Any]], named: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One name a tensor, or the tensors' own where the signature has one for several."""
    names = {int(detail["index"]): name for name, detail in named.items()}
    if set(names) != {int(detail["index"]) for detail in details} or len(names) != len(named):
        return details
    return [{**detail, "name": names[int(detail["index"])]} for detail in details]


class LiteRtSession(Session):
    """An allocated `Interpreter`. Inputs and outputs are in the order of the main subgraph."""

    def __init__(self, interpreter: Any, version: str) -> None:
        self._interpreter = interpreter
        self.runtime_version = version
        inputs, outputs = interface(interpreter)
        self.inputs = tuple(_info(detail) for detail in inputs)
        self.outputs = tuple(_info(detail) for detail in outputs)
        self._input_index = {detail["name"]: detail["index"] for detail in inputs}
        self._output_index = {detail["name"]: detail["index"] for detail in outputs}
        self._shapes = {detail["name"]: tuple(map(int, detail["shape"])) for detail in inputs}

    def feed(self, feeds: Feeds) -> None:
        """Copies the inputs in; a free dimension is resized first.

        Raises:
            RunnerError: The interpreter did not take them.
        """
        resized = {name: array for name, array in feeds.items() if array.shape != self._shapes[name]}
        try:
            for name, array in resized.items():
                self._interpreter.resize_tensor_input(self._input_index[name], array.shape)
                self._shapes[name] = array.shape
            if resized:
                self._interpreter.allocate_tensors()
            for name, array in feeds.items():
                self._interpreter.set_tensor(self._input_index[name], array)
        except (ValueError, RuntimeError) as error:
            raise RunnerError(f"{RUNTIME} did not take the input: {first_line(error)}") from None

    def invoke(self) -> None:
        """Runs one inference.

        Raises:
            RunnerError: The interpreter failed.
        """
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise RunnerError(f"{RUNTIME} failed to run the model: {first_line(error)}") from None

    def fetch(self) -> Arrays:
        """Copies of the outputs."""
        return {name: self._interpreter.get_tensor(index) for name, index in self._output_index.items()}

    def placement(self) -> dict[str, Any]:
        """The nodes that the interpreter lists for the main subgraph.

        They tell how many ops of the model a delegate took and which were left, and not which delegate it was.
        """
        try:
            return _placement(self._interpreter._get_ops_details())
        except (AttributeError, KeyError, TypeError):  # a private method: it may go
            unknown = dict.fromkeys(("delegate_nodes_count", "model_ops_count"), "unknown")
            return {"source": "unknown", **unknown, "nodes": None, "nodes_reason": _NO_LIST}

    def nodes(self) -> tuple[str, dict[str, int]]:
        """The ops of the model by who runs them.

        Raises:
            NotReported: This version of LiteRT does not list its nodes.
        """
        found = self.placement()
        if found["nodes"] is None:
            raise NotReported(f"{found['nodes_reason']}.")
        return found["source"], found["nodes"]


def _placement(listed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts what a delegate took.

    The list holds every op of the model, also those that a delegate took, and a DELEGATE node for each group of them.
    The group is what lies between the tensors of that node: its inputs are all that comes from outside, its outputs all
    that is used outside (NodeSubset in lite/graph_info.h of TensorFlow).
    """
    ops = [node for node in listed if node["op_name"] != "DELEGATE"]
    delegates = [node for node in listed if node["op_name"] == "DELEGATE"]
    maker = {int(tensor): number for number, op in enumerate(ops) for tensor in op["outputs"]}
    taken: set[int] = set()
    for node in delegates:
        outside, wanted = set(map(int, node["inputs"])), list(map(int, node["outputs"]))
        while wanted:
            number = maker.get(wanted.pop())
            if number is not None and number not in taken:
                taken.add(number)
                wanted += [tensor for tensor in map(int, ops[number]["inputs"]) if tensor not in outside]
    left = Counter(str(op["op_name"]) for number, op in enumerate(ops) if number not in taken)
    counts = {"delegate": len(taken), "built-in kernels": len(ops) - len(taken)}
    return {
        "source": _SOURCE,
        "delegate_nodes_count": len(delegates),
        "model_ops_count": len(ops),
        "delegated_ops_count": dict(Counter(str(ops[number]["op_name"]) for number in sorted(taken))),
        "left_ops_count": dict(left),
        "nodes": {where: count for where, count in counts.items() if count},
        "nodes_reason": None,
    }


def _info(detail: Any) -> TensorInfo:
    scale, zero_point = detail["quantization"]
    signature = detail.get("shape_signature")
    shape = detail["shape"] if signature is None or len(signature) == 0 else signature
    return TensorInfo(
        name=detail["name"],
        shape=tuple(map(int, shape)),
        dtype=dtype_name(detail["dtype"]),
        scale=float(scale) if scale else None,
        zero_point=int(zero_point) if scale else None,
    )
