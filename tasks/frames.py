"""Which frames of a video become samples: a policy, and what it takes of a video with so many frames."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.errors import MediumError

_GUESSED = 256  # frames of a video of unknown length, about ten seconds; only sizes a shard


class ReadConfig(BaseModel):
    """Which frames of a video are taken, and how large a picture may be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: Literal["spread", "every", "all", "clips"] = Field(
        default="spread",
        description="spread: n frames evenly over the video; every: each n-th frame; all: every frame; "
        "clips: n clips evenly over the video, or as many as fit in it side by side",
    )
    n: int = Field(default=8, ge=1, description="how many frames (spread) or clips (clips), or the step (every)")
    clip_frames: int = Field(default=5, ge=2, description="frames of a clip; FAS-SGTD takes 5")
    clip_interval: int = Field(default=3, ge=1, description="frames from one of a clip to the next; FAS-SGTD takes 3")
    max_pixels: int = Field(
        default=50_000_000, ge=1, description="larger pictures are rejected undecoded: a guard of memory"
    )

    @property
    def clip_span(self) -> int:
        """Frames of the video from the first to the last of a clip."""
        return (self.clip_frames - 1) * self.clip_interval + 1

    def check_pixels(self, path: object, width: int, height: int) -> None:
        """Raise MediumError `too-large` for a picture of more than `max_pixels`."""
        if width * height > self.max_pixels:
            raise MediumError(
                "too-large", f"{path}: {width} x {height} pixels, the limit is {self.max_pixels} (read.max_pixels)"
            )


def wanted_frames(path: object, count: int, config: ReadConfig) -> Sequence[int]:
    """Ascending numbers of the frames to take of a video of `count` frames, from 0.

    With `spread`, each is the middle one of n equal parts; with `clips`, each clip lies in the middle of its part and
    clips never share a frame. `every` and `all` go on for as long as there are frames: a packet may hold several.
    Raises MediumError `too-short` for a video that no clip fits in.
    """
    if config.frames == "all":
        return range(sys.maxsize)
    if config.frames == "every":
        return range(0, sys.maxsize, config.n)
    if config.frames == "spread":
        return sorted({(2 * i + 1) * count // (2 * config.n) for i in range(config.n)})
    clips = min(config.n, count // config.clip_span)
    if not clips:
        raise MediumError("too-short", f"{path}: {count} frames, and a clip spans {config.clip_span}")
    starts = [(i * count // clips + (i + 1) * count // clips - config.clip_span) // 2 for i in range(clips)]
    return [start + k * config.clip_interval for start in starts for k in range(config.clip_frames)]


def guess_frames(config: ReadConfig) -> int:
    """How many frames a video is taken to give before it is opened; only sizes a shard."""
    if config.frames == "spread":
        return config.n
    if config.frames == "clips":
        return config.n * config.clip_frames
    return _GUESSED if config.frames == "all" else max(1, _GUESSED // config.n)
