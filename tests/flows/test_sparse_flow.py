"""The ladder with sparsity: a float file of other weights than the model's is made, proven against its own program, and shipped."""

import json
from pathlib import Path

import pytest
from commands import without_ladder

import edgekit as ek

pytestmark = pytest.mark.long

SMALL = str(Path(__file__).parents[1] / "task_files" / "small.py")
LADDER = """
[[ladder]]
technique = "sparsify"
precision = "float32"
options = { sparsity = 0.2 }
reason = "a smaller download"

[[ladder]]
technique = "float32"
precision = "float32"
reason = "something right"

"""


def test_a_sparse_float_file_ships(tmp_path: Path) -> None:
    profile = tmp_path / "x86-server.toml"
    profile.write_text(without_ladder("x86-server") + LADDER)
    budget = {"max_drop": 1.0, "min_speedup": 0.0}
    report = ek.deploy(f"{SMALL}:task", [str(profile)], tmp_path / "out", budget=budget)
    (found,) = report.targets
    first = found.attempts[0]
    assert first.recipe.steps[0].technique == "sparsify" and first.artifact is not None, first.error
    assert found.chosen is first and found.baseline is not None
    assert first.artifact.sha256 != found.baseline.sha256, "not the dense float file"
    assert first.verdict is not None and first.verdict.parity.max_abs_error > 1e-3
    (entry,) = json.loads((tmp_path / "out" / "x86-server" / "manifest.json").read_text())["artifacts"]
    assert 0 < entry["compressed_bytes"]["gzip"] < entry["bytes"]
    assert found.baseline.compressed_bytes["gzip"] > entry["compressed_bytes"]["gzip"]
    assert "size with gzip" in (tmp_path / "out" / "report.html").read_text()
