"""Where a model makes NaN of finite inputs: a softmax over a row that is masked everywhere. The answer may be right all the same."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.quant import rules
from edgekit.quant.calibrate import Batch
from edgekit.quant.program import calls, operator_of, origin
from edgekit.quant.simulate import Simulation

_MAKERS = rules.known(
    "softmax.int", "_softmax.default", "log_softmax.int", "log.default", "sqrt.default", "rsqrt.default", "div.Tensor", "pow.Tensor_Tensor",
    "pow.Tensor_Scalar", "acos.default", "asin.default", "scaled_dot_product_attention.default",
)  # fmt: skip


class _Watch(Simulation):
    """Runs a prepared graph in float; `first` is the first call that made NaN of numbers, and how many did after it."""

    def __init__(self, prepared: GraphModule) -> None:
        super().__init__(prepared, rounds=False)
        self.made: list[Node] = []

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if n.op == "call_function" and _has_nan(value) and not any(map(_has_nan, self._read(n))):
            self.made.append(n)
        return value

    def _read(self, node: Node) -> list[Any]:
        return [self.env.get(source) for source in node.all_input_nodes]


@torch.no_grad()
def said(prepared: GraphModule, samples: Callable[[], Iterable[Batch]]) -> str:
    """Says where NaN is made inside a model first.

    Args:
        prepared: The prepared graph.
        samples: Calibration samples; read only where an operator is there that may make NaN of numbers.

    Returns:
        A sentence about the first sample inside which something is no number; "" where there is none.
    """
    if not any(node.target in _MAKERS for node in calls(prepared)):
        return ""
    watch = _Watch(prepared)
    for number, sample in enumerate(samples()):
        watch.run(*sample)
        if watch.made:
            node = watch.made[0]
            return (
                f"calibration met NaN in what {operator_of(node).rpartition('.')[0]} of {origin(node)} gives (sample {number}): integers hold "
                "other numbers there; right where the model masks them later"
            )
    return ""


def _has_nan(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and bool(value.isnan().any())
