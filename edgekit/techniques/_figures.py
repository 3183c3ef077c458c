"""How a technique adds figures to a candidate."""

from collections.abc import Mapping

import msgspec

from edgekit.records import Candidate, Figure


def noted(candidate: Candidate, step: str, figures: Mapping[str, tuple[float, str]]) -> Candidate:
    """Returns the candidate with more figures of a step."""
    more = (
        Figure(step=step, name=name, value=float(value), unit=unit) for name, (value, unit) in figures.items()
    )
    return msgspec.structs.replace(candidate, figures=(*candidate.figures, *more))
