"""The JSON Schema of the record: true of real records of every kind, closed, and in every form of the runner."""

import copy
import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from edgekit_runner import api, record, spec
from edgekit_runner.cli import regression
from jsonschema import Draft202012Validator
from runner_models import QUICK, RUNNER, cli, write_onnx
from test_runner_process import UNITLESS, keys_without_unit

from edgekit.device import zipapp

pytestmark = pytest.mark.long

NAME = "edgekit_runner/schema/record-2.schema.json"
LIMIT_BYTES = 16 * 1024
TIMED = {key: value for key, value in QUICK.items() if key in ("warmup_s", "timeout_s")}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    found = json.loads((resources.files("edgekit_runner") / NAME.partition("/")[2]).read_text("utf-8"))
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def validator(schema: dict[str, Any]) -> Draft202012Validator:
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.fixture(scope="module")
def found(onnx_model: Path, onnx_golden: Path, tflite_model: Path) -> dict[str, record.AnyRecord]:
    """A real record of every kind, and some that did not come to an end."""
    one = {"artifact": str(onnx_model), "golden": str(onnx_golden)}
    pair = {**QUICK, **one, "baseline": str(tflite_model), "rounds_count": 4}
    made = {
        "bench": api.bench({**QUICK, **one, "profile": True}),
        "tflite": api.bench({**QUICK, "artifact": str(tflite_model), "profile": True}),
        "check": api.check({**QUICK, **one, "profile": True}),
        "compare": api.compare(pair),
        "sustain": api.sustain({**TIMED, **one, "duration_s": 0.3}),
        "throughput": api.throughput({**TIMED, **one, "duration_s": 0.2, "instances_count": [1, 2]}),
        "refused": api.check({**QUICK, **one, "artifact": str(tflite_model)}),
        "fixed batch": api.bench({**QUICK, "artifact": str(tflite_model), "batch_count": 4}),
        "absent": api.bench({**QUICK, "artifact": "no-such.onnx"}),
        "timeout": api.bench({**QUICK, **one, "timeout_s": 0.001}),
        "turns": api.turns(
            {**TIMED, "artifact": str(onnx_model), "others": [str(tflite_model)], "rounds_count": 3}
        ),
        "uncounted": api.instructions({**TIMED, **one}),
        "loadgen": api.loadgen({**TIMED, **one, "duration_s": 0.2, "min_runs_count": 20}),
    }
    ended = {name: each["status"] for name, each in made.items()}
    assert ended.pop("loadgen") in ("ok", "failed")  # it needs an optional package
    bad = dict.fromkeys(("fixed batch", "absent", "timeout", "uncounted"), "failed") | {"refused": "refused"}
    assert ended == dict.fromkeys(ended, "ok") | bad
    return {name: json.loads(record.to_line(each)) for name, each in made.items()}


def errors(validator: Draft202012Validator, data: object) -> list[str]:
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(data)]


def without_unit(value: Any, key: str = "") -> list[str]:
    """Keys of numbers without a unit. Below a table of counts the keys are names: of operators, of providers."""
    counts = key.endswith("_count") or key == "nodes"
    if isinstance(value, dict):
        return [bad for name, inner in value.items() for bad in without_unit(inner, key if counts else name)]
    if isinstance(value, list):
        return [bad for inner in value for bad in without_unit(inner, key)]
    return [] if counts else keys_without_unit({key: value})


def objects(data: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(data, dict):
        yield path, data
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for name, inner in pairs:
        yield from objects(inner, f"{path}.{name}")


def test_real_records_of_every_kind_are_valid(
    validator: Draft202012Validator, found: dict[str, record.AnyRecord]
) -> None:
    assert {each["kind"] for each in found.values()} == set(spec.kinds())
    assert {name: errors(validator, each) for name, each in found.items()} == {name: [] for name in found}


def test_every_number_of_every_kind_carries_its_unit(found: dict[str, record.AnyRecord]) -> None:
    assert {name: without_unit(each) for name, each in found.items()} == {name: [] for name in found}


def test_a_blank_record_of_every_kind_is_valid(validator: Draft202012Validator) -> None:
    for kind in spec.kinds():
        assert errors(validator, record.blank(kind)) == []


def test_the_verdict_of_check_is_valid(
    validator: Draft202012Validator, found: dict[str, record.AnyRecord]
) -> None:
    for pair in (("bench", "bench"), ("bench", "tflite"), ("absent", "bench")):
        verdict = regression.check(*(found[name] for name in pair))
        assert errors(validator, json.loads(json.dumps(verdict))) == []
        assert keys_without_unit(verdict) == []
    assert errors(validator, {**verdict, "more": 1}) != []


def test_an_unknown_key_is_refused_wherever_the_record_is_closed(
    validator: Draft202012Validator, found: dict[str, record.AnyRecord]
) -> None:
    """Only what others name is open: the options of a backend and its placement."""
    opened = set()
    for name in ("bench", "compare", "sustain", "throughput"):
        for i, (path, _) in enumerate(objects(found[name])):
            changed = copy.deepcopy(found[name])
            list(objects(changed))[i][1]["surprise"] = {}
            if not errors(validator, changed):
                opened.add(path)
    assert {path for path in opened if ".placement" not in path} == {
        ".protocol.options", ".protocol.baseline_options"
    }  # fmt: skip


@pytest.mark.parametrize("section", ["latency", "memory", "environment", "validity", "protocol", "artifact"])
def test_a_missing_key_is_seen(
    validator: Draft202012Validator, found: dict[str, record.AnyRecord], section: str
) -> None:
    always = found["tflite"][section]
    optional = ("peak_low_bytes", "peak_high_bytes", "converged", "converged_reason")  # of kind bench only
    least = {key: value for key, value in always.items() if key not in optional}
    gone = next(iter(least))
    assert errors(validator, {**found["tflite"], section: least}) == []
    assert (
        errors(validator, {**found["tflite"], section: {k: v for k, v in least.items() if k != gone}}) != []
    )


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 1}, {"kind": "race"}, {"status": "fine"}, {"reason": "because."}, {"latency": None},
        {"error_kind": "weather"}, {"doubts": [1]}, {"started_utc": None}, {"energy": []},
    ],
)  # fmt: skip
def test_a_wrong_value_is_seen(
    validator: Draft202012Validator, found: dict[str, record.AnyRecord], change: dict[str, Any]
) -> None:
    assert errors(validator, {**found["bench"], **change}) != []
    assert errors(validator, {key: value for key, value in found["bench"].items() if key not in change}) != []


def test_a_figure_of_another_type_is_seen(
    validator: Draft202012Validator, found: dict[str, record.AnyRecord]
) -> None:
    latency = found["bench"]["latency"]
    for key in latency:
        wrong: object = 1 if isinstance(latency[key], str | bool) or key.endswith("_reason") else "fast"
        assert errors(validator, {**found["bench"], "latency": {**latency, key: wrong}}) != [], key
    assert errors(validator, {**found["bench"], "latency": {**latency, "p50_s": -1.0}}) != []
    assert errors(validator, {**found["bench"], "latency": {**latency, "p50_s": None}}) != []


def named_figures(schema: Any) -> Iterator[str]:
    """Every name that a number has in the schema; of patterns the part after the last group."""
    numeric = {"amount", "amount_null", "whole", "whole_null", "change_null", "number_null", "readable"}
    for _, part in objects(schema):
        for names in (part.get("properties"), part.get("patternProperties")):
            for name, rule in names.items() if isinstance(names, dict) else ():
                if isinstance(rule, dict) and str(rule.get("$ref", "")).removeprefix("#") in numeric:
                    yield name.removesuffix("$").rpartition(")")[2] or name


def test_every_figure_that_the_schema_names_has_a_unit(schema: dict[str, Any]) -> None:
    names = set(named_figures(schema)) - UNITLESS
    assert len(names) > 25
    assert {name for name in names if keys_without_unit({name: 1}) and "(s|bytes|j)" not in name} == set()


def test_the_schema_is_compact_and_names_the_version_of_the_records() -> None:
    text = (RUNNER / NAME).read_text("utf-8")
    assert len(text) <= LIMIT_BYTES and f"record-{record.SCHEMA_VERSION}.schema.json" in NAME


def test_the_command_prints_it() -> None:
    done = cli("schema")
    assert done.returncode == 0 and done.stdout == (RUNNER / NAME).read_text("utf-8")


def test_the_zipapp_holds_it(tmp_path: Path) -> None:
    archive = zipapp.build(tmp_path)
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([sys.executable, archive, "schema"], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (RUNNER / NAME).read_text("utf-8")


@pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="hatchling builds the wheel")
def test_the_wheel_holds_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    assert subprocess.run(command, cwd=RUNNER, capture_output=True, timeout=120).returncode == 0
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(NAME) == (RUNNER / NAME).read_bytes()


def test_a_record_of_another_model_is_valid_too(validator: Draft202012Validator, tmp_path: Path) -> None:
    write_onnx(tmp_path / "free.onnx", batch="n")
    each = api.bench({**QUICK, "artifact": str(tmp_path / "free.onnx"), "batch_count": 2, "affinity": "0"})
    assert each["status"] == "ok" and errors(validator, json.loads(record.to_line(each))) == []
