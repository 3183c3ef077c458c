"""One quantizer for every integer target, driven by the profile's `Quant`; calibrating and training share it.

It marks edges of the graph ("annotation"); torchao's pt2e puts the observers there, or the fake quantization.
Rules, in the order of the graph (`rules.py` has the operators):

1. convolution or linear [-> batch norm] [-> relu, relu6, hardtanh] is one unit: input, weight and one output range
   at its end. The bias stays float: runtimes store it as int32 of scale input * weight.
2. A zero pad that feeds one convolution: its INPUT is observed, the edge pad -> convolution is not, so that
   onnxruntime folds the pad into the convolution.
3. add and mul: where one operand is quantized, and the other is too, or a constant, or an input that a layer reads as
   integers. A relu behind takes the range.
4. cat: where all operands are quantized (`concat.py` has the exceptions), all and the output share one range; what is on
   a fixed grid is rounded again to that range.
5. Unary activations, pools and reshapes: only behind something quantized; pools and reshapes share its range.
6. With `integer_io`, an input is quantized where nothing but layers and outputs lies behind it, and so is what has
   integer kernels in runtimes of whole networks in integers: softmax, log_softmax, sub, L2 normalization.
7. With `products`, both operands of a product of two activations, attention's, where they are integers or a softmax; scores
   stay float behind it, for the softmax.
8. What reads a fixed grid (that of a sigmoid or tanh), through pools and reshapes too, reads it as it is; a mean over
   many values, which is small, gets a range of its own.

Anything else stays float, by design: softmax and layer_norm lose accuracy and gain little, and
so a residual stream that a transformer keeps in float stays there.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantizer import QuantizationSpecBase, Quantizer, SharedQuantizationSpec

from edgekit.errors import UserError
from edgekit.quant import concat, estimators, rules
from edgekit.quant._marks import KEY, annotate, is_fixed, is_quantized_input
from edgekit.quant.calibrate import Batch
from edgekit.quant.estimators import _grid
from edgekit.quant.lower import lower_for_integers
from edgekit.quant.program import calls, module_path
from edgekit.records import Quant


class ProfileQuantizer(Quantizer):
    """Annotates an exported graph.

    Args:
        quant: The arithmetic of the target.
        estimator: A name of `estimators.names()`.
        qat: Whether fake quantization takes the place of observers; needs "moving_average".
        skip: What stays float, by node name or by module path ("conv2d_3", "features.0"; a path covers what is below it).
        weights: "minmax" or "mse", the ranges of weights that do not train.
        samples: Gives a few inputs; called only where the ranges of a concatenation must be known beforehand.
    """

    def __init__(
        self,
        quant: Quant,
        estimator: str,
        qat: bool = False,
        skip: tuple[str, ...] = (),
        weights: str = "minmax",
        samples: Callable[[], Sequence[Batch]] = tuple,
    ) -> None:
        super().__init__()
        found = estimators.find(estimator)
        if qat and not found.fake_quantize:
            usable = [name for name in estimators.names() if estimators.find(name).fake_quantize]
            raise UserError(f"estimator {estimator!r} cannot train; for qat allowed are {', '.join(usable)}")
        self.integers = _grid.activation_grid(quant)
        grid = _grid.weight_grid(quant)
        self.activation = found.training_activation(self.integers) if qat else found.activation(self.integers)
        self.weight = found.training_weight(grid) if qat else estimators.weight(weights, grid)
        self.skip, self.samples, self.full, self.products = skip, samples, quant.integer_io, quant.products
        self.fixed = rules.FIXED | (rules.FIXED_FULL if self.full else {})
        self.pairs = rules.BINARY_FULL if self.full else rules.BINARY

    def transform_for_annotation(self, model: GraphModule) -> GraphModule:
        """Returns the model as it is: passes ran before."""
        return lower_for_integers(model, self.full, self.products)

    def validate(self, model: GraphModule) -> None:
        """Refuses nothing: what the rules do not know stays float."""

    def annotate(self, model: GraphModule) -> GraphModule:
        """Marks the edges that become integers, by the rules in the head of this module."""
        joins = any(node.target is concat.CAT for node in calls(model))
        ranges = concat.Ranges(model, self.samples() if joins else ())
        for node in calls(model):
            if KEY in node.meta or self._skipped(node):
                continue
            if node.target in rules.MAC:
                self._mac(node)
            elif node.target in self.pairs:
                self._binary(node, model)
            elif node.target is concat.CAT:
                self._cat(node, ranges)
            elif self.products and node.target in rules.PRODUCTS:
                self._product(node)
            elif self.full and (found := rules.normalized(node)):
                self._normalize(node, *found)
            elif (node.args and self._quantized(node.args[0])) or (
                rules.keeps_grid(node) and rules.only_feeds_layers(node)
            ):
                self._follow(node)
        return model

    def _skipped(self, node: Node) -> bool:
        path = module_path(node)
        return any(part == node.name or part == path or path.startswith(f"{part}.") for part in self.skip)

    def _mac(self, node: Node) -> None:
        source, weight = node.args[:2]
        if not rules.is_float(source) or not rules.is_constant(weight):
            return
        chain = self._chain(node)
        for link in chain:
            annotate(link, {}, None)
        inputs: dict[Node, QuantizationSpecBase | None] = {source: self._grid(source), weight: self.weight}
        if rules.is_zero_pad(source) and rules.only_user(source) is node and KEY not in source.meta:
            inputs[source] = None
            annotate(source, {source.args[0]: self._grid(source.args[0])}, None)
        if len(node.args) > 2 and node.args[2] is not None:
            inputs[node.args[2]] = None
        node.meta[KEY].input_qspec_map = inputs
        chain[-1].meta[KEY].output_qspec = self.activation

    def _binary(self, node: Node, model: GraphModule) -> None:
        operands = list(node.args[:2])
        if node.kwargs.get("alpha", 1) != 1 or not all(rules.is_float(o) for o in operands):
            return
        if not any(self._quantized(o) for o in operands):
            return
        if not all(self._quantized(o) or rules.is_constant(o) or is_quantized_input(o) for o in operands):
            return
        if any(rules.is_constant(o) and concat.scales_apart(model, node, o) for o in operands):
            return
        last = self._fused_activation(node) or node
        annotate(last, {}, None)
        annotate(node, {operand: self._grid(operand) for operand in operands}, None)
        last.meta[KEY].output_qspec = self.activation

    def _product(self, node: Node) -> None:
        """Rounds what a product of two activations reads; its result only where nothing but layers reads it."""
        operands = list(node.args[:2])
        shares = [rules.is_share(operand) for operand in operands]
        if operands[0] is operands[1] or not all(
            rules.is_float(o) and (share or self._quantized(o))
            for o, share in zip(operands, shares, strict=True)
        ):
            return
        fixed = _grid.fixed(self.integers, *rules.FIXED_FULL[rules.ATEN.softmax.int])
        grids = [fixed if share else self._grid(o) for o, share in zip(operands, shares, strict=True)]
        annotate(
            node,
            dict(zip(operands, grids, strict=True)),
            self.activation if rules.ends_in_layers(node) else None,
        )

    def _cat(self, node: Node, ranges: concat.Ranges) -> None:
        if not all(self._quantized(operand) for operand in node.args[0]):
            return
        if ranges.differ(node) and concat.only_becomes_output(node):
            return
        for operand in dict.fromkeys(node.args[0]):
            if ranges.deserves_own(operand, node):
                self._round_anew(operand, node)
        first, *others = node.args[0]
        grids = [self._grid(operand) for operand in node.args[0]]
        common = grids[0] if all(grid == grids[0] for grid in grids) else self.activation
        shared = SharedQuantizationSpec((first, node))
        annotate(node, {**dict.fromkeys(others, shared), first: common}, shared)

    def _round_anew(self, operand: Node, reader: Node) -> None:
        """Puts a copy between the two, so that each has a grid of its own."""
        with reader.graph.inserting_before(reader):
            copy = reader.graph.call_function(rules.ATEN.clone.default, (operand,))
        copy.meta = {key: value for key, value in operand.meta.items() if key != KEY}
        reader.replace_input_with(operand, copy)
        annotate(copy, {operand: self._grid(operand)}, self.activation)

    def _follow(self, node: Node) -> None:
        source: Node = node.args[0]
        read = {source: self._grid(source)}
        if not self.full and node.target in rules.FLOAT_ENDS and concat.only_becomes_output(node):
            return
        if node.target in self.fixed:
            annotate(node, read, _grid.fixed(self.integers, *self.fixed[node.target]))
        elif node.target in rules.UNARY or (rules.averages(node) and is_fixed(read[source])):
            annotate(node, read, self.activation)
        elif rules.keeps_grid(node) and not rules.pad_of_layer(node):
            annotate(node, read, SharedQuantizationSpec((source, node)))

    def _normalize(self, node: Node, source: Node, norm: Node) -> None:
        if self._quantized(source):
            annotate(norm, {source: self._grid(source)}, None)
            annotate(node, {source: self._grid(source)}, _grid.fixed(self.integers, *rules.L2_GRID))

    def _chain(self, node: Node) -> list[Node]:
        """Returns the unit that starts at a layer: [layer, batch norm?, activation?]."""
        chain = [node]
        norm = rules.only_user(node)
        if norm is not None and norm.target in rules.NORM:
            chain.append(norm)
        activation = self._fused_activation(chain[-1])
        return [*chain, activation] if activation is not None else chain

    def _fused_activation(self, node: Node) -> Node | None:
        user = rules.only_user(node)
        if user is None or user.target not in rules.FUSED or (self.full and rules.is_unit_clamp(user)):
            return None
        return user

    def _grid(self, source: Node) -> QuantizationSpecBase:
        """Returns how `source` is read: on the fixed grid it has, else on an observed one."""
        found = source.meta[KEY].output_qspec if KEY in source.meta else None
        while isinstance(found, SharedQuantizationSpec):
            origin, reader = found.edge_or_node
            found = reader.meta[KEY].input_qspec_map[origin]
        if found is None and source.target in self.fixed:  # made in float, and rounded for its reader
            return _grid.fixed(self.integers, *self.fixed[source.target])
        return found if is_fixed(found) else self.activation

    def _quantized(self, value: Any) -> bool:
        if not isinstance(value, Node):
            return False
        if self.full and value.op == "placeholder" and rules.is_float(value):
            readers = [user for user in value.users if user.op != "call_module"]  # checks of its shape
            return bool(readers) and all(self._becomes_integers(value, reader) for reader in readers)
        return KEY in value.meta and value.meta[KEY].output_qspec is not None

    def _becomes_integers(self, source: Node, reader: Node) -> bool:
        """Whether `reader`, or all that its result goes to, is a layer or an output."""
        if reader.op == "output":
            return True
        if self._skipped(reader):
            return False
        if reader.target in rules.MAC:
            return reader.args[0] is source and rules.is_constant(reader.args[1])
        passes = reader.target in self.pairs | rules.UNARY | self.fixed.keys() | {concat.CAT}
        return (passes or rules.keeps_grid(reader)) and all(
            self._becomes_integers(reader, user) for user in reader.users
        )
