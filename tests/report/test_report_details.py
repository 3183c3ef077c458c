"""What a report tells of one attempt in full."""

import msgspec

from edgekit.records import Parity, Report
from edgekit.report import details


def test_what_quantizing_did_is_told_apart_from_what_pruning_did(report: Report) -> None:
    target = report.targets[0]
    attempt = target.attempts[-1]
    assert attempt.verdict is not None
    headings = [group.heading for group in details.card(attempt, target, report).groups]
    assert [heading for heading in headings if "Parity" in heading] == ["Parity with the float model"]
    own = Parity(samples=32, max_abs_error=0.1, rms_error=0.01, snr_db=31.0, agreement=0.97)
    pruned = msgspec.structs.replace(
        attempt, verdict=msgspec.structs.replace(attempt.verdict, program_parity=own)
    )
    groups = {group.heading: group for group in details.card(pruned, target, report).groups}
    beside = groups["Parity with the pruned or trained float program it was made of"]
    assert [(fact.label, fact.value, fact.note) for fact in beside.facts[:1]] == [
        ("agreement", "97.00 %", "n=32")
    ]
