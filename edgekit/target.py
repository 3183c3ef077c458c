"""A target: what a class of devices runs. Profiles in TOML are read by `edgekit.profile`."""

import msgspec

from edgekit.errors import TargetError
from edgekit.formats import check_format, check_runtime
from edgekit.records import Budget, Kind, Precision, Quant, Record, Scalar, convert
from edgekit.technique import TECHNIQUES, Need, needs_of


class Isa(Record):
    """The processors that serve this target.

    Attributes:
        arch: Machine names as the runner reports them.
        levels: Instruction-set level -> the fields of [quant] it overrides, weakest first; the first is the default.
        verify_exact: Whether the artifact is run unfused when the host's kernels are known to saturate where the target's
            are not.
    """

    arch: tuple[str, ...]
    levels: dict[str, dict[str, Scalar]]
    verify_exact: bool = False

    def __post_init__(self) -> None:
        if not self.levels:
            raise ValueError("[isa.levels] is empty; it needs at least one instruction-set level")
        allowed = Quant.__struct_fields__
        for level, fields in self.levels.items():
            for key in fields:
                if key not in allowed:
                    raise ValueError(
                        f"unknown key {key!r} in [isa.levels.{level}]; allowed: {', '.join(allowed)}"
                    )


class LadderStep(Record):
    """One step of a rung, and why it is taken."""

    technique: str
    reason: str
    options: dict[str, Scalar] = {}

    @property
    def name(self) -> str:
        """What a table calls it; a number says nothing without its option's name, unless it is the only option."""
        bare = len(self.options) == 1
        told = (
            str(value) if bare or isinstance(value, str) else f"{key}={value}"
            for key, value in self.options.items()
        )
        return f"{self.technique}({', '.join(told)})" if self.options else self.technique


class Rung(Record):
    """One entry of the ladder: a technique and its options, after the steps of `before`.

    Attributes:
        before: The steps that come first, as in prune, distill, qat.
        data: What the task must bring beyond what its techniques need: without it the rung is not worth a try.
        networks: The kinds of multiply-accumulates that it pays off for; empty is any.
        unfit: What becomes of other networks: the end of a sentence.
    """

    technique: str
    reason: str
    options: dict[str, Scalar] = {}
    before: tuple[LadderStep, ...] = ()
    data: tuple[Need, ...] = ()
    networks: tuple[Kind, ...] = ()
    unfit: str = ""

    def __post_init__(self) -> None:
        if bool(self.networks) != bool(self.unfit):
            raise ValueError(
                f"{self.technique}: networks and unfit go together: which networks, and what becomes of the others"
            )

    @property
    def name(self) -> str:
        """What a table calls it: `ptq(mse)` or `prune(0.5) > distill > qat`."""
        return " > ".join(step.name for step in self.steps)

    @property
    def precision(self) -> Precision:
        """The precision that the recipe ends in."""
        return TECHNIQUES[self.technique].precision

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the task must bring for all of its steps, and to make it worth a try."""
        asked = needs_of([step.technique for step in self.steps])
        return (*asked, *(need for need in self.data if need not in asked))

    @property
    def steps(self) -> tuple[LadderStep, ...]:
        """All steps, in order."""
        last = LadderStep(technique=self.technique, reason=self.reason, options=self.options)
        return (*self.before, last)


class Deployment(Record):
    """The minimums an app build must respect."""

    abi: tuple[str, ...] = ()
    min_ios: int | None = None
    min_android_sdk: int | None = None
    min_runtime: str | None = None


class Target(Record):
    """A device class: runtime and format, arithmetic, instruction sets, the ladder of techniques, minimums.

    Attributes:
        precision_share: The part of the multiply-accumulates that must run in a precision for the file to be called by it.
        full_integer: Whether an int8 file with any operator that computes in float is refused.
        on_request: Whether "all" leaves this target out.
        devices: Where files for this target are timed, as --device writes them; for profiles of a user's own.
        other_runtimes: More runtimes that read the format: an accepted file is proven and timed in those that are
            installed, and the fastest is named. Whether a file is accepted is decided in `runtime` alone.
        free_batch: Whether the number of samples is chosen with every call, where the task does not say otherwise.
    """

    name: str
    summary: str
    runtime: str
    format: str
    precisions: tuple[Precision, ...]
    isa: Isa
    ladder: tuple[Rung, ...]
    quant: Quant | None = None
    channel_multiple: int = 1
    precision_share: float = 0.8
    full_integer: bool = False
    on_request: bool = False
    free_batch: bool = False
    other_runtimes: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    budget: Budget = Budget()
    deployment: Deployment = Deployment()

    def __post_init__(self) -> None:
        check_format(self.format)
        for runtime in (self.runtime, *self.other_runtimes):
            check_runtime(runtime)
        if self.runtime in self.other_runtimes:
            raise ValueError(f"other_runtimes holds {self.runtime!r}, which is the runtime itself")
        if self.quant is None and "int8" in self.precisions:
            raise ValueError("precisions admit int8 but there is no [quant] table")
        if self.quant is None and any(self.isa.levels.values()):
            raise ValueError("[isa.levels] overrides fields of [quant], but there is no [quant] table")
        if not 0 < self.precision_share <= 1:
            raise ValueError(
                f"precision_share is {self.precision_share}; allowed is a share above 0, at most 1"
            )
        for level in self.isa.levels:
            self.quant_for(level)

    @property
    def default_isa(self) -> str:
        """The weakest level that the profile admits."""
        return next(iter(self.isa.levels))

    def quant_for(self, isa: str) -> Quant | None:
        """Returns the [quant] table with the overrides of one instruction-set level."""
        if isa not in self.isa.levels:
            allowed = ", ".join(self.isa.levels)
            raise TargetError(
                f"target {self.name} does not admit the instruction set {isa!r}; allowed: {allowed}"
            )
        if self.quant is None:
            return None
        return convert({**msgspec.to_builtins(self.quant), **self.isa.levels[isa]}, Quant)

    def admits(self, arch: str, isa: str) -> bool:
        """Whether a machine of that architecture and instruction-set level is one of this target's machines."""
        return arch in self.isa.arch and isa in self.isa.levels


def without_ladder(target: Target) -> Target:
    """Returns what a stage must know of a target: another ladder or budget changes nothing of what is made for it."""
    return msgspec.structs.replace(target, ladder=(), budget=Budget())
