"""`edgekit techniques`: the list costs no import, the page of one shows its options and their ranges."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from commands import edgekit

from edgekit.technique import TECHNIQUES

ROOT = Path(__file__).parents[2]


def techniques(*arguments: str, exit_code: int = 0) -> Result:
    return edgekit("techniques", *arguments, exit_code=exit_code)


def test_every_technique_has_one_line() -> None:
    lines = techniques().stdout.splitlines()
    assert [line.split()[0] for line in lines] == sorted(TECHNIQUES)
    assert all(line.endswith(".") for line in lines)
    assert lines[sorted(TECHNIQUES).index("fp16")].endswith("half the size for almost no loss.")
    rows = json.loads(techniques("--json").stdout)
    assert [line.split(maxsplit=1) for line in lines] == [[row["name"], row["summary"]] for row in rows]


def test_the_list_loads_no_framework() -> None:
    code = (
        "import sys; from edgekit.cli.main import main; main(['techniques'], standalone_mode=False); "
        "assert not {'torch', 'numpy', 'edgekit.techniques'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "runner")])}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, check=True, timeout=60)


def test_the_options_of_one() -> None:
    shown = techniques("prune").stdout
    assert shown.startswith("prune: Structured pruning: ")
    assert "arXiv:2301.12900" in shown
    lines = shown.partition("Options:\n")[2].splitlines()
    assert lines[0].split() == ["macs", "float", "0.5", "above", "0,", "at", "most", "1"]
    assert lines[1].strip().startswith("share of multiply-accumulates to keep")
    assert "bn_scale, fpgm, hessian, l1, l2" in shown


@pytest.mark.parametrize("name", ["dynamic", "fp16", "float32"])
def test_one_without_options(name: str) -> None:
    assert techniques(name).stdout.endswith("It has no options.\n")


def test_one_as_json() -> None:
    found = json.loads(techniques("palettize", "--json").stdout)
    assert found["name"] == "palettize" and found["text"].startswith("Palettes: ")
    assert found["options"][0] == {
        "name": "bits",
        "type": "int",
        "default": 6,
        "allowed": "2, 4, 6, 8",
        "description": "bits of an index; a table has 2^bits values",
    }


def test_an_unknown_name() -> None:
    result = techniques("prun", exit_code=2)
    assert "unknown technique 'prun'; did you mean prune? allowed: binarize, distill" in result.stderr
    assert result.stdout == ""
