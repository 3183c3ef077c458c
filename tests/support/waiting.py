"""Threads of a test, and a limit for what must happen."""

import threading
import time
from collections.abc import Callable

WAIT_S = 120  # a limit for what must happen, on the busiest machine; reached only by a failure


def start(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def join(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive(), "a stage waits for ever"


def eventually(happened: Callable[[], bool]) -> bool:
    """Whether it happens: it is waited for, not for a time that is enough on an idle machine."""
    deadline = time.monotonic() + WAIT_S
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
