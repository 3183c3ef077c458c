"""L2 normalization in the form that becomes TFLite's L2_NORMALIZATION: x / sqrt(sum(x * x)).

PyTorch says x / max(|x|, eps). In integers the eps decides nothing but what a vector of zeros becomes, and the kernel has
one of its own for that; with an eps the converter does not recognize the operator.
"""

import torch
from torch.fx import GraphModule

from edgekit.quant import rules

ATEN = torch.ops.aten
QUANTIZE = torch.ops.quantized_decomposed.quantize_per_tensor.default


def l2_normalization(module: GraphModule) -> GraphModule:
    """Rewrites the normalizations that the program rounds, in place; in float the eps stays."""
    for node in list(module.graph.nodes):
        found = rules.normalized(node)
        if found is None or not all(user.target is QUANTIZE for user in node.users):
            continue
        source, norm = found
        with module.graph.inserting_before(node):
            squares = module.graph.call_function(ATEN.square.default, (source,))
            total = module.graph.call_function(ATEN.sum.dim_IntList, (squares, norm.args[2], True))
            root = module.graph.call_function(ATEN.sqrt.default, (total,))
        node.args = (source, root)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module
