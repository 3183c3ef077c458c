"""What a device says about itself before a run."""

from edgekit.records._base import Record


class DeviceFacts(Record):
    """A device that a user named.

    Attributes:
        name: As the user wrote it.
        arch: Its architecture; "" where it did not answer.
        isa: Its instruction-set level, as the runner names it.
        emulated: "no", or what emulates it.
        error: Why nothing is known of it.
    """

    name: str
    arch: str = ""
    isa: str = ""
    emulated: str = ""
    error: str = ""
