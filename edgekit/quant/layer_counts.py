"""Which layers of a converted graph are integers, and which were left in float."""

from torch.fx import GraphModule, Node

from edgekit.quant import rules
from edgekit.quant.boundaries import DEQUANTIZE, QUANTIZE
from edgekit.quant.program import calls


def count_layers(model: GraphModule, full: bool = False) -> tuple[int, list[Node]]:
    """Counts the layers, which multiply and add, of a converted graph.

    Args:
        model: The graph.
        full: Whether the target is a runtime that computes whole networks in integers: it makes integers of a transposed
            convolution too.

    Returns:
        How many become integers, and the layers that were left float.
    """
    macs = [node for node in calls(model) if node.target in rules.MAC]
    others = [node for node in calls(model) if node.target in rules.FLOAT_MAC]
    quantized = [node for node in macs if "dequantize" in str(getattr(node.args[1], "target", ""))]
    quantized += [
        node
        for node in others
        if (full or node.target not in rules.TRANSPOSED) and _is_between_integers(node)
    ]
    return len(quantized), [node for node in macs + others if node not in quantized]


def _is_between_integers(node: Node) -> bool:
    """Whether all that a product reads is rounded or stored, and its result is rounded: runtimes make one kernel of it."""
    read = [source for source in node.all_input_nodes if source.op != "get_attr"]
    user = rules.only_user(node)
    last = user if user is not None and user.target in rules.FUSED else node
    rounded = all(source.target is DEQUANTIZE for source in read)
    if node.target in rules.PRODUCTS:  # a kernel of integers that answers in float is one, too
        return len(read) == 2 and rounded
    return bool(read) and rounded and all(reader.target is QUANTIZE for reader in last.users)
