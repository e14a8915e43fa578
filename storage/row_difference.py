"""Each row minus the one above it: what makes smooth pictures and depth maps compress, done and undone."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np


def difference(rows: np.ndarray, out: np.ndarray) -> None:
    """rows, out: (h, w) of one unsigned type, not overlapping; out[0] = rows[0], out[i] = rows[i] - rows[i - 1]."""
    out[:1] = rows[:1]
    np.subtract(rows[1:], rows[:-1], out=out[1:])  # wraps around, and so does the sum below


def accumulate(delta: np.ndarray, out: np.ndarray) -> None:
    """Undo `difference`: out[i] = delta[0] + ... + delta[i]. delta, out: (h, w) of one unsigned type.

    Compiled: 4 us for 224x224 uint8. np.add.accumulate takes 39 (it walks down the columns one value at a time), and
    what numpy does best, sums of 1, 2, 4, 8, ... rows, 18.
    """
    _kernel()(delta, out)


@functools.cache
def _kernel() -> Callable[[np.ndarray, np.ndarray], None]:
    from numba import njit  # 0.3 s, which only those pay who unpack such rows

    try:
        compiled: Any = njit(cache=True, nogil=True)(_accumulate)
    except RuntimeError:  # nowhere to keep what was compiled: half a second in every process
        compiled = njit(nogil=True)(_accumulate)
    return compiled


def _accumulate(delta: np.ndarray, out: np.ndarray) -> None:
    total = np.zeros(delta.shape[1], delta.dtype)  # apart from both, so that the compiler adds many columns at once
    for row in range(len(delta)):
        for column in range(delta.shape[1]):
            total[column] += delta[row, column]
        for column in range(delta.shape[1]):
            out[row, column] = total[column]
