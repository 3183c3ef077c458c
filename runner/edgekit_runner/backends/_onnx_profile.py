"""What ONNX Runtime's profiler wrote: the nodes of each run, with the time that is their own."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgekit_runner.backends import OpCall
from edgekit_runner.errors import RunnerError

_SUFFIX = "_kernel_time"


def op_calls(events: Sequence[Mapping[str, Any]], runs_count: int) -> list[OpCall]:
    """The nodes of the last `runs_count` runs of a profile that holds one run more.

    Raises:
        RunnerError: The profiler lost some runs: it keeps a million events and drops the rest.
    """
    begins = [event["ts"] for event in events if event["name"] == "model_run"]
    if len(begins) != runs_count + 1:
        raise RunnerError(
            f"the profiler of ONNX Runtime kept {len(begins)} of {runs_count + 1} runs; profile fewer runs."
        )
    nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX)]
    return [
        OpCall(
            name=event["name"].removesuffix(_SUFFIX),
            op=event["args"]["op_name"],
            where=event["args"]["provider"],
            seconds=own_us / 1e6,
        )
        for event, own_us in _own_times(nodes)
        if event["ts"] >= begins[1]
    ]


def _own_times(nodes: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], int]]:
    """Each node with its microseconds less those of the nodes inside it, which come before it in the profile."""
    before: list[tuple[int, int]] = []
    for event in nodes:
        inside = 0
        while before and before[-1][0] >= event["ts"]:
            inside += before.pop()[1]
        before.append((event["ts"], event["dur"]))
        yield event, max(0, event["dur"] - inside)
