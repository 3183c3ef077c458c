"""--explore from end to end: every recipe is tried, the best accepted one is what the folder holds."""

import json
from pathlib import Path

import pytest
from commands import SMALL, edgekit, in_process  # noqa: F401  a fixture

from edgekit.report import load

pytestmark = pytest.mark.long

# the larger file first: a walk that stops at the first ships it
PROFILE = """
summary = "ONNX Runtime on a machine that this is not"
runtime = "onnxruntime"
format = "onnx"
precisions = ["float16", "float32"]

[isa]
arch = ["sparc"]

[isa.levels]
any = {}

[[ladder]]
technique = "float32"
precision = "float32"
reason = "the untouched model"

[[ladder]]
technique = "fp16"
precision = "float16"
reason = "half the size"
"""


@pytest.fixture
def profile(tmp_path: Path) -> str:
    (tmp_path / "sparc.toml").write_text(PROFILE)
    return str(tmp_path / "sparc.toml")


@pytest.mark.usefixtures("in_process")
@pytest.mark.slow
def test_the_first_accepted_is_shipped_and_exploring_the_best(profile: str, tmp_path: Path) -> None:
    first, best = tmp_path / "first", tmp_path / "best"
    for out, more in ((first, []), (best, ["--explore"])):
        result = edgekit("export", f"{SMALL}:task", "-t", profile, "-q", "-o", out, *more)
        assert result.exit_code == 0, result.stderr
    assert shipped(first) == ("float32", "float32", 1, False)
    assert shipped(best) == ("fp16", "float16", 2, True)
    (target,) = load.read(best).targets
    assert target.shipped == 1
    assert target.summary.endswith(", the best of 2 accepted")
    assert [(p.name, p.on_front, p.missing) for p in target.points] == [
        ("float32", False, ("CPU time",)),
        ("fp16", True, ("CPU time",)),
    ]
    assert "Every recipe" in (best / "report.html").read_text()
    assert "Every recipe" not in (first / "report.html").read_text()


def shipped(out: Path) -> tuple[str, str, int, bool]:
    """The recipe, what the manifest says of its file, how many were tried, whether all were."""
    (target,) = load.read(out).targets
    assert target.chosen is not None and target.chosen.artifact is not None
    manifest = json.loads((out / "sparc" / "manifest.json").read_text())
    (entry,) = manifest["artifacts"]
    assert entry["sha256"] == target.chosen.artifact.sha256
    assert (out / "sparc" / entry["path"]).stat().st_size == entry["bytes"]
    assert manifest["compression"]["recipe"]["name"] == target.chosen.recipe.name
    return target.chosen.recipe.name, entry["precision"], len(target.attempts), target.explored
