"""`check` and `diff`: a pipeline is told what is not within limits, and what would break yesterday's app."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from builders import FAST, GOOD
from commands import edgekit
from plain_export import IMAGE, X, Y

from edgekit.records import Candidate, FloatLayer, Recipe

Export = Callable[..., Path]


def check(tmp_path: Path, folder: Path, budget: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit code, and each limit with its verdict and what was found."""
    (tmp_path / "budget.toml").write_text(budget)
    done = edgekit("check", folder, "--budget", tmp_path / "budget.toml", "--json")
    rows = json.loads(done.stdout)["rows"]
    return done.exit_code, {row["what"]: (row["verdict"], row["found"]) for row in rows}


def test_every_limit_is_told_with_its_figure(export: Export, tmp_path: Path) -> None:
    budget = "[every]\nmax_size_bytes = 4200\nmax_download_bytes = 79\nmin_metric = 0.8\nmax_drop = 0.001\nmax_cpu_ratio = 0.65\n"
    code, rows = check(tmp_path, export("one"), budget)
    assert code == 1
    assert rows == {
        "max_size_bytes": ("kept", "4200 bytes"),
        "max_download_bytes": ("broken", "80 bytes"),
        "min_metric": ("kept", "0.8920, n=500"),
        "max_drop": ("broken", "0.0020, n=500"),
        "max_cpu_ratio": ("kept", "0.64 of float, upper end of 95 %"),
    }


def test_large_sizes_are_told_to_the_byte(export: Export, tmp_path: Path) -> None:
    (tmp_path / "budget.toml").write_text("[abi.arm64-v8a]\nmax_size_bytes = 120_000_001\n")
    done = edgekit("check", export("one", size_bytes=5_160_123), "--budget", tmp_path / "budget.toml")
    assert "120000001  5160123 bytes of 1 model\n" in done.stdout


def test_a_target_has_its_own_limits(export: Export, tmp_path: Path) -> None:
    budget = "[every]\nmax_size_bytes = 1\n[targets.arm-mobile]\nmax_size_bytes = 5000\n"
    assert check(tmp_path, export("one"), budget) == (0, {"max_size_bytes": ("kept", "4200 bytes")})


def test_a_target_that_is_missing_is_broken(export: Export, tmp_path: Path) -> None:
    code, rows = check(tmp_path, export("one"), "[targets.x86-server]\nmax_drop = 1\n")
    assert (code, rows) == (1, {"target": ("broken", "no accepted artifact")})


@pytest.mark.parametrize(
    ("abi", "limit", "verdict"),
    [("arm64-v8a", 5000, "kept"), ("arm64-v8a", 10, "broken"), ("mips", 10, "broken")],
)
def test_the_size_of_an_abi(export: Export, tmp_path: Path, abi: str, limit: int, verdict: str) -> None:
    _, rows = check(tmp_path, export("one"), f"[abi.{abi}]\nmax_size_bytes = {limit}\n")
    assert rows["max_size_bytes"][0] == verdict


@pytest.mark.parametrize(("unmeasured", "code"), [("refuse", 1), ("allow", 0)])
def test_what_was_not_measured_on_the_target_is_not_kept(
    export: Export, tmp_path: Path, unmeasured: str, code: int
) -> None:
    elsewhere = msgspec.structs.replace(FAST, on_target=False, reason="measured on another machine")
    folder = export("one")
    path = folder / "arm-mobile" / "manifest.json"
    data = json.loads(path.read_text())
    data["measurement"] = msgspec.to_builtins(elsewhere)
    path.write_text(json.dumps(data))
    budget = f'unmeasured = "{unmeasured}"\n[every]\nmax_cpu_ratio = 2\n'
    found = check(tmp_path, folder, budget)
    assert found == (code, {"max_cpu_ratio": ("not measured", "measured on another machine")})


@pytest.mark.parametrize(
    ("budget", "sentence"),
    [
        ("max_size = 1", "unknown key 'max_size'; allowed: every, targets, abi, unmeasured"),
        ("[every]\nmax_size = 1", "unknown key 'max_size' in [every]; allowed: max_size_bytes, "),
        ("[every]\nmax_size_bytes = -1", "`$.every.max_size_bytes`"),
        ('unmeasured = "maybe"', "unmeasured is 'maybe'; allowed: refuse, allow"),
        ('[targets.arm-mobile]\nrecord = "r.json"', "record and baseline go together"),
        (
            '[targets.arm-mobile]\nrecord = "r.json"\nbaseline = "b.json"',
            "r.json: No such file or directory; give a record",
        ),
        (
            '[every]\ninstructions = "i.json"',
            "record, instructions and their baselines belong to a table [targets.NAME]",
        ),
        (
            '[targets.arm-mobile]\ninstructions_baseline = "i.json"',
            "instructions_baseline goes with instructions",
        ),
        ("x = ", "is not a TOML file: "),
        ("x = " + "[" * 5000, "is not a TOML file: "),
    ],
)
def test_bad_budgets(export: Export, tmp_path: Path, budget: str, sentence: str) -> None:
    (tmp_path / "budget.toml").write_text(budget)
    done = edgekit("check", export("one"), "--budget", tmp_path / "budget.toml")
    assert done.exit_code == 2 and sentence in done.stderr


def test_the_table_has_a_line_a_limit(export: Export, tmp_path: Path) -> None:
    (tmp_path / "budget.toml").write_text("[every]\nmax_size_bytes = 4200\nmax_drop = 0.001\n")
    done = edgekit("check", export("one"), "--budget", tmp_path / "budget.toml")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "verdict  where       limit           allowed  found",
        "kept     arm-mobile  max_size_bytes  4200     4200 bytes",
        "broken   arm-mobile  max_drop        0.001    0.0020, n=500",
        "not within the budget",
    ]


def test_an_altered_file_is_found_first(export: Export, tmp_path: Path) -> None:
    folder = export("one")
    (folder / "arm-mobile" / "model.onnx").write_bytes(b"other")
    (tmp_path / "budget.toml").write_text("")
    done = edgekit("check", folder, "--budget", tmp_path / "budget.toml")
    assert done.exit_code == 1 and "was altered after export" in done.stderr


# ------------------------------------------------------------------------------------------------------ diff


def diff(old: Path, new: Path) -> tuple[int, dict[str, Any]]:
    done = edgekit("diff", old, new, "--json")
    return done.exit_code, json.loads(done.stdout)["targets"][0]


def test_the_same_file(export: Export) -> None:
    assert "arm-mobile: the same file, 4200 bytes" in edgekit("diff", export("one"), export("two")).stdout


def test_an_update_takes_what_changed(export: Export) -> None:
    old, new = (np.random.default_rng(seed).bytes(20_000) for seed in (0, 1))
    code, found = diff(export("one", old), export("two", old[:19_000] + new[:1000]))
    assert code == 0 and not found["same"]
    assert 1000 <= found["update_bytes"] < 1200


def test_the_metric_with_its_margin(export: Export) -> None:
    found = diff(export("one"), export("two", b"new"))[1]
    assert found["metric"] == [0.892, 0.892]
    share = (0.892 * 500 + 1) / 502
    assert found["metric_margin"] == pytest.approx(1.96 * (2 * share * (1 - share) / 502) ** 0.5)


def test_the_margin_of_samples_that_are_all_right_is_not_nothing(export: Export) -> None:
    perfect = msgspec.structs.replace(GOOD, metric=1.0, float_metric=1.0)
    found = diff(export("one", verdict=perfect), export("two", b"new", verdict=perfect))[1]
    assert found["metric"] == [1.0, 1.0] and 0.005 < found["metric_margin"] < 0.006  # of 500


def with_float(*layers: str) -> Candidate:
    kept = tuple(FloatLayer(name=o, origin=o, macs_ratio=None, reason="loud") for o in layers)
    return Candidate(program="", recipe=INT8, float_layers=kept)


INT8 = Recipe(name="ptq", precision="int8", steps=())


def test_the_precision_of_each_layer(export: Export) -> None:
    old = export("one", recipe=INT8, candidate=with_float("stem (Conv2d)", "head (Linear)"))
    new = export("two", b"new", recipe=INT8, candidate=with_float("head (Linear)", "body (Conv2d)"))
    code, found = diff(old, new)
    assert code == 0
    assert found["layers"] == {"stem (Conv2d)": ["float32", "int8"], "body (Conv2d)": ["int8", "float32"]}
    assert "  layer stem (Conv2d) float32 -> int8\n" in edgekit("diff", old, new).stdout
    assert diff(old, export("three", b"new"))[1]["layers"] is None  # an attempt that does not tell


WIDE = msgspec.structs.replace(Y, shape=(1, 3))
BREAKS = {
    "input": (
        {"inputs": (msgspec.structs.replace(X, dtype="uint8"),)},
        "input x: dtype was float32 and is uint8",
    ),
    "renamed": ({"inputs": (msgspec.structs.replace(X, name="image"),)}, "input x is gone"),
    "another": ({"inputs": (X, Y)}, "input y is new"),
    "output": ({"outputs": (WIDE,)}, "output y: shape was (1, 2) and is (1, 3)"),
    "labels": ({"image": msgspec.structs.replace(IMAGE, labels=("dog", "cat"))}, "output y: labels was "),
    "mean": (
        {"image": msgspec.structs.replace(IMAGE, mean=(0.4,))},
        "the preprocessing: mean was (0.5,) and is (0.4,)",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_breaks_yesterdays_code(export: Export, name: str) -> None:
    changes, sentence = BREAKS[name]
    code, found = diff(export("one"), export("two", **changes))
    assert code == 1 and any(each.startswith(sentence) for each in found["breaks"]), found["breaks"]


def test_a_new_output_breaks_nothing(export: Export) -> None:
    more = msgspec.structs.replace(Y, name="embedding", shape=(1, 64))
    code, found = diff(export("one"), export("two", outputs=(Y, more)))
    assert (code, found["breaks"], found["adds"]) == (0, [], ["output embedding"])


@pytest.mark.parametrize(
    ("was", "now", "code"),
    [("onnxruntime 1.17", "onnxruntime 1.18", 1), ("onnxruntime 1.17", "onnxruntime 1.9", 0)],
)
def test_a_newer_runtime_breaks_an_older_is_welcome(export: Export, was: str, now: str, code: int) -> None:
    folders = [export("one"), export("two")]
    for folder, text in zip(folders, (was, now), strict=True):
        path = folder / "arm-mobile" / "manifest.json"
        data = json.loads(path.read_text())
        data["target"]["min_runtime"] = text
        path.write_text(json.dumps(data))
    assert diff(*folders)[0] == code


def test_a_target_that_is_gone_breaks(export: Export) -> None:
    new = export("two")
    (new / "arm-mobile").rename(new / "other-board")
    done = edgekit("diff", export("one"), new)
    assert (
        done.exit_code == 1
        and "arm-mobile: BREAKS: gone" in done.stdout
        and "other-board: new" in done.stdout
    )
