"""benchmarks/recipes.py: its table, and a whole run on a small task."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import recipes

from edgekit.errors import UserError

pytestmark = pytest.mark.long

COARSE = str(Path(__file__).parents[1] / "task_files" / "coarse.py")


def row(metric: float | None, seed: int = 0, **fields: object) -> recipes.Row:
    return recipes.Row(recipe="ptq", seed=seed, metric=metric, float_metric=0.8, **fields)  # type: ignore[arg-type]


def test_a_line_of_several_seeds() -> None:
    rows = [row(0.78, size_ratio=0.25), row(0.76, 1, size_ratio=0.25), row(None, 2, note="it diverged")]
    cells = dict(zip(recipes.HEAD, recipes.cells(rows), strict=True))
    assert cells["metric"] == "77.00 [76.00, 78.00]" and cells["drop"] == "3.00 [2.00, 4.00]"
    assert cells["size"] == "0.250 [0.250, 0.250]" and cells["CPU / float"] == "-"
    assert (cells["seeds"], cells["note"]) == ("2", "it diverged")


def test_a_file_of_recipes(tmp_path: Path) -> None:
    place = tmp_path / "r.txt"
    place.write_text("# all of them\nptq   # as it is\n\nptq > fp16\n")
    assert recipes.read_file(place) == ["ptq", "ptq > fp16"]
    with pytest.raises(UserError, match=r"none\.txt cannot be read"):
        recipes.read_file(tmp_path / "none.txt")


@pytest.mark.slow
def test_a_whole_run_and_the_same_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        f"{COARSE}:task",
        "--target",
        "x86-server",
        "--work",
        str(tmp_path),
        "--recipe",
        "ptq",
        "--torch",
    ]
    assert recipes.main(given) == 0
    assert "ptq" in capsys.readouterr().out
    (kept,) = json.loads((tmp_path / recipes.RESULT).read_text())["rows"]
    assert kept["figures"]["ptq: layers quantized"] > 0
    assert recipes.main(given) == 0 and "ptq: reused" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--recipe", "ptk"], "did you mean ptq"),
        ([], "no recipe given"),
        (["--recipe", "ptq"], "recipe 'ptq' on coreml-fp16: profile admits float16 and float32 only"),
    ],
)
def test_bad_input(
    changed: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"{COARSE}:task", "--target", "coreml-fp16", "--work", str(tmp_path)]
    assert recipes.main([*given, *changed]) == 2
    assert message in capsys.readouterr().err
