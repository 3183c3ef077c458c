"""What can go wrong, as a tree; `kind` lands in the record, `exit_code` leaves the process.

    RunnerError                 1   failed     the artifact could not be executed
    |- UserError                2   failed     a wrong path, option, spec or model file
    |- MissingRuntime           3   failed     the message holds the pip line
    |  `- UnsupportedPlatform   3   failed     no pip line helps: the runtime exists on another system only
    `- VerificationError        1   refused    outputs or checksums are not what was promised

Anything else that is raised is a bug of the runner.
"""


class RunnerError(Exception):
    """Base of all: one sentence for a person, without a traceback."""

    kind = "runtime"
    status = "failed"
    exit_code = 1


class UserError(RunnerError):
    """What was given cannot be used; the message says what is allowed."""

    kind = "user"
    exit_code = 2


class MissingRuntime(RunnerError):
    """The runtime of this format is not installed, or does not import."""

    kind = "missing_runtime"
    exit_code = 3


class UnsupportedPlatform(MissingRuntime):
    """The runtime of this format does not exist on this operating system."""


class VerificationError(RunnerError):
    """The artifact is not what it claims to be; it is not timed."""

    kind = "verification"
    status = "refused"


# every kind that a record may carry, and the exit code it maps to
EXIT_CODES: dict[str | None, int] = {
    None: 0,
    "runtime": 1,
    "verification": 1,
    "crash": 1,
    "timeout": 1,
    "internal": 1,
    "user": 2,
    "missing_runtime": 3,
}


def first_line(error: BaseException) -> str:
    """The first non-empty line of an exception: runtimes add pages of C++ source positions."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
