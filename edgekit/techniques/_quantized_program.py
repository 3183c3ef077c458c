"""A calibrated graph becomes a quantized one, and that the candidate's program, with the layers that stayed float."""

from pathlib import Path

import msgspec
import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

from edgekit.quant import program as programs
from edgekit.quant import rules
from edgekit.quant.boundaries import float_interfaces
from edgekit.quant.layer_counts import count_layers
from edgekit.quant.program import origin
from edgekit.records import Candidate, FloatLayer
from edgekit.techniques._figures import noted


def converted(prepared: GraphModule) -> GraphModule:
    """Returns the quantized graph, weights unfolded.

    Norms that no layer absorbed are hidden meanwhile: if torchao sees one it searches the graph for pairs of
    layer and norm, which takes 20 s for four layers, and there are none left.
    """
    for node in programs.calls(prepared):
        if node.target in rules.NORM:
            node.target = _norm
    model = convert_pt2e(prepared, fold_quantize=False)
    for node in programs.calls(model):
        if node.target is _norm:
            node.target = rules.ATEN.batch_norm.default
    model.recompile()
    return model


def _norm(*args: object) -> torch.Tensor:
    """Stands in for a batch norm in a graph that is not run."""
    raise NotImplementedError


def written(
    candidate: Candidate, model: GraphModule, like: tuple[torch.Tensor, ...], work: Path, step: str, skip: str
) -> Candidate:
    """Makes a converted graph the candidate's program.

    Args:
        candidate: The candidate.
        model: The converted graph.
        like: Inputs to export it with.
        work: The folder for program.pt2.
        step: The technique, for the figures.
        skip: Its option `skip`, which explains layers that stayed float.
    """
    quantized, left = count_layers(model, candidate.quant is not None and candidate.quant.integer_io)
    path = work / "program.pt2"
    programs.save(programs.export(model, like), path)
    doubts: tuple[str, ...] = (
        ()
        if quantized
        else ("no layer was quantized: the model has no convolution or linear that the quantizer knows",)
    )
    if candidate.quant is not None and candidate.quant.integer_io:
        doubts += float_interfaces(model)
    done = msgspec.structs.replace(
        candidate,
        program=str(path),
        float_layers=tuple(_float_layer(node, skip) for node in left),
        doubts=(*candidate.doubts, *doubts),
    )
    counts = {"layers quantized": (quantized, "count"), "layers left float": (len(left), "count")}
    return noted(done, step, counts)


def _float_layer(node: Node, skip: str) -> FloatLayer:
    """A layer that the quantizer left alone, and why."""
    operator = str(node.target).removeprefix("aten.")
    reason = "asked for by skip" if skip else f"the quantizer has no rule that makes {operator} integers here"
    return FloatLayer(name=node.name, origin=origin(node) or node.name, macs_ratio=None, reason=reason)
