"""Clips: rows of a store that are frames of one video at equal distances, found by their frame numbers.

A store does not mark clips. Any frame policy that keeps frames at the right distances makes them (`all`, `every`, and
`clips`, which keeps nothing else), and a clip loses nothing but itself when a frame of it was rejected.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def clips_of(table: pa.Table, frames: int, interval: int) -> NDArray[np.int64]:
    """The clips in a store's table, as row numbers (clips, frames) int64 in the order of time; no row is in two clips.

    A clip is `frames` rows of one medium and view whose frame numbers are `interval` apart (FAS-SGTD: 5 and 3). A run
    of such frames is cut into clips from its start; what is left over at its end is in none. Clips are sorted by the
    row of their first frame.
    """
    if not len(table):
        return np.empty((0, frames), np.int64)
    medium = _codes(table, "dataset") * (1 + _codes(table, "path").max()) + _codes(table, "path")
    view, frame = table.column("view").to_numpy(), table.column("frame").to_numpy().astype(np.int64)
    phase = frame % interval
    order = np.lexsort((frame, phase, view, medium))
    same = np.ones(len(order) - 1, bool)
    for column in (medium, view, phase):
        same &= column[order[1:]] == column[order[:-1]]
    starts = np.concatenate([[True], ~(same & (np.diff(frame[order]) == interval))])
    first = np.flatnonzero(starts)
    place = np.arange(len(order)) - first[np.cumsum(starts) - 1]  # in its run
    length = np.diff(np.append(first, len(order)))[np.cumsum(starts) - 1]
    whole = place < length // frames * frames
    clips = order[whole].reshape(-1, frames)
    return clips[np.argsort(clips[:, 0], kind="stable")]


def _codes(table: pa.Table, name: str) -> NDArray[np.int64]:
    column = pc.dictionary_encode(table.column(name).combine_chunks())
    return column.indices.to_numpy().astype(np.int64)
