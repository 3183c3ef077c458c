"""Which convolutions become binary, and why another one cannot.

The first layer reads the image and the last one makes the decision: signs cost more there than anywhere else,
and these layers do few of the multiply-accumulates (Rastegari et al. 2016, arXiv:1603.05279). A depthwise
channel sums up k * k signs, too few to be informative. What remains are the convolutions in the middle;
unless named explicitly, only those of 3x3 and 1x1 with at least FEWEST input channels, in a number that is
divisible by 8, because OpenVINO's kernels read others wrong (`edgekit.binary.selftest`).
"""

import difflib
from fnmatch import fnmatchcase

from torch.fx import GraphModule, Node

from edgekit.errors import NotApplicable, UserError
from edgekit.quant import rules
from edgekit.quant.program import calls, module_path

FEWEST = 16
BLOCK = 8
KERNELS = ((3, 3), (1, 1))


def name_of(node: Node) -> str:
    """Returns the dotted name of the module of a node."""
    return module_path(node) or node.name


def chosen(graph: GraphModule, wanted: str) -> list[Node]:
    """Chooses the convolutions to binarize.

    A glob skips what cannot be binary; a plain name must not name such a layer.

    Args:
        graph: The model.
        wanted: Dotted module names or globs, separated by commas; "" stands for all that are eligible.

    Raises:
        UserError: A name cannot be binary, with the reason, or matches nothing.
        NotApplicable: The model has no layer that can be binary.
    """
    layers = [node for node in calls(graph) if node.target in rules.MAC | rules.FLOAT_MAC]
    reasons = {node: _reason(node, layers) for node in layers}
    if not wanted.strip():
        found = [node for node in layers if not reasons[node] and not _unusual(node)]
    else:
        patterns = [part.strip() for part in wanted.split(",") if part.strip()]
        picked = {node for pattern in patterns for node in _matching(pattern, layers, reasons, graph)}
        found = [node for node in layers if node in picked]
    if not found:
        raise NotApplicable(
            "no layer of this model can be binary: "
            + "; ".join(f"{name_of(node)} {why or _unusual(node)}" for node, why in list(reasons.items())[:6])
        )
    return found


def _matching(pattern: str, layers: list[Node], reasons: dict[Node, str], graph: GraphModule) -> list[Node]:
    exact = [node for node in layers if name_of(node) == pattern]
    for node in exact:
        if reasons[node]:
            raise UserError(f"layer {pattern!r} cannot be binary: it {reasons[node]}")
    found = exact or [n for n in layers if fnmatchcase(name_of(n), pattern) and not reasons[n]]
    if found:
        return found
    others = {name_of(node): node for node in calls(graph)}
    if pattern in others:
        operator = str(others[pattern].target).removeprefix("aten.")
        raise UserError(f"layer {pattern!r} cannot be binary: it is no convolution, but {operator}")
    names = list(dict.fromkeys(name_of(node) for node in layers if not reasons[node]))
    close = difflib.get_close_matches(pattern, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    raise UserError(
        f"layers {pattern!r} matches no layer that can be binary{hint} Allowed are {', '.join(names) or 'none'}"
    )


def _reason(node: Node, layers: list[Node]) -> str:
    """Why a layer cannot be binary; "" if it can."""
    if rules.conv_rank(node) != 2:
        return f"is no 2-d convolution, but {str(node.target).removeprefix('aten.')}"
    if node is layers[0]:
        return "is the first layer, which sees the input and stays float"
    if node is layers[-1]:
        return "is the last layer, which makes the output and stays float"
    _, _, _, _, _, dilation, groups = arguments(node)
    if groups != 1:
        return f"is depthwise or grouped ({groups} groups): too few signs in each sum"
    if set(dilation) != {1}:
        return f"is dilated by {dilation}"
    return "" if node.args[1].op == "get_attr" else "has a weight that the model computes"


def _unusual(node: Node) -> str:
    """Why a layer that can be binary is only taken if it is named; "" if it is taken anyway."""
    _, inputs, *kernel = node.args[1].meta["val"].shape
    if tuple(kernel) not in KERNELS:
        return f"has a kernel of {kernel[0]}x{kernel[1]}; name it to make it binary"
    if inputs < FEWEST or inputs % BLOCK:
        return f"has {inputs} input channels; taken unnamed are multiples of {BLOCK} from {FEWEST} on"
    return ""


def arguments(node: Node) -> tuple:
    """Returns (input, weight, bias, stride, padding, dilation, groups) of a conv2d, pairs as lists."""
    given = [*node.args, *[None, [1, 1], [0, 0], [1, 1], 1][len(node.args) - 2 :]]
    pairs = [list(value) * 2 if len(value) == 1 else list(value) for value in given[3:6]]
    return (*given[:3], *pairs, given[6])
