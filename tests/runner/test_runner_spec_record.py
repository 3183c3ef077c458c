"""The readers: closed keys, versions, types; nothing but `UserError` for any input."""

import json

import pytest
from edgekit_runner import api, record, spec
from edgekit_runner.errors import EXIT_CODES, UserError
from edgekit_runner.kinds import bench, compare
from hypothesis import given, settings
from hypothesis import strategies as st

GOOD = {"schema_version": 2, "artifact": "m.onnx"}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def test_spec_survives_a_round_trip() -> None:
    made = spec.from_dict({**GOOD, "threads_count": 2, "options": {"optimize": False}})
    assert spec.read(json.dumps(made.to_dict())) == made


@pytest.mark.parametrize("version", [0, 1, "2", None, True, 1.5])
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
        ("threads_count", 1025), ("kind", "race"), ("max_duration_s", 0.5), ("baseline", "b.onnx"), ("rounds_count", float("inf")),
    ],
)  # fmt: skip
def test_bad_values_name_the_key(key: str, value: object) -> None:
    with pytest.raises(UserError, match=key):
        spec.from_dict({**GOOD, key: value})


SPECS = {kind: spec.load_kind(kind).Spec for kind in spec.kinds()}
RULES = {name: rule for each in SPECS.values() for name, rule in spec.rules(each).items()}


def test_a_kind_is_named_as_its_file_and_its_keys_have_one_rule_in_every_kind() -> None:
    assert {kind: each.kind for kind, each in SPECS.items()} == {kind: kind for kind in SPECS}
    for each in SPECS.values():
        assert spec.rules(each) == {name: RULES[name] for name in spec.rules(each)}


def test_a_key_of_another_kind_is_checked_and_left_out() -> None:
    made = spec.from_dict({**GOOD, "kind": "check", "rounds_count": 5, "duration_s": 9.0})
    assert made == spec.from_dict({**GOOD, "kind": "check"}) and "rounds_count" not in made.to_dict()
    with pytest.raises(UserError, match=r"'rounds_count' is 0; allowed: a whole number, 1 to"):
        spec.from_dict({**GOOD, "kind": "check", "rounds_count": 0})


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
@given(st.dictionaries(st.sampled_from([*RULES, "kind", "other"]), json_values, max_size=4))
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
    assert found["status"] in record.STATUSES and record.exit_code(found) in (0, 1, 2, 3, 4)


def test_record_survives_a_round_trip_and_every_kind_has_an_exit_code() -> None:
    for kind in spec.kinds():
        blank = record.blank(kind)
        assert record.read(record.to_line(blank)) == blank
    for kind, code in EXIT_CODES.items():
        assert record.exit_code(record.fail(record.blank("bench"), "why.", kind or "")) in (code, 1)
    assert record.exit_code(record.succeed(record.blank("bench"))) == 0


@pytest.mark.parametrize(("verdict", "code"), [("faster", 0), ("slower", 1), ("inconclusive", 4), (None, 1)])
def test_a_comparison_exits_by_its_verdict(verdict: str | None, code: int) -> None:
    made = record.succeed(record.blank("compare"))
    assert record.exit_code({**made, "comparison": {"verdict": verdict}}) == code
    assert record.exit_code(made) == 1


def test_numbers_that_json_lacks_become_null() -> None:
    assert json.loads(record.to_line({"a": float("nan"), "b": [float("inf"), 1.0]})) == {
        "a": None,
        "b": [None, 1.0],
    }


def numbers(least: float, most: float) -> st.SearchStrategy[float]:
    return st.floats(least, most) | st.integers(int(least) + 1, int(most)).map(float)


@st.composite
def valid_specs(draw: st.DrawFn) -> dict[str, object]:
    """Any spec within the rules, of any kind."""
    made: dict[str, object] = {**GOOD, "kind": draw(st.sampled_from(spec.kinds()))}
    values = {
        "flag": st.booleans(), "object": st.dictionaries(st.text(max_size=3), st.booleans(), max_size=2),
        "counts": st.lists(st.integers(1, 256), min_size=1, max_size=3), "texts": st.just(()),
    }  # fmt: skip
    for name, rule in RULES.items():
        if name in ("artifact", "baseline") or draw(st.booleans()):
            continue
        if rule.choices:
            made[name] = draw(st.sampled_from(rule.choices))
        elif rule.type == "text":
            made[name] = draw(st.none() | st.text("ab/ .\u00e9", min_size=1, max_size=5))
        elif rule.type == "count":
            made[name] = draw(st.integers(int(rule.least), int(rule.most or 10**6)))
        elif rule.type == "number":
            made[name] = draw(numbers(rule.least, rule.most or 1e6))
        else:
            made[name] = draw(values[rule.type])
    made["baseline"] = "b.onnx" if made["kind"] == "compare" else None
    for less, more in (("min_duration_s", "max_duration_s"), ("processes_min_count", "processes_max_count")):
        if more in made:
            made[less] = min(made.get(less, made[more]), made[more])  # type: ignore[type-var]
    return made


@settings(max_examples=150, deadline=None)
@given(valid_specs())
def test_every_spec_within_the_rules_is_read_and_can_be_divided_among_processes(
    data: dict[str, object],
) -> None:
    made = spec.from_dict(data)
    assert spec.read(json.dumps(made.to_dict())) == made
    assert set(made.settings()) <= set(made.to_dict())
    kept = made.to_dict()
    for name, value in data.items():
        assert name not in kept or kept[name] == (tuple(value) if isinstance(value, list) else value)
    if isinstance(made, compare.Spec):
        assert made.swapped().swapped() == made
        assert compare._share(made).rounds_count * made.processes_min_count >= made.rounds_count
    if isinstance(made, bench.Spec):
        part = bench.repetition(made)
        assert part.min_runs_count * made.processes_min_count >= made.min_runs_count
        assert part.min_duration_s <= part.max_duration_s


@settings(max_examples=150, deadline=None)
@given(valid_specs(), st.sampled_from(list(RULES)), json_values)
def test_one_wrong_value_in_a_good_spec_is_refused_or_kept_as_it_is(
    data: dict[str, object], key: str, value: object
) -> None:
    try:
        made = spec.from_dict({**data, key: value})
    except UserError as error:
        assert len(str(error).splitlines()) == 1 or repr(value)[1:-1] in str(error)
    else:
        kept = made.to_dict()
        assert key not in kept or kept[key] == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(
    "value", [True, "1", [], {}, None, float("nan"), float("inf"), -float("inf"), 10**400], ids=repr
)
def test_no_number_of_a_spec_takes_what_is_none(value: object) -> None:
    for key, rule in RULES.items():
        if rule.type in ("number", "count") and not (value is None and rule.optional):
            with pytest.raises(UserError, match=key):
                spec.from_dict({**GOOD, key: value})


def damaged(text: str, data: st.DataObject) -> str:
    """The text cut, or with some characters replaced, dropped or doubled."""
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        new = data.draw(
            st.sampled_from(["", "\0", '"', "{", "}", "[", ",", "NaN", "1e999", "-", "\ud800", "null"])
        )
        text = text[:at] + new + text[at + data.draw(st.integers(0, 3)) :]
    return text if data.draw(st.booleans()) else text[: data.draw(st.integers(0, len(text)))]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_text_is_read_or_refused_in_one_sentence(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(spec.kinds()))
    good_spec = json.dumps(spec.from_dict(GOOD).to_dict())
    for read, text in ((spec.read, good_spec), (record.read, record.to_line(record.blank(kind)))):
        try:
            read(damaged(text, data))
        except UserError as error:
            assert str(error)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(spec.kinds()), st.dictionaries(st.text(max_size=12), json_values, max_size=3), st.data()
)
def test_fuzzed_records_of_every_kind_are_read_as_they_are_or_refused(
    kind: str, extra: dict[str, object], data: st.DataObject
) -> None:
    made = record.blank(kind) | extra
    for key in data.draw(st.lists(st.sampled_from(list(made)), max_size=2)):
        made[key] = data.draw(json_values)
    for key in data.draw(st.lists(st.sampled_from(list(made)), max_size=1)):
        del made[key]
    try:
        found = record.read(record.to_line(made))
    except UserError as error:
        assert str(error)
        return
    assert set(record.blank(found["kind"])) <= set(found) and found["schema_version"] == 2
    assert record.to_line(found) == record.to_line(record.read(record.to_line(found)))
    assert record.exit_code(found) in (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    "text", ["9" * 5000, '{"schema_version": ' + "9" * 5000 + "}", "[" * 99_999, "\ufeff{}"]
)
def test_numbers_without_end_and_marks_are_refused(text: str) -> None:
    for read in (spec.read, record.read):
        with pytest.raises(UserError):
            read(text)


def test_a_record_is_one_line_of_ascii() -> None:
    made = record.blank("bench") | {"reason": "a\nb \u00e9 \udcff \u2028"}
    line = record.to_line(made)
    assert line.isascii() and len(line.splitlines()) == 1 and record.read(line) == made
