"""The readers: closed keys, versions, types; nothing but `UserError` for any input."""

import json

import pytest
from edgekit_runner import api, record, spec
from edgekit_runner.errors import EXIT_CODES, UserError
from hypothesis import given, settings
from hypothesis import strategies as st

GOOD = {"schema_version": 1, "artifact": "m.onnx"}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def test_spec_survives_a_round_trip() -> None:
    made = spec.from_dict({**GOOD, "threads_count": 2, "options": {"optimize": False}})
    assert spec.read(json.dumps(made.to_dict())) == made


@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.5])
def test_another_schema_version_is_refused(version: object) -> None:
    with pytest.raises(UserError, match="schema_version"):
        spec.from_dict({**GOOD, "schema_version": version})
    with pytest.raises(UserError, match="schema_version"):
        record.read(json.dumps({**record.blank("bench"), "schema_version": version}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threads_count", 0), ("threads_count", -1), ("threads_count", True), ("threads_count", 1.5),
        ("min_runs_count", 0), ("min_duration_s", -1), ("min_duration_s", float("nan")), ("timeout_s", 0),
        ("golden_atol", -0.1), ("golden_atol", "1"), ("artifact", ""), ("artifact", None), ("options", []),
        ("kind", "race"), ("max_duration_s", 0.5), ("baseline", "b.onnx"), ("rounds_count", float("inf")),
    ],
)  # fmt: skip
def test_bad_values_name_the_key(key: str, value: object) -> None:
    with pytest.raises(UserError, match=key):
        spec.from_dict({**GOOD, key: value})


def test_unknown_key_lists_what_is_allowed() -> None:
    with pytest.raises(UserError, match=r"'thread'.*threads_count"):
        spec.from_dict({**GOOD, "thread": 1})


def test_compare_needs_a_baseline() -> None:
    with pytest.raises(UserError, match="baseline"):
        spec.from_dict({**GOOD, "kind": "compare"})


def test_a_pair_splits_into_two_checks() -> None:
    pair = spec.from_dict(
        {
            **GOOD,
            "kind": "compare",
            "baseline": "b.tflite",
            "baseline_golden": "g.npz",
            "baseline_golden_atol": 0.5,
        }
    )
    assert pair.artifact_alone() == spec.from_dict({**GOOD, "kind": "check"})
    other = spec.from_dict(
        {**GOOD, "kind": "check", "artifact": "b.tflite", "golden": "g.npz", "golden_atol": 0.5}
    )
    assert pair.baseline_alone() == other


def test_the_api_refuses_a_spec_of_another_kind() -> None:
    with pytest.raises(UserError, match="kind"):
        api.bench({"artifact": "m.onnx", "kind": "compare", "baseline": "b.onnx"})


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*spec.Spec.__dataclass_fields__, "other"]), json_values, max_size=4))
def test_fuzzed_specs_are_read_or_refused_in_one_sentence(extra: dict[str, object]) -> None:
    try:
        made = spec.from_dict({**GOOD, **extra})
    except UserError as error:
        assert str(error)
    else:
        assert spec.read(json.dumps(made.to_dict())) == made


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40) | json_values.map(lambda value: json.dumps(value)))
def test_fuzzed_text_never_escapes_the_readers(text: str) -> None:
    for read in (spec.read, record.read):
        with pytest.raises(UserError):
            read(text)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(UserError):
        spec.read("[" * 100_000)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(list(record.blank("bench"))), json_values)
def test_fuzzed_records_are_read_or_refused(key: str, value: object) -> None:
    try:
        found = record.read(json.dumps({**record.blank("bench"), key: value}))
    except UserError:
        return
    assert found["status"] in record.STATUSES and record.exit_code(found) in (0, 1, 2, 3)


def test_record_survives_a_round_trip_and_every_kind_has_an_exit_code() -> None:
    for kind in spec.KINDS:
        blank = record.blank(kind)
        assert record.read(record.to_line(blank)) == blank
    for kind, code in EXIT_CODES.items():
        assert record.exit_code(record.fail(record.blank("bench"), "why.", kind or "")) in (code, 1)
    assert record.exit_code(record.succeed(record.blank("bench"))) == 0


def test_numbers_that_json_lacks_become_null() -> None:
    assert json.loads(record.to_line({"a": float("nan"), "b": [float("inf"), 1.0]})) == {
        "a": None,
        "b": [None, 1.0],
    }
