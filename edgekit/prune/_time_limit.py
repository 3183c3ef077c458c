"""A time limit for pure Python code that offers no way to be stopped."""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class TimeUp(Exception):
    """Raised inside a block that took too long."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises TimeUp in the running thread once the block has taken `seconds`, at its next Python instruction.

    A signal would work only on Unix and in the main thread; an exception sent from another thread works
    everywhere. A single long call into a library is interrupted only when it returns.

    Args:
        seconds: How long the block may take.

    Raises:
        TimeUp: The time is over.
    """
    lock, over = threading.Lock(), threading.Event()
    thread = threading.get_ident()

    def ring() -> None:
        with lock:
            if not over.is_set():
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TimeUp))

    timer = threading.Timer(seconds, ring)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            over.set()
        timer.cancel()
