"""What of one attempt can be compared with another's, or with a program."""

import msgspec

from edgekit import technique
from edgekit.records import Artifact, Attempt, Candidate


def is_all_integers(attempt: Attempt) -> bool:
    """Whether its candidate is the untouched network, with every layer in integers."""
    made = attempt.candidate
    if made is None or made.calibration:  # no layer of such a file is known by a name of the program
        return False
    unchanged = all(technique.of(step).keeps_weights for step in made.recipe.steps)
    return unchanged and made.recipe.precision == "int8" and made.scheme == "static" and not made.float_layers


def has_no_reference(candidate: Candidate) -> bool:
    """Whether there is no program whose numbers an artifact should reproduce.

    A converter that finds its own ranges has its own, and the program of a dynamic candidate is float, beside which each
    integer would look like a wrong kernel.
    """
    return (
        bool(candidate.saved_model or candidate.onnx or candidate.calibration)
        or candidate.scheme == "dynamic"
    )


def by_content(artifact: Artifact) -> Artifact:
    """An artifact as its bytes say it is, wherever it lies: its `sha256` names them."""
    return msgspec.structs.replace(artifact, path="")
