"""What ends an attempt, and what ends the run."""

from pathlib import Path
from threading import Barrier
from types import SimpleNamespace

import numpy as np
import pytest

from edgekit import requirements
from edgekit.errors import (
    ChildCrash,
    ConversionError,
    EdgekitError,
    NotApplicable,
    StageTimeout,
    TrainingError,
    UserError,
)
from edgekit.golden import write_golden
from edgekit.ladder.attempt import AttemptRunner
from edgekit.ladder.build import ArtifactBuilder
from edgekit.records import Recipe, Step


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


def test_the_float_file_is_made_beside_the_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    attempt, meet = runner(ConversionError(""), monkeypatch), Barrier(2)

    def candidate(_: ArtifactBuilder) -> None:
        meet.wait(10)
        raise NotApplicable("both were at work")

    monkeypatch.setattr(ArtifactBuilder, "candidate", candidate)
    monkeypatch.setattr(ArtifactBuilder, "float_artifact", lambda _: meet.wait(10))
    assert attempt.run().error == "both were at work"


@pytest.mark.parametrize(("steps", "called"), [(("qat",), 0), (("ptq",), 1)])
def test_a_float_model_that_does_not_convert_is_told_first(
    steps: tuple[str, ...], called: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is trained for it."""
    attempt, calls = runner(ConversionError(""), monkeypatch), []
    recipe = Recipe(name="r", precision="int8", steps=tuple(Step(technique=name) for name in steps))
    attempt._context.recipe = recipe

    def candidate(_: ArtifactBuilder) -> None:
        calls.append(1)
        raise NotApplicable("of the candidate")

    def untranslatable(_: ArtifactBuilder) -> None:
        raise ConversionError("no such operator")

    monkeypatch.setattr(ArtifactBuilder, "candidate", candidate)
    monkeypatch.setattr(ArtifactBuilder, "float_artifact", untranslatable)
    assert attempt.run().error == "no such operator"
    assert attempt.is_untranslatable and len(calls) == called


@pytest.mark.parametrize(
    ("moved", "said"), [(0.5, "differs from the golden one by 0.5; allowed is 0.05"), (0.01, "judged")]
)
def test_a_runtime_that_would_fail_the_golden_pair_is_not_named(
    moved: float, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The metric may hardly move where the answers do: `verify` and a device hold the file to its golden pair."""
    pairs = {"onnxruntime": (tmp_path / "a.npz", 0.0), "openvino": (tmp_path / "b.npz", moved)}
    x = np.ones((1, 2), np.float32)
    for path, more in pairs.values():
        write_golden(path, [x], [x + np.float32(more)], "NCHW")

    attempt = runner(ConversionError(""), monkeypatch)
    attempt._target = SimpleNamespace(runtime="onnxruntime")  # type: ignore[assignment]
    attempt._verdict = SimpleNamespace(golden=str(pairs["onnxruntime"][0]))  # type: ignore[assignment]
    monkeypatch.setattr(requirements, "lacking", lambda _: ())
    monkeypatch.setattr(requirements, "runtime_version", lambda _: "2026.4")
    monkeypatch.setattr(
        attempt, "_prove", lambda _artifact, runtime, _version: SimpleNamespace(golden=str(pairs[runtime][0]))
    )

    def measure(*_: object) -> None:
        raise ConversionError("judged")

    monkeypatch.setattr(attempt, "_measure", measure)
    artifact = SimpleNamespace(precision="int8")
    trial = attempt._try_in("openvino", artifact, artifact)  # type: ignore[arg-type]
    assert not trial.accepted and said in trial.reason
