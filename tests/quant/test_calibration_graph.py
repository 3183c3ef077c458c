"""The graph that calibrates finds what the prepared graph would, and leaves that one as it was."""

import copy

import pytest
import torch
from quant_nets import NETS, build, quant, targets, traced
from torch import nn
from torch.fx import GraphModule
from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

from edgekit.quant.calibration_graph import observing
from edgekit.quant.quantizer import ProfileQuantizer


def prepared_graph(model: nn.Module, x: torch.Tensor, estimator: str) -> GraphModule:
    return prepare_pt2e(traced(model, x).module(), ProfileQuantizer(quant(), estimator))


def found_by(module: GraphModule) -> dict[str, tuple[torch.Tensor, ...]]:
    observers = {name: m for name, m in module.named_modules() if hasattr(m, "calculate_qparams")}
    return {name: observer.calculate_qparams() for name, observer in observers.items()}


@pytest.mark.parametrize("estimator", ["minmax", "mse"])
@pytest.mark.parametrize("name", NETS)
def test_the_ranges_and_the_answers_are_the_same(name: str, estimator: str) -> None:
    model, x = build(name)
    slow = prepared_graph(model, x, estimator)
    fast = copy.deepcopy(slow)
    quick = observing(fast)
    inputs = [torch.randn(x.shape) for _ in range(3)]
    kept = [value.clone() for value in inputs]
    with torch.no_grad():
        for value in inputs:
            assert torch.allclose(quick(value), slow(value), atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(inputs, kept, strict=True))
    got, want = found_by(fast), found_by(slow)
    assert got.keys() == want.keys() and len(got) > 5
    for key in want:
        (scale, zero_point), (scale_wanted, zero_point_wanted) = got[key], want[key]
        assert torch.allclose(scale, scale_wanted, rtol=1e-4 if estimator == "minmax" else 0.03), key
        assert int((zero_point - zero_point_wanted).abs().max()) <= 1, key


def test_the_prepared_graph_keeps_its_calls() -> None:
    model, x = build("residual")
    prepared = prepared_graph(model, x, "minmax")
    before = [(node.op, str(node.target)) for node in prepared.graph.nodes]
    quick = observing(prepared)
    assert [(node.op, str(node.target)) for node in prepared.graph.nodes] == before
    assert {"relu_.default", "contiguous.default"} <= set(targets(quick))
    assert not {"relu.default", "view.default"} & set(targets(quick))


def test_no_tensor_is_observed_twice() -> None:
    """Weights once and not per input; a pool and a flattening share the observer, which sees them once."""
    model, x = build("residual")
    prepared = prepared_graph(model, x, "mse")
    quick = observing(prepared)
    observed = [node for node in quick.graph.nodes if node.op == "call_module"]
    assert all(node.args[0].op != "get_attr" for node in observed)
    assert (
        len({prepared.get_submodule(node.target) for node in observed})
        == len(observed)
        == len({node.args[0] for node in observed})
    )
