"""The optimizations of coremltools, less those that raise: what they would have fused is right without them."""

import logging
from collections.abc import Callable
from typing import Any

import torchvision  # noqa: F401

# isort: split
import coremltools as ct

log = logging.getLogger("edgekit")
MOST = 4  # of one program


def without_failing_passes(convert: Callable[..., Any]) -> Any:
    """Converts; a pass that raises is left out, and it is tried again.

    Args:
        convert: Converts with the pipeline that it gets as `pass_pipeline`.

    Raises:
        Exception: Whatever coremltools raises outside of its passes, or of more than MOST passes.
    """
    failed: list[str] = []
    while True:
        pipeline = ct.PassPipeline.DEFAULT
        pipeline.remove_passes(set(failed))
        try:
            return convert(pass_pipeline=pipeline)
        except Exception as error:  # a pass raises every kind
            name = _pass_of(error)
            if not name or name in failed or len(failed) == MOST:
                raise
            log.info("coremltools: the pass %s failed and is left out: %s", name, error)
            failed.append(name)


def _pass_of(error: Exception) -> str:
    """The pass that raised, by what the manager of the passes calls it; "" where none did."""
    trace, name = error.__traceback__, ""
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "apply_pipeline":
            name = str(trace.tb_frame.f_locals.get("pass_name", ""))
        trace = trace.tb_next
    return name
