"""A record of a stranger is refused in one sentence, or can be shown: never a traceback, never a command to the terminal."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from edgekit_runner import record as records
from edgekit_runner.cli import table
from runner_models import QUICK, cli, write_onnx

from edgekit.bench import figures
from edgekit.bench.on_devices import Outcome
from edgekit.device import Completed, record_check
from edgekit.device.run import _record as record_of
from edgekit.errors import EdgekitError
from edgekit.records.foreign import visible

pytestmark = pytest.mark.long

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, 10**250, 10**400, "", "\x1b]0;x\x07", "x" * 5000, [], {}, [[]], {"a": 1}, float("nan"), "²", [None],
)  # fmt: skip


class Stranger:
    name = "ssh:stranger"


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


def mutated(record: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    changed = copy.deepcopy(record)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        found = list(places(changed))
        if not found:
            break
        owner, key = chance.choice(found)
        how = chance.random()
        if how < 0.2 and isinstance(owner, dict):
            del owner[key]
        elif how < 0.3 and isinstance(owner, dict):
            owner[f"new{chance.random()}"] = 1
        else:
            owner[key] = chance.choice(ODD)
    return changed


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    place = tmp_path_factory.mktemp("real")
    write_onnx(place / "model.onnx")
    found = []
    for more in ({"kind": "bench"}, {"kind": "compare", "baseline": str(place / "model.onnx")}):
        given = {**QUICK, "artifact": str(place / "model.onnx"), **more}
        spec = {"schema_version": 2, **{k: v for k, v in given.items() if k != "golden"}}
        (place / "spec.json").write_text(json.dumps(spec))
        found.append(json.loads(cli("run", place / "spec.json").stdout.splitlines()[-1]))
    assert [r["status"] for r in found] == ["ok", "ok"]
    return found


def test_a_real_record_is_one(real: list[dict[str, Any]]) -> None:
    assert [record_check.fault_of(record) for record in real] == [None, None]


def test_mutated_records(real: list[dict[str, Any]]) -> None:
    chance = random.Random(0)
    device: Any = Stranger()
    refused = shown = 0
    for _ in range(400):
        record = mutated(chance.choice(real), chance)
        text = json.dumps(record)
        try:
            found = record_of(device, Completed(code=0, stdout=text, stderr=""))
        except EdgekitError as error:
            assert str(error).startswith("ssh:stranger: ") and "\x1b" not in str(error)
            refused += 1
            continue
        stranger, good = (
            Outcome(device=name, record=r, error=r["reason"], exit_code=records.exit_code(r))
            for name, r in (("ssh:stranger", found), ("local", real[0]))
        )
        if found["kind"] == "bench":
            assert "local" in figures.text([stranger, good], 120)
        assert "\x1b" not in visible(table.render(found))
        shown += 1
    assert refused > 250 and refused + shown == 400


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"artifact": {}}, r"the record\.artifact"),
        ({"artifact": None}, r"the record\.artifact"),
        ({"validity": None}, r"the record\.validity"),
        ({"doubts": [1]}, r"the record\.doubts\.0"),
    ],
)
def test_what_is_wrong_is_named(real: list[dict[str, Any]], change: dict[str, Any], named: str) -> None:
    device: Any = Stranger()
    text = json.dumps({**real[0], **change})
    with pytest.raises(EdgekitError, match=named):
        record_of(device, Completed(code=0, stdout=text, stderr=""))
