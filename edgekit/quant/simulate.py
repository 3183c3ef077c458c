"""The quantized program before it is one: a calibrated graph run with every observer rounding to its own grid.

What `convert_pt2e` would compute, without converting: so that choices (equalization, bias correction, rounding) can be
compared in seconds on a few calibration samples. Nothing is copied: weights are read when they are needed, so
a change of them shows in the next run.

Choices are compared by the signal-to-noise ratio of the outputs, 10 log10(|float|^2 / |float - quantized|^2): unlike the
share of equal answers it still tells two good choices apart on sixteen samples. Of several outputs each counts as much
as another, whatever its unit.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from edgekit_runner.stats.deviation import ratio_db
from torch.fx import Graph, GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

from edgekit.quant.calibrate import Batch, pieces
from edgekit.records import Record

SAMPLES = 16
CEILING_DB = 200.0  # stands for infinite: a record is JSON
GAIN_DB = 0.1  # what a choice must gain to be kept

Rounding = Callable[[torch.Tensor], torch.Tensor]


class Compared(Record):
    """The verdict on one choice.

    Attributes:
        choice: What was tried.
        with_db: Signal to noise of the outputs with it, in dB.
        without_db: Signal to noise of the outputs without it, in dB.
        samples: How many calibration inputs it was judged on.
    """

    choice: str
    with_db: float
    without_db: float
    samples: int

    @property
    def helps(self) -> bool:
        """Whether the choice gains at least GAIN_DB."""
        return self.with_db >= self.without_db + GAIN_DB

    def __str__(self) -> str:
        word = "kept" if self.helps else "left out"
        figures = f"SNR {self.with_db:.1f} dB with, {self.without_db:.1f} dB without"
        return f"{self.choice} {word}: {figures} ({self.samples} samples)"


class Simulation(Interpreter):
    """Runs a prepared graph as integers will.

    Args:
        prepared: The prepared graph.
        rounds: Whether observers round; if not, the graph runs in float, and nothing is observed.
        stored: Tensors by path that stand in for those of the graph, as long as this run lasts.
    """

    def __init__(
        self, prepared: GraphModule, rounds: bool = True, stored: Mapping[str, torch.Tensor] | None = None
    ) -> None:
        super().__init__(prepared)
        found = observers(prepared)
        self.roundings = {name: _rounding(found[name]) if rounds else None for name in found}
        self.stored = stored or {}

    def fetch_attr(self, target: str) -> Any:
        """Returns the stored tensor, or what stands in for it."""
        return self.stored[target] if target in self.stored else super().fetch_attr(target)

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Rounds where the module is an observer."""
        if target not in self.roundings:
            return super().call_module(target, args, kwargs)
        rounding = self.roundings[target]
        return args[0] if rounding is None else rounding(args[0])


def layer_by_layer(
    models: Sequence[Interpreter], samples: Sequence[Batch]
) -> Iterator[tuple[Node, list[list[torch.Tensor]]]]:
    """Runs interpreters of one graph side by side, each call for all samples before the next call.

    What the caller writes into the graph's tensors when a call is yielded (its weight, say) already counts for that call.
    Holds `live_bytes` for each model and sample.

    Yields:
        Each call before it runs, and its first operands by model and sample.
    """
    graph = models[0].graph
    runs = [[_started(model, sample) for sample in samples] for model in models]
    constants = _constants(graph)
    for node in graph.nodes:
        if node in constants or node.op in ("placeholder", "output"):
            continue
        if node.op == "call_function" and isinstance(node.args[0], Node) and node.args[0] not in constants:
            yield node, [[values[node.args[0]] for values in run] for run in runs]
        for model, run in zip(models, runs, strict=True):
            fixed = {
                source: _evaluate(model, source) for source in node.all_input_nodes if source in constants
            }
            for values in run:
                model.env = {**values, **fixed}
                values[node] = model.run_node(node)
                for dead in model.user_to_last_uses.get(node, ()):
                    values.pop(dead, None)


def live_bytes(graph: Graph) -> int:
    """Returns the most memory that the intermediate values of one run take at any time."""
    constants, live, most = _constants(graph), 0, 0
    left = {node: len(node.users) for node in graph.nodes}
    for node in graph.nodes:
        if node in constants:
            continue
        live += _bytes(node)
        most = max(most, live)
        for source in node.all_input_nodes:
            left[source] -= 1
            if not left[source] and source not in constants:
                live -= _bytes(source)
        if not node.users:
            live -= _bytes(node)
    return most


def _started(model: Interpreter, sample: Batch) -> dict[Node, Any]:
    inputs = [node for node in model.graph.nodes if node.op == "placeholder"]
    return dict(zip(inputs, model.graph.process_inputs(*sample), strict=True))


def _constants(graph: Graph) -> set[Node]:
    """Returns the nodes that depend on no input of the model: stored tensors and what is computed from them."""
    found: set[Node] = set()
    for node in graph.nodes:
        if node.op not in ("placeholder", "output") and all(
            source in found for source in node.all_input_nodes
        ):
            found.add(node)
    return found


def _evaluate(model: Interpreter, constant: Node) -> Any:
    inputs = {source: _evaluate(model, source) for source in constant.all_input_nodes}
    model.env = inputs
    return model.run_node(constant)


def _bytes(node: Node) -> int:
    """Returns the size of a value; an observer has none of its own on record, since it passes one on."""
    value = node.meta.get("val")
    if value is None and node.op == "call_module" and node.args and isinstance(node.args[0], Node):
        value = node.args[0].meta.get("val")
    return sum(
        tensor.numel() * tensor.element_size()
        for tensor in pytree.tree_leaves(value)
        if isinstance(tensor, torch.Tensor)
    )


def observers(prepared: GraphModule) -> dict[str, torch.nn.Module]:
    """Returns the observers that the graph calls, by the names it calls them."""
    names = {str(node.target) for node in prepared.graph.nodes if node.op == "call_module"}
    found = {name: prepared.get_submodule(name) for name in names}
    return {name: module for name, module in found.items() if hasattr(module, "calculate_qparams")}


def _rounding(observer: Any) -> Rounding:
    scale, zero = observer.calculate_qparams()
    low, high = int(observer.quant_min), int(observer.quant_max)
    if scale.numel() == 1:
        step, origin = float(scale), int(zero)
        return lambda x: torch.fake_quantize_per_tensor_affine(x, step, origin, low, high)
    scale, zero = scale.float(), zero.int()
    return lambda x: torch.fake_quantize_per_channel_affine(x, scale, zero, 0, low, high)


def spread(batches: Iterable[object], like: Batch, runs: int, count: int = SAMPLES) -> list[Batch]:
    """Returns `count` of the first `runs` calibration inputs, evenly spread."""
    wanted = {index * runs // min(count, runs) for index in range(min(count, runs))}
    cut = (piece for number, batch in enumerate(batches) for piece in pieces(batch, like, number))
    return [piece for index, piece in enumerate(islice(cut, runs)) if index in wanted]


@torch.no_grad()
def answers(model: Interpreter, samples: Sequence[Batch]) -> list[torch.Tensor]:
    """Returns all float outputs of each sample, flattened into one tensor."""
    return [_flat(model.run(*sample)) for sample in samples]


@torch.no_grad()
def outputs(model: Interpreter, samples: Sequence[Batch]) -> list[list[torch.Tensor]]:
    """Returns the float outputs of each sample."""
    return [_floats(model.run(*sample)) for sample in samples]


def balanced_db(reference: Sequence[Sequence[torch.Tensor]], got: Sequence[Sequence[torch.Tensor]]) -> float:
    """Returns `snr_db` of one output; of several, that of the mean of their noise / signal, where the worst weighs most."""
    pairs = list(zip(zip(*reference, strict=True), zip(*got, strict=True), strict=True))
    found = [snr_db(a, b) for a, b in pairs]
    if len(found) < 2:
        return found[0] if found else CEILING_DB
    mean = sum(10 ** (-db / 10) for db in found) / len(found)
    return _clipped(ratio_db(1.0, mean))


def snr_db(reference: Sequence[torch.Tensor], got: Sequence[torch.Tensor]) -> float:
    """Returns signal to noise over all samples, within +-CEILING_DB; a result that is not a number counts as the worst."""
    signal = sum(float(a.square().sum()) for a in reference)
    noise = sum(float((a - b).square().sum()) for a, b in zip(reference, got, strict=True))
    return _clipped(ratio_db(signal, noise))


def _clipped(db: float) -> float:
    return max(-CEILING_DB, min(CEILING_DB, db))


def _floats(answer: object) -> list[torch.Tensor]:
    tensors = [t for t in pytree.tree_leaves(answer) if isinstance(t, torch.Tensor)]
    return [t.double() for t in tensors if t.is_floating_point()]


def _flat(answer: object) -> torch.Tensor:
    return torch.cat([t.flatten() for t in _floats(answer)])
