"""Trying again where a network may have failed: exponential backoff with full jitter.

The wait is random between nothing and the bound, so that many workers that were refused together do not return together
(M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015).
"""

import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

ATTEMPTS = 6
_FIRST, _LONGEST = 0.2, 5.0  # seconds
# answers and mistakes, not failures: asking again gives the same
_FINAL: tuple[type[Exception], ...] = (
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,  # fsspec's word for what this kind of place cannot do
    ImportError,
    TypeError,
    ValueError,
    AttributeError,
)


def with_retries(action: Callable[[], T]) -> T:
    """What `action` returns; its last error if it fails ATTEMPTS times, its first one if that is final."""
    for attempt in range(ATTEMPTS):
        try:
            return action()
        except _FINAL:
            raise
        except Exception:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(random.uniform(0, min(_LONGEST, _FIRST * 2**attempt)))
    raise AssertionError("unreachable")
