"""How one output of an artifact is compared with the float model's."""

from typing import Literal

from edgekit.errors import UserError
from edgekit.records._base import Record

MeasureKind = Literal["top1", "mask", "boxes", "psnr", "cosine", "sequence", "ctc", "correlation", "equal"]


class OutOfRange(UserError, ValueError):
    """A limit that no artifact could meet, or that is not a number."""


class Measure(Record):
    """How one output of an artifact is compared with the float model's: what `min_agreement` limits, between 0 and 1.

    Attributes:
        kind: "top1" is the share of samples with one and the same best class; "mask" the mean intersection over union of the
            classes of pixels; "boxes" the share of boxes found by both; "psnr" the error as a share of the range; "cosine" the
            similarity of directions; "sequence" the edit distance of the best symbols, "ctc" the same without repeats and blanks;
            "correlation" is Pearson's, over all values; "equal" the share of equal numbers.
        scores: For boxes [N, K, 4]: the output that holds their scores, [N, K] or [N, K, classes].
        form: How a box is written: two corners, or its centre and its sides.
        score_at: Boxes below this score do not count.
        iou_at: Two boxes are one from this intersection over union on.
        blank: The symbol of "ctc" that stands for none.
    """

    kind: MeasureKind
    scores: str = ""
    form: Literal["xyxy", "cxcywh"] = "xyxy"
    score_at: float = 0.3
    iou_at: float = 0.5
    blank: int = 0

    def __post_init__(self) -> None:
        if (self.kind == "boxes") != bool(self.scores):
            raise OutOfRange(
                f"the measure {self.kind} has scores={self.scores!r}; name the output of the scores for boxes, and for nothing else"
            )
