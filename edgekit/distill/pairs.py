"""Which inner tensor of the student is compared with which of the teacher, and how.

An option says it in one line: "layer1=layer1:attention:2, layer3=features.7" is student = teacher : term :
weight. What is left out defaults to the same name, the term `hint`, and the weight 1.
"""

import math

import msgspec
from torch.fx import GraphModule

from edgekit.distill import taps
from edgekit.distill.terms import named
from edgekit.errors import NotApplicable, UserError
from edgekit.records import Record

AUTO = "auto"
TERM = "hint"


class Pair(Record):
    """A feature of the student, one of the teacher, and how they are compared.

    Attributes:
        student: The module in the student.
        teacher: The module in the teacher.
        term: What is compared (`edgekit.distill.terms`).
        weight: The weight of the term.
        guessed: Whether "auto" chose the modules.
    """

    student: str
    teacher: str
    term: str = TERM
    weight: float = 1.0
    guessed: bool = False

    @property
    def name(self) -> str:
        """What figures and logs call it."""
        teacher = f" = {self.teacher}" if self.teacher != self.student else ""
        return f"{self.term} {self.student}{teacher}"


def read(text: str, student: GraphModule, teacher: GraphModule) -> list[Pair]:
    """Reads pairs of features; "auto" or "auto:TERM" guesses them, and of equal pairs only the last counts.

    Args:
        text: As the option gives it.
        student: The graph of the student.
        teacher: The graph of the teacher.

    Raises:
        UserError: A part of the text is not a pair, or names a module that a graph does not have.
        NotApplicable: There is nothing to guess, since the graphs have no module in common.
    """
    found: list[Pair] = []
    for part in (part.strip() for part in text.split(",")):
        if part.partition(":")[0] == AUTO:
            texts = [f"{name}{part[len(AUTO) :]}" for name in guess(student, teacher)]
            pairs = [msgspec.structs.replace(_pair(text), guessed=True) for text in texts]
            if not pairs:
                raise NotApplicable(
                    "features=auto finds no module that student and teacher both have; name them: "
                    "STUDENT=TEACHER:TERM:WEIGHT"
                )
            found += pairs
        elif part:
            found.append(_pair(part))
    for pair in found:
        taps.find(student, pair.student, "student")
        taps.find(teacher, pair.teacher, "teacher")
    return list({pair.name: pair for pair in found}.values())


def _pair(text: str) -> Pair:
    sides, *more = text.split(":")
    student, _, teacher = (side.strip() for side in sides.partition("="))
    try:
        weight = float(more[1]) if len(more) > 1 else 1.0
    except ValueError:
        weight = math.nan
    if not student or len(more) > 2 or not (math.isfinite(weight) and weight > 0):
        raise UserError(
            f"{text!r} is no pair of features; write STUDENT=TEACHER:TERM:WEIGHT, e.g. layer1=layer1:attention:2, "
            "the weight above 0"
        )
    term = more[0].strip() if more and more[0].strip() else TERM
    return Pair(student=student, teacher=teacher or student, term=named(term).name, weight=weight)


def guess(student: GraphModule, teacher: GraphModule) -> list[str]:
    """Returns modules that both have: the last and outermost of each size, which are the ends of the stages.

    A size is [H, W], or a number of tokens. Without positions, it is the last module before the one that
    produces the output.
    """
    ours, theirs = taps.outputs(student), taps.outputs(teacher)
    (end,) = student.graph.find_nodes(op="output")
    common = {name: node for name, node in ours.items() if name in theirs and node not in end.args[0]}
    last: dict[tuple[int, ...], str] = {}
    for name, node in common.items():
        positions = _positions(taps.shape(node))
        before = last.get(positions)
        if before is None or common[before] is not node or name.count(".") < before.count("."):
            last[positions] = name
    return [name for positions, name in last.items() if positions and math.prod(positions) > 1] or list(
        last.values()
    )


def _positions(shape: list[int]) -> tuple[int, ...]:
    return tuple(shape[2:]) if len(shape) >= 4 else tuple(shape[1:-1])


def exits(text: str, student: GraphModule) -> list[str]:
    """Returns the modules behind which a network may answer early.

    They are those named, or guessed ones without the last, whose exit is that of the network itself.

    Raises:
        UserError: The network has no module of such a name.
        NotApplicable: There is nothing to guess.
    """
    given = [part.strip() for part in text.split(",") if part.strip()]
    names = guess(student, student)[:-1] if given in ([], [AUTO]) else given
    if not names:
        raise NotApplicable(
            "mode exits finds no stage to answer from; name modules of the student: features=layer1,layer2"
        )
    for name in names:
        taps.find(student, name, "student")
    return names
