"""Why each layer of a mixed file is float, and what was measured of every layer."""

from collections.abc import Sequence

from edgekit.quant.integer_regions import IntegerRegions
from edgekit.quant.knapsack import Choice
from edgekit.quant.layer_sensitivity import Sensitivity, db
from edgekit.records import FloatLayer, LayerCost, LayerTime, LayerTimes


def reasons(
    net: IntegerRegions, sensitivity: Sensitivity, choice: Choice, times: LayerTimes | None
) -> Sequence[FloatLayer]:
    """Returns why each float layer is one: the time it gains, or the noise it removes."""
    seconds = {t.name: t for t in times.layers} if times is not None else {}
    rows = []
    for layer in net.layers:
        if layer.name not in choice.float_layers:
            continue
        worst = max(
            [sensitivity.weights[layer.name]]
            + [sensitivity.tensors[i] for i in choice.quiet if _touches(net, i, layer.name)]
        )
        reason = f"rounding it alone leaves an SNR of {db(worst):.1f} dB (n={sensitivity.samples} samples)"
        if times is not None and layer.name in seconds:
            reason += f"; {_compared(seconds[layer.name])} (profiler, {times.measured_on})"
        rows.append(
            FloatLayer(
                name=layer.name, origin=layer.origin, macs_ratio=layer.macs / max(net.macs, 1), reason=reason
            )
        )
    return rows


def layer_costs(
    net: IntegerRegions, sensitivity: Sensitivity, choice: Choice, times: LayerTimes | None
) -> tuple[LayerCost, ...]:
    """Returns what was measured of every layer: the noise of its weight and of what it makes, and its times."""
    seconds = {t.name: t for t in times.layers} if times is not None else {}
    made = dict.fromkeys((layer.name for layer in net.layers), 0.0)
    for tensor, noise in zip(net.tensors, sensitivity.tensors, strict=True):
        if tensor.maker is not None:
            made[tensor.maker] += noise
    return tuple(
        LayerCost(
            name=layer.name,
            origin=layer.origin,
            macs=layer.macs,
            weights=layer.weights,
            noise_ratio=sensitivity.weights[layer.name] + made[layer.name],
            int8_s=seconds[layer.name].int8_s if layer.name in seconds else None,
            float_s=seconds[layer.name].float_s if layer.name in seconds else None,
            is_float=layer.name in choice.float_layers,
        )
        for layer in net.layers
    )


def _compared(time: LayerTime) -> str:
    """Both times in words. A layer may also be float to spare conversions, which are not part of its time."""
    figures = f"{time.float_s * 1e6:.0f} against {time.int8_s * 1e6:.0f} us"
    return (
        f"float is faster: {figures}"
        if time.float_s < time.int8_s
        else f"float takes {figures}, without the conversions at its borders"
    )


def _touches(net: IntegerRegions, index: int, name: str) -> bool:
    tensor = net.tensors[index]
    return name == tensor.maker or name in tensor.readers
