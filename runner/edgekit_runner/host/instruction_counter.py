"""Counts of the instructions that this process executed, where an emulator counts them.

qemu with edgekit's plugin answers the system call getpriority(0x7ed9, descriptor) with a line on that descriptor: the
number of instructions so far. Every kernel refuses such a call, so elsewhere nothing is written. Instructions are no
time: caches, memory and how many of them a CPU starts at once are not in them.
"""

import ctypes
import itertools
import os
import sys

MARK = 0x7ED9
MOST_MARKS_COUNT = 1000  # lines of 21 bytes at most, which fit into a pipe that nobody reads


class InstructionCounter:
    """Marks moments, then tells how many instructions lie between them."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        self._call = ctypes.CDLL(None).getpriority if sys.platform == "linux" else lambda mark, place: None

    def mark(self) -> None:
        """Notes the number of instructions so far: `MOST_MARKS_COUNT` times at most."""
        self._call(MARK, self._write)

    def between(self) -> list[int]:
        """The instructions from each mark to the next one, and forgets the marks; empty where nothing counts."""
        text = b""
        try:
            while part := os.read(self._read, 1 << 16):
                text += part
        except BlockingIOError:
            pass
        totals = [int(line) for line in text.split()]
        return [after - before for before, after in itertools.pairwise(totals)]

    def close(self) -> None:
        """Frees the pipe."""
        os.close(self._read)
        os.close(self._write)
