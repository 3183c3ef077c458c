"""LSTMs with a projection (`proj_size`), step by step: ONNX's LSTM has none, and torch.onnx writes one whose shapes do not fit."""

import torch
from torch.export import ExportedProgram, default_decompositions
from torch.fx import Node

LSTM = torch.ops.aten.lstm.input


def projections_apart(program: ExportedProgram) -> ExportedProgram:
    """Returns the program with its LSTMs in steps where one of them has a projection; else the same program."""
    if not any(node.target is LSTM and _is_projected(node) for node in program.graph.nodes):
        return program
    return program.run_decompositions({LSTM: default_decompositions()[LSTM]})


def _is_projected(node: Node) -> bool:
    _, _, weights, biases, layers, _, _, both_ways, _ = node.args
    return len(weights) == (5 if biases else 3) * layers * (2 if both_ways else 1)
