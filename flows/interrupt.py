"""What Ctrl-C and `kill` mean for a run: one orderly way out of this process, and none for those that it started."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType


@contextmanager
def unaware_of_interrupts() -> Iterator[None]:
    """Processes that are started inside never receive SIGINT.

    A terminal sends it to the whole process group. The API server and the Dask workers would die of it before this
    process has told them to stop, which took a minute of errors instead of a second. (A blocked signal stays blocked in
    a child whatever handler it sets.)
    """
    resource_tracker.ensure_running()  # started later, by the first process, it would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_orderly() -> None:
    """Make SIGTERM (kill, systemd, a worker that is told to stop) end this process as Ctrl-C does, and note either."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def refuse_if_interrupted() -> None:
    """Raise KeyboardInterrupt if this process was ever told to end.

    The exception that a signal raises is lost if it hits while a destructor or a weak reference's callback runs (Python
    prints "Exception ignored"); a build once ran on to its commit so. Loops and commits therefore ask.
    """
    if _noted.is_set():
        raise KeyboardInterrupt


_noted = threading.Event()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    _noted.set()
    raise KeyboardInterrupt
