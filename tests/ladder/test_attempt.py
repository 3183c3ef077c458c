"""What ends an attempt, and what ends the run."""

from types import SimpleNamespace

import pytest

from edgekit.errors import (
    ChildCrash,
    ConversionError,
    EdgekitError,
    NotApplicable,
    StageTimeout,
    TrainingError,
    UserError,
)
from edgekit.ladder.attempt import AttemptRunner
from edgekit.ladder.build import ArtifactBuilder
from edgekit.records import Recipe


def runner(error: EdgekitError, monkeypatch: pytest.MonkeyPatch) -> AttemptRunner:
    """An attempt whose first step raises `error`."""

    def candidate(_: ArtifactBuilder) -> None:
        raise error

    monkeypatch.setattr(ArtifactBuilder, "candidate", candidate)
    monkeypatch.setattr(ArtifactBuilder, "float_artifact", lambda _: None)
    context = SimpleNamespace(
        target=None,
        recipe=Recipe(name="r", precision="int8", steps=()),
        request=SimpleNamespace(traced=SimpleNamespace(program="p")),
        times=[],
    )
    return AttemptRunner(context, ())  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [NotApplicable, ConversionError, TrainingError, ChildCrash, StageTimeout])
def test_what_a_network_does_not_offer_is_a_refused_attempt(
    kind: type[EdgekitError], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = runner(kind("no width changes"), monkeypatch).run()
    assert not attempt.decision.accepted
    assert attempt.decision.reasons == ("no width changes",) and attempt.error == "no width changes"


def test_what_the_user_typed_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError):
        runner(UserError("macs is 7"), monkeypatch).run()
