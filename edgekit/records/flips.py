"""The samples of the metric that an artifact answers otherwise than the float model, and whether their number tells anything."""

from edgekit.records._base import Record


class Flip(Record):
    """A sample whose class changed.

    Attributes:
        sample: Its number, in the order in which the metric asks.
        float_class: What the float model answers.
        artifact_class: What the artifact answers.
        gain: 1 where the metric counts it right now and did not before, -1 the other way, 0 where neither; None where
            that was not looked at.
    """

    sample: int
    float_class: int
    artifact_class: int
    gain: int | None = None


class Flips(Record):
    """Every flip, for a metric that is a share of right answers.

    Attributes:
        samples: How many samples the metric asks for.
        reference: A hash of those samples and of the float model's classes: two artifacts with the same one can be
            compared sample by sample.
        scale: What the metric is when every sample is right: 1, or 100 for percent.
        gained: How many samples the metric counts right that were wrong; at most, where not all were looked at.
        lost: The other way.
        exact: Whether all were looked at.
        p_value: McNemar's exact test that as many are lost as gained.
        drop_low: The lower end of the 95 % interval of the drop, in the metric's unit.
        drop_high: The upper end.
    """

    samples: int
    reference: str
    flips: tuple[Flip, ...]
    scale: float
    gained: int
    lost: int
    exact: bool
    p_value: float
    drop_low: float
    drop_high: float
