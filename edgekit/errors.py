"""Every error that edgekit raises on purpose. Anything else that escapes is a bug.

EdgekitError
├── UserError              exit 2   something given is wrong: a file, a name, a shape, a value
│   ├── TaskError                   the task file or what it holds
│   ├── TargetError                 the target profile
│   └── DiskFull                    no room to write
├── BudgetError            exit 1   no artifact meets the budget
├── VerificationError      exit 1   an artifact is not what it claims to be
├── ConversionError        exit 2   a converter cannot express the model; names the operator
├── NotApplicable          exit 2   a technique finds nothing to do in this network; the next recipe is tried
├── ChildCrash             exit 1   a child process died (signal, memory); holds the end of its log
│   └── StageTimeout                it took longer than its limit and was ended
├── TrainingError          exit 1   a training did not reach its end
│   ├── Diverged                    its loss or its gradients became NaN or infinite
│   └── WorkerLost                  one of its processes died
├── Stopped                exit 130 a stage was ended because its run was interrupted
├── DeviceError            exit 1   a device cannot be reached, refused, vanished, ran full or fell silent
└── MissingRuntime         exit 3   a package is not installed; the message holds the pip line

A message says what was given, what is allowed and what to do.
"""


class EdgekitError(Exception):
    """Base of all errors below; `exit_code` is what the command line returns."""

    exit_code = 1


class UserError(EdgekitError):
    """Something that the user typed or wrote is wrong."""

    exit_code = 2


class TaskError(UserError):
    """The task file, or the model and data that it holds, is wrong."""


class TargetError(UserError):
    """The profile of a target is wrong."""


class DiskFull(UserError):
    """There is no room to write."""


class BudgetError(EdgekitError):
    """No artifact meets the budget."""


class VerificationError(EdgekitError):
    """An artifact is not what it claims to be."""


class ConversionError(EdgekitError):
    """A converter cannot express the model."""

    exit_code = 2


class NotApplicable(EdgekitError):
    """A technique finds nothing to do in this network: no width to change, nothing to factorize.

    Unlike a UserError it is nobody's fault: the attempt is refused with the sentence, and the ladder continues.
    """

    exit_code = 2


class ChildCrash(EdgekitError):
    """The process of a stage died; the message holds the end of its log."""


class StageTimeout(ChildCrash):
    """A stage took longer than its limit and was ended."""


class TrainingError(EdgekitError):
    """A training did not reach its end."""


class Diverged(TrainingError):
    """The loss or the gradients of a training became NaN or infinite."""


class WorkerLost(TrainingError):
    """One process of a distributed training died."""


class Stopped(EdgekitError):
    """A stage was ended because its run was interrupted."""

    exit_code = 130


class DeviceError(EdgekitError):
    """A device cannot be reached, refused, vanished, ran full or fell silent."""


class MissingRuntime(EdgekitError):
    """A package is not installed."""

    exit_code = 3

    @classmethod
    def of(cls, package: str, purpose: str) -> "MissingRuntime":
        """Returns the error for a package that `purpose` needs, with the pip line that installs it."""
        return cls(f"{package} is not installed, but {purpose} needs it: pip install {package}")


def by_name(name: str) -> type[EdgekitError]:
    """Returns the error class called `name`, to raise in a parent what a child process met.

    The base class is returned where there is none.
    """
    found = globals().get(name)
    return found if isinstance(found, type) and issubclass(found, EdgekitError) else EdgekitError
