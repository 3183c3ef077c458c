"""The child process of one compression step: finds the technique by its module name and applies it."""

import importlib

import msgspec
import torchvision  # noqa: F401  before any converter: see edgekit.child

from edgekit.errors import UserError
from edgekit.records import Candidate
from edgekit.specs import CompressSpec
from edgekit.trace import seed_everything


def compress(spec: CompressSpec) -> Candidate:
    """Applies one technique. Raises what the technique raises, UserError for options it does not have."""
    technique = importlib.import_module(f"edgekit.compress.{spec.step.technique}")
    try:
        options = msgspec.convert(spec.step.options, technique.Options)
    except msgspec.ValidationError as error:
        allowed = ", ".join(technique.Options.__struct_fields__) or "none"
        raise UserError(
            f"{_where(spec)}{spec.step.technique}: {error}; allowed options: {allowed}"
        ) from error
    seed_everything(spec.context.seed)
    task = spec.source.load()
    return technique.apply(spec.candidate, task, options, spec.context)  # type: ignore[no-any-return]


def _where(spec: CompressSpec) -> str:
    return f"target {spec.context.target.name}: " if spec.context.target else ""
