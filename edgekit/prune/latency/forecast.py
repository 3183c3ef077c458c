"""The latency of a network at other widths, predicted from the table.

Each layer has its share t of the total time, from the micro-models that contain it. At width w, a group takes
the share r(w) of what its micro-models take whole, less what their borders take (`micro.Border`), by their
curves; a layer that reads one group and produces another takes t r_in r_out. What no micro-model contains
(sums, pools, the first layer) is constant: the measured time of the whole network minus the sum over layers.

The error is that of the table plus that of this product; `benchmarks/latency_pruning.py` measures it. A plan
that was chosen with the table turns out slower than predicted, because whatever was measured too fast by
chance is chosen first. That is why the whole network is measured again.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from edgekit.errors import ConversionError
from edgekit.prune.latency.curve import Curve
from edgekit.prune.latency.micro import Micro


@dataclass(frozen=True)
class Work:
    """Layers that depend on the same groups.

    Attributes:
        seconds: Their time at whole widths.
        curves: The curve of each group, with its root.
    """

    seconds: float
    curves: tuple[tuple[str, Curve], ...]

    def at(self, widths: Mapping[str, int]) -> float:
        """Returns the seconds at these widths, by root."""
        return self.seconds * prod(curve.share(widths[root]) for root, curve in self.curves if root in widths)


class Forecast:
    """Predicts the seconds of one run from the widths of the groups.

    Args:
        micros: The micro-models of each group, by root.
        curves: The curve of each micro-model, by its text.
        base_s: The time of the whole network, measured.

    Raises:
        ConversionError: A micro-model has no curve.
    """

    def __init__(
        self, micros: Mapping[str, Iterable[Micro]], curves: Mapping[str, Curve], base_s: float
    ) -> None:
        times, holders = _layers(micros, curves)
        scale = min(1.0, base_s / max(sum(times.values()), 1e-12))
        self.base_s = base_s
        self.works = tuple(Work(scale * times[node], tuple(holders[node].items())) for node in times)
        self.rest_s = base_s - sum(work.seconds for work in self.works)

    def __call__(self, widths: Mapping[str, int]) -> float:
        """Returns the seconds; groups that are not named stay whole."""
        return self.rest_s + sum(work.at(widths) for work in self.works)


def _layers(
    micros: Mapping[str, Iterable[Micro]], curves: Mapping[str, Curve]
) -> tuple[dict[str, float], dict[str, dict[str, Curve]]]:
    """Seconds of each layer at whole widths, the mean over its micro-models, and its curve for each group."""
    found: dict[str, list[float]] = defaultdict(list)
    holders: dict[str, dict[str, Curve]] = defaultdict(dict)
    for root, several in micros.items():
        for micro in several:
            if micro.text not in curves:
                raise ConversionError(
                    f"the table of widths has no figures of {micro.text!r}, the layers around {root}: it is of another network"
                )
            curve, total = curves[micro.text], max(sum(micro.macs), 1)
            for node, macs in zip(micro.nodes, micro.macs, strict=True):
                found[node].append(curve.at(micro.width) * macs / total)
                holders[node][root] = curve
    return {node: sum(times) / len(times) for node, times in found.items()}, holders
