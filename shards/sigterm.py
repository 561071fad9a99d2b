"""SIGTERM to a program that can be run again."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from radnet.errors import SAVED_ON_SIGNAL


@contextmanager
def sigterm_means_again() -> Iterator[None]:
    """Leave on SIGTERM as what can be run again. Ray's own handler leaves with 1, a bug of ours; and where the signal
    comes during a call of Ray's, Ray makes 1 of any code."""
    told: list[int] = []

    def leave(number: int, frame: object) -> None:
        told.append(number)
        sys.exit(SAVED_ON_SIGNAL)

    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, leave) if is_main else None
    try:
        yield
    except SystemExit:
        if told:
            sys.exit(SAVED_ON_SIGNAL)
        raise
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
