"""What litert-torch's layout pass lacks: a rule for a constant pad inside an NHWC region, and a memory for shapes.

PyTorch graphs are NCHW, TFLite kernels are NHWC. litert-torch cuts the graph into NCHW and NHWC regions (a
minimum cut; each cut edge costs a TRANSPOSE), and an operator may join an NHWC region only if a rewriter for
it is registered. `aten.constant_pad_nd` has none in litert-torch 0.10. In a float graph the converter cancels
the transposes around the pad afterwards; in a quantized graph they are quantized transposes, and they stay.

With the rule the pad is carried along, and what reaches the converter is a pattern it already knows:

    dequantize -> pad -> convolution -> quantize

becomes CONV_2D or DEPTHWISE_CONV_2D with padding=SAME if the pad is what TensorFlow's SAME would add (stride
2, 224 -> 112: [0, 1, 0, 1]), and an int8 PAD with padding=VALID otherwise.

EfficientNet-Lite0, int8, symmetric pads already folded: 10 TRANSPOSE and 5 PAD become none, with the same
outputs to the bit and 0.82 of the time. No custom asymmetric convolution, no editing of the flatbuffer and no
zero rows in the kernel (those cost multiplications) are needed.

Where the pass puts a transpose behind a dequantize, it forgets the shape of that; a second reader in an NHWC region (grid_sample
reads its input four times) then fails as "non-NHWC compatible". The shape is given back.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from litert_torch._convert.fx_passes.optimize_layout_transposes_pass.layout_rewrite import rewriters
from litert_torch._convert.fx_passes.optimize_layout_transposes_pass.pass_body import (
    OptimizeLayoutTransposesPass,
)

PAD = torch.ops.aten.constant_pad_nd.default


def nhwc_pads(pads: list[int]) -> list[int]:
    """Reorders the pads of a rank-4 tensor from [N, C, H, W] to [N, H, W, C]; both in torch's order, last axis first."""
    width, height, channel, batch = (([*pads] + [0] * 8)[i : i + 2] for i in range(0, 8, 2))
    return [*channel, *width, *height, *batch]


def _rewrite(node: torch.fx.Node) -> None:
    tensor, pads, *value = node.args
    node.args = (tensor, nhwc_pads(pads), *value)


@contextmanager
def pads_join_nhwc() -> Iterator[None]:
    """Registers the rule in litert-torch's table of layout rewriters for the duration of one conversion.

    The table is not public API: it is touched only here, and left alone if litert-torch has its own rule.
    """
    if PAD in rewriters:
        yield
        return
    rewriters[PAD] = _rewrite
    try:
        yield
    finally:
        del rewriters[PAD]


@contextmanager
def shapes_stay_known() -> Iterator[None]:
    """Lets the layout pass keep what it knows of a dequantize that it puts a transpose behind, while one conversion lasts."""
    insert = OptimizeLayoutTransposesPass.insert_t_q_dq

    def kept(self: Any, graph: Any, input_dq: torch.fx.Node, *rest: Any, **named: Any) -> Any:
        meta = dict(input_dq.meta)
        try:
            return insert(self, graph, input_dq, *rest, **named)
        finally:
            input_dq.meta = meta

    with patch.object(OptimizeLayoutTransposesPass, "insert_t_q_dq", kept):
        yield
