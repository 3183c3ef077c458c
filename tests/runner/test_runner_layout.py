"""A new kind is one file, and where the modules of the runner are."""

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from edgekit_runner import api, record, spec
from runner_models import QUICK, RUNNER, cli

PACKAGE = RUNNER / "edgekit_runner"
# a kind that nothing else in the runner knows of
TWICE = '''
"""`twice`: runs an artifact `times_count` times, without timing it."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from edgekit_runner import spec as specs
from edgekit_runner.record import OneArtifact, Table, quiet
from edgekit_runner.value_rules import Rule

@dataclass(frozen=True, kw_only=True)
class Spec(specs.Spec):
    kind: ClassVar[str] = "twice"
    stated: ClassVar[tuple[str, ...]] = ("times_count",)
    times_count: Annotated[int, Rule("count", 1, 9)] = 2

class Record(OneArtifact):
    twice: Table | None

def run(spec, listener=quiet):
    from edgekit_runner import spawn
    return spawn.run(spec)

def work(spec, record, parent):
    from edgekit_runner.kinds import _phases
    with _phases.opened(spec, record) as (session, _):
        for _ in range(spec.times_count):
            session.invoke()
        record["twice"] = {"runs_count": spec.times_count}
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose edgekit_runner has the kind `twice` too."""
    place = tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, place / "edgekit_runner", ignore=shutil.ignore_patterns("__pycache__"))
    (place / "edgekit_runner" / "kinds" / "twice.py").write_text(TWICE)
    return place


def run_spec(site: Path, tmp_path: Path, **asked: Any) -> "subprocess.CompletedProcess[str]":
    (tmp_path / "spec.json").write_text(json.dumps({"schema_version": 2, **QUICK, **asked}))
    return cli("run", tmp_path / "spec.json", PYTHONPATH=str(site))


def test_a_new_kind_is_one_file(site: Path, tmp_path: Path, onnx_model: Path) -> None:
    done = run_spec(site, tmp_path, artifact=str(onnx_model), kind="twice", times_count=3)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["kind"], found["status"], found["twice"]) == ("twice", "ok", {"runs_count": 3})
    assert found["protocol"]["times_count"] == 3 and list(found)[-1] == "twice"
    code = "import sys; from edgekit_runner import record; record.read(sys.stdin.read())"
    env = {"PYTHONPATH": str(site)}
    subprocess.run([sys.executable, "-c", code], input=done.stdout, text=True, env=env, check=True)


def test_its_keys_are_checked_and_named(site: Path, tmp_path: Path, onnx_model: Path) -> None:
    wrong = run_spec(site, tmp_path, artifact=str(onnx_model), kind="twice", times_count=10)
    assert wrong.returncode == 2 and "times_count is 10; allowed: at most 9." in wrong.stderr
    unknown = run_spec(site, tmp_path, artifact=str(onnx_model), kind="thrice")
    assert (
        "'thrice'; allowed: bench, check, compare, instructions, loadgen, sustain, throughput, turns, twice."
        in unknown.stderr
    )
    foreign = run_spec(site, tmp_path, artifact=str(onnx_model), times_count=0)
    assert foreign.returncode == 2 and "'times_count' is 0" in foreign.stderr


def test_every_kind_holds_what_the_head_of_kinds_lists() -> None:
    for kind in spec.kinds():
        module = spec.load_kind(kind)
        assert issubclass(module.Spec, spec.Spec) and set(module.Spec.stated) <= set(spec.rules(module.Spec))
        assert set(record.Head.__annotations__) < set(module.Record.__annotations__)
        assert callable(module.work) and callable(getattr(api, kind))


def test_the_keys_of_every_record_are_those_of_the_schema() -> None:
    schema = json.loads((PACKAGE / "schema" / "record-2.schema.json").read_text("utf-8"))
    described = schema["$defs"]["record"]
    rules = {
        each["if"]["properties"].get("kind", {}).get("const"): each["then"] for each in described["allOf"]
    }
    shared = schema["$defs"]["of_one"]["required"]
    assert described["properties"]["kind"]["enum"] and set(rules) - {None} == set(spec.kinds())
    for kind in spec.kinds():
        rule = rules[kind]
        wanted = {*rule["required"], *(shared if rule.get("$ref") == "#of_one" else ())}
        assert set(record.sections(kind)) == wanted, kind
        assert rule["maxProperties"] == len(record.blank(kind))


def functions(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text("utf-8"))
    names = (node.name for node in tree.body if isinstance(node, ast.FunctionDef))
    yield from (name for name in names if not name.startswith("_"))


def test_the_top_holds_few_modules() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 12


def test_no_module_has_the_name_of_a_public_function() -> None:
    """But for the kinds: `api.bench` and the verb `bench` run what kinds/bench.py holds."""
    paths = list(PACKAGE.rglob("*.py"))
    names = {name for path in paths for name in functions(path)}
    assert {path.stem for path in paths} & names == set(spec.kinds())


def test_no_two_modules_have_one_name() -> None:
    stems = [path.stem for path in PACKAGE.rglob("*.py") if path.stem != "__init__"]
    assert len(stems) == len(set(stems))
