"""Threads of a test, and a limit for what must happen."""

import threading
from collections.abc import Callable

WAIT_S = 10  # a limit for what must happen; reached only by a failure


def start(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def join(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive(), "a stage waits for ever"
