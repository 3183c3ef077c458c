"""What neither TFLite nor Core ML has, in operators that both have; each rewrite is proven against the program before it.

torch.cond                      both answers, and a choice (`_branches`)
resizes with antialias=True     two products (`_smooth`)
complex numbers                 two real ones (`_complex`)
"""

import torch
from torch.fx import GraphModule

from edgekit.export._branches import COND, branches_to_choices
from edgekit.export._complex import concerned, to_real
from edgekit.export._smooth import SMOOTH, smooth_to_products
from edgekit.quant import program as programs
from edgekit.quant import proven
from edgekit.quant.rewriting import calls


def rewrite(graph_module: GraphModule, format_name: str) -> bool:
    """Rewrites a graph in place; a pass that would change what it computes is undone.

    Returns:
        Whether there was anything to rewrite.

    Raises:
        ConversionError: There are complex numbers that cannot be said in real ones.
    """
    plain = not calls(graph_module, COND, *SMOOTH)
    if not plain:
        passes = [branches_to_choices, smooth_to_products]
        proven.rewrite(graph_module, passes, proven.of_graph(graph_module))
    if not concerned(graph_module):
        return not plain
    to_real(graph_module, format_name)
    return True


def rewritten(program: torch.export.ExportedProgram, format_name: str) -> torch.export.ExportedProgram:
    """Returns the program as `rewrite` leaves its graph; the same program where there was nothing to rewrite."""
    module = program.module()
    return programs.export(module, program) if rewrite(module, format_name) else program
