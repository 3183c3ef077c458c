"""Many artifacts in turns: a figure for each, in the order given, whatever becomes of one of them."""

from typing import Any

import pytest
from edgekit_runner import api
from edgekit_runner.errors import UserError
from edgekit_runner.kinds import turns
from edgekit_runner.spec import from_dict
from runner_models import write_onnx

QUICK = {"rounds_count": 4, "warmup_s": 0.01, "timeout_s": 60.0}
WIDTHS = (16, 256, 64)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("turns")
    for width in WIDTHS:
        write_onnx(folder / f"{width}.onnx", width, repeat=4)
    return [str(folder / f"{width}.onnx") for width in WIDTHS]


def spec(models: list[str], **more: Any) -> dict[str, Any]:
    return {**QUICK, "artifact": models[0], "others": models[1:], **more}


def test_each_artifact_has_its_figures_in_the_order_given(models: list[str]) -> None:
    record = api.turns(spec(models))
    assert (record["status"], record["reason"]) == ("ok", None)
    assert [turn["path"] for turn in record["turns"]] == models
    assert len({turn["sha256"] for turn in record["turns"]}) == 3
    for turn in record["turns"]:
        assert 0 < turn["cpu_min_s"] <= turn["cpu_p10_s"] <= turn["cpu_p50_s"]
        assert turn["rounds_count"] == 4
    assert record["runtime"]["name"] == "ONNX Runtime"
    assert record["artifact"]["path"] == models[0]
    assert record["validity"]["verdict"] in ("ok", "disturbed", "unknown")


def test_sixteen_times_the_work_takes_longer(models: list[str]) -> None:
    small, large, _ = api.turns(spec(models))["turns"]
    assert large["cpu_min_s"] > 1.5 * small["cpu_min_s"]  # what a call of the runtime costs is in both
    assert large["runs_per_turn_count"] <= small["runs_per_turn_count"]


def test_one_artifact_alone_is_enough(models: list[str]) -> None:
    assert len(api.run({**QUICK, "artifact": models[0], "kind": "turns"})["turns"]) == 1


def test_the_limit_of_time_leaves_one_round_at_least(models: list[str]) -> None:
    record = api.turns(spec(models, rounds_count=10**6, max_duration_s=0.0, min_duration_s=0.0))
    assert [turn["rounds_count"] for turn in record["turns"]] == [1, 1, 1]


def test_an_artifact_that_is_not_there_is_named(models: list[str]) -> None:
    record = api.turns(spec([*models, "no-such.onnx"]))
    assert record["status"] == "failed" and "no-such.onnx" in record["reason"]
    assert record["turns"] is None or len(record["turns"]) == 3


def test_too_many_are_refused(models: list[str]) -> None:
    record = api.turns(spec(models[:1] * (turns.MOST_COUNT + 1)))
    assert "at most 512" in record["reason"] and record["error_kind"] == "user"


@pytest.mark.parametrize("others", ["m.onnx", [1], [""], None, {"a": 1}])
def test_others_is_a_list_of_paths(others: Any) -> None:
    with pytest.raises(UserError, match="a list of non-empty strings"):
        from_dict({"schema_version": 2, "artifact": "a.onnx", "kind": "turns", "others": others})


def test_others_belong_to_this_kind_alone() -> None:
    with pytest.raises(UserError, match="for kind 'turns' alone"):
        from_dict({"schema_version": 2, "artifact": "a.onnx", "others": ["b.onnx"]})
