"""One frame on its way through the steps of a build, and the clock that the steps share."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.schema import LIVE
from tasks.align import Alignment
from tasks.errors import MediumError
from tasks.quality import Quality
from tasks.read import Frame
from tasks.recordings import Millimetres
from tasks.tracks import Box, Points

Timings = dict[str, float]  # stage -> seconds; `read` runs beside the others, `wait` is what they waited for it


@dataclass
class Face:
    """One frame on its way through the steps; `error` ends it."""

    medium: dict[str, Any]
    number: int  # of the frame; -1 stands for the whole medium
    image: Frame
    error: MediumError | None = None
    box: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(4, np.float32))
    box_source: str = "given"
    score: float = math.nan
    points: npt.NDArray[np.float32] | None = None  # (5, 2)
    given: tuple[Box, Points] | None = None  # the dataset's face in this frame of a video
    distance: Millimetres | None = None  # a depth camera's, where it is to be the depth
    order: int = 0  # among the frames that are taken of its medium
    alignment: Alignment | None = None  # None for a spoof, but where spoofs are to have masks
    quality: Quality | None = None

    @property
    def live(self) -> bool:
        """Whether its medium shows a live person."""
        return bool(self.medium["label"] == LIVE)


@contextmanager
def timed(timings: Timings, stage: str) -> Iterator[None]:
    """Add the seconds of the block to a stage."""
    started = time.perf_counter()
    try:
        yield
    finally:
        timings[stage] += time.perf_counter() - started
