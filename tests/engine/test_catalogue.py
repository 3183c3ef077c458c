"""Every stage of the catalogue names a function that takes its spec and returns its result; read, not imported."""

import ast
from pathlib import Path

import pytest

from edgekit.engine.catalogue import STAGES, Stage

ROOT = Path(__file__).parents[2]


def declared(stage: Stage) -> ast.FunctionDef:
    module, _, name = stage.function.partition(":")
    tree = ast.parse(ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8"))
    return next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_the_function_of_a_stage_takes_its_spec_and_returns_its_result(stage: Stage) -> None:
    function = declared(stage)
    (parameter,) = function.args.args
    assert parameter.arg == "spec"
    assert parameter.annotation is not None and function.returns is not None
    assert ast.unparse(parameter.annotation) == stage.spec.__name__
    assert ast.unparse(function.returns) == stage.result.__name__


def test_stages_have_names_of_their_own_and_limits() -> None:
    assert len({stage.name for stage in STAGES}) == len(STAGES)
    assert all(stage.limit_s >= 3600 for stage in STAGES)


def test_what_times_has_the_machine_alone() -> None:
    assert {stage.name for stage in STAGES if stage.alone} == {
        "measure",
        "layer-times",
        "width-table",
        "plan-time",
    }
