"""Every error that edgekit raises on purpose. Anything else that escapes is a bug.

EdgekitError
├── UserError              exit 2   something given is wrong: a file, a name, a shape, a value
│   ├── TaskError                   the task file or what it holds
│   ├── TargetError                 the target profile
│   └── DiskFull                    no room to write
├── BudgetError            exit 1   no artifact meets the budget
├── VerificationError      exit 1   an artifact is not what it claims to be
├── ConversionError        exit 2   a converter cannot express the model; names the operator
├── ChildCrash             exit 1   a child process died (signal, memory); holds the end of its log
├── TrainingError          exit 1   a training did not reach its end
│   ├── Diverged                    its loss or its gradients are no numbers any more
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
    exit_code = 2


class TaskError(UserError):
    pass


class TargetError(UserError):
    pass


class DiskFull(UserError):
    pass


class BudgetError(EdgekitError):
    pass


class VerificationError(EdgekitError):
    pass


class ConversionError(EdgekitError):
    exit_code = 2


class ChildCrash(EdgekitError):
    pass


class TrainingError(EdgekitError):
    pass


class Diverged(TrainingError):
    pass


class WorkerLost(TrainingError):
    pass


class Stopped(EdgekitError):
    exit_code = 130


class DeviceError(EdgekitError):
    pass


class MissingRuntime(EdgekitError):
    exit_code = 3

    @classmethod
    def of(cls, package: str, purpose: str) -> "MissingRuntime":
        return cls(f"{package} is not installed, but {purpose} needs it: pip install {package}")


def by_name(name: str) -> type[EdgekitError]:
    """The error class called `name`, to raise in a parent what a child process met."""
    found = globals().get(name)
    return found if isinstance(found, type) and issubclass(found, EdgekitError) else EdgekitError
