"""The marks that the quantizer leaves on nodes: how each operand is read, and how the result is rounded."""

from typing import Any, TypeGuard

from torch.fx import Node
from torchao.quantization.pt2e.quantizer import (
    FixedQParamsQuantizationSpec,
    QuantizationAnnotation,
    QuantizationSpecBase,
)

KEY = "quantization_annotation"  # the meta key that pt2e reads


def annotate(node: Node, inputs: dict[Node, Any], output: QuantizationSpecBase | None) -> None:
    """Marks a node."""
    node.meta[KEY] = QuantizationAnnotation(input_qspec_map=inputs, output_qspec=output, _annotated=True)


def is_fixed(grid: QuantizationSpecBase | None) -> TypeGuard[FixedQParamsQuantizationSpec]:
    """Whether a grid is known without observing anything."""
    return isinstance(grid, FixedQParamsQuantizationSpec)


def is_quantized_input(node: Node) -> bool:
    """Whether `node` is an input of the model that a layer before it already reads as integers."""
    readers = (user.meta[KEY].input_qspec_map.get(node) for user in node.users if KEY in user.meta)
    return node.op == "placeholder" and any(reader is not None for reader in readers)
