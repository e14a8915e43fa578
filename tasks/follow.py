"""Which frames of a video need a detection: between two boxes that hardly differ, the face is where they say.

A run of frames is looked at in its first and last one. If the two boxes overlap enough, the frames between get boxes on
the straight line from one to the other; if not (it moved fast, it was lost, somebody else came), the middle one is
looked at, and each half is treated alike. So a drift costs detections, never a wrong box from far away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Box = NDArray[np.float32]  # (4,) x1, y1, x2, y2 px
Look = Callable[[Sequence[int]], Sequence[Box | None]]


def follow(runs: Sequence[Sequence[int]], look: Look, min_overlap: float) -> list[tuple[int, int, int]]:
    """Look at as few frames of `runs` (consecutive numbers) as needed; all runs share each call of `look`.

    look: frame numbers -> the face's box in each, None where it was not found. Returns (frame, frame before, frame
    after) for each frame that was not looked at: it lies between two that were, whose boxes overlap by at least
    `min_overlap` (intersection over union).
    """
    boxes: dict[int, Box | None] = {}

    def look_at(frames: list[int]) -> None:
        if frames:
            boxes.update(zip(frames, look(frames), strict=True))

    look_at(sorted({end for run in runs for end in (run[0], run[-1])}))
    spans = [(run[0], run[-1]) for run in runs]
    between = []
    while spans:
        wide = [(first, last) for first, last in spans if last - first > 1]
        calm = [(first, last) for first, last in wide if overlap(boxes[first], boxes[last]) >= min_overlap]
        between += [(frame, first, last) for first, last in calm for frame in range(first + 1, last)]
        split = [(first, (first + last) // 2, last) for first, last in wide if (first, last) not in calm]
        look_at([middle for _, middle, _ in split])
        spans = [half for first, middle, last in split for half in ((first, middle), (middle, last))]
    return sorted(between)


def overlap(one: Box | None, other: Box | None) -> float:
    """Intersection over union of two boxes; 0 if one is missing."""
    if one is None or other is None:
        return 0.0
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    common = float(np.maximum(high - low, 0).prod())
    both = float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod()) - common
    return common / both if both > 0 else 0.0
