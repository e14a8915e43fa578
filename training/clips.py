"""Clips as a method asks for them. In a split, a batch or a list of scores a clip is named by its last row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage.clips import clips_of
from training.errors import TrainingError
from training.methods import Targets
from training.splits import Rows, Split


def clips_by_row(table: pa.Table, targets: Targets) -> NDArray[np.int64]:
    """(len(table), frames): the rows of the clip that ends at each row, in the order of time; -1 where none ends."""
    found = clips_of(table, targets.frames, targets.interval)
    clips = np.full((len(table), targets.frames), -1, np.int64)
    clips[found[:, -1]] = found
    return clips


def ends_of_clips(table: pa.Table, rows: Rows, targets: Targets, what: str) -> Rows:
    """Those of `rows` that end a clip; all of them for a method that takes single images.

    Raises TrainingError, naming `what` the rows are, where none does.
    """
    if targets.frames == 1:
        return rows
    ends = rows[clips_by_row(table, targets)[rows, -1] >= 0]
    if not len(ends):
        media = len(set(zip(*(table.column(c).take(rows).to_pylist() for c in ("dataset", "path")), strict=True)))
        raise TrainingError(
            f"{what}: no clip of {targets.frames} frames, {targets.interval} apart, among {len(rows)} samples of "
            f"{media} media. This method learns from videos: build the store from videos with `read: {{frames: clips, "
            f"clip_frames: {targets.frames}, clip_interval: {targets.interval}}}` (docs/video.md)"
        )
    return ends


def split_of_clips(split: Split, table: pa.Table, targets: Targets) -> Split:
    """The split's clips; raises TrainingError where a side has none of live or none of spoof."""
    if targets.frames == 1:
        return split
    label = table.column("label").to_numpy()
    for name, rows in (("train", split.train), ("dev", split.dev)):
        for value, word in ((0, "live"), (1, "spoof")):
            ends_of_clips(table, rows[label[rows] == value], targets, f"the {word} samples of the {name} side")
    train, dev = (ends_of_clips(table, rows, targets, "this split") for rows in (split.train, split.dev))
    outside = len(split.train) + len(split.dev) - targets.frames * (len(train) + len(dev))
    return replace(split, train=train, dev=dev, outside_clips=outside)
