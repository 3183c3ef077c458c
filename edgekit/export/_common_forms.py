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


def rewrite(graph_module: GraphModule, format_name: str) -> None:
    """Rewrites a graph in place; a pass that would change what it computes is undone.

    Raises:
        ConversionError: There are complex numbers that cannot be said in real ones.
    """
    if calls(graph_module, COND, *SMOOTH):
        passes = [branches_to_choices, smooth_to_products]
        proven.rewrite(graph_module, passes, proven.of_graph(graph_module))
    if concerned(graph_module):
        to_real(graph_module, format_name)


def rewritten(program: torch.export.ExportedProgram, format_name: str) -> torch.export.ExportedProgram:
    """Returns the program as `rewrite` leaves its graph; the same program where there is nothing to rewrite."""
    graph_module = program.graph_module
    if not calls(graph_module, COND, *SMOOTH) and not concerned(graph_module):
        return program
    module = program.module()
    rewrite(module, format_name)
    return programs.export(module, program)
