"""A time limit for code that only Python runs, and that nobody can ask to stop."""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class TimeUp(Exception):
    """Raised inside the block that took too long."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises TimeUp in the running thread once the block has taken `seconds`, at its next step of Python.

    A signal would do on Unix and in the main thread alone; an exception that another thread sends works everywhere. One
    long call into a library is only interrupted when it returns.
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
