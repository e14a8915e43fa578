"""The face in each frame of a video, as a dataset ships it in a text file beside the video.

One line is one frame. What a line holds is said by names: `frame` its number (without it the line's own, from 0),
`x y w h` or `x1 y1 x2 y2` a box, `rx ry` and `lx ly` the subject's right and left eye; all in pixels of the frame.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.errors import MediumError

NEAR = 12  # frames: half a second, in which a face that sits before a camera stays where it is
_MAX_BYTES = 64 << 20
# A box from two eyes, in distances between them: measured with RetinaFace on portraits that look into the camera
_EYES_BOX = (1.1, 1.0, 1.7)  # to either side of the middle, above it, below it

Box = npt.NDArray[np.float32]  # (4,) x1, y1, x2, y2 px
Points = npt.NDArray[np.float32]  # (5, 2) px, NaN where unknown; image-left eye first


@dataclass(frozen=True)
class Track:
    """`frames` (n,) ascending, `boxes` (n, 4) float32 px, `points` (n, 5, 2) float32 px, NaN where not given."""

    frames: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    points: npt.NDArray[np.float32]

    def at(self, frame: int) -> tuple[Box, Points] | None:
        """Box and points of the listed frame nearest to `frame`; None if it is further than NEAR frames away."""
        if not len(self.frames):
            return None
        after = int(np.searchsorted(self.frames, frame))
        near = min((i for i in (after - 1, after) if 0 <= i < len(self.frames)), key=lambda i: self._away(i, frame))
        return (self.boxes[near], self.points[near]) if self._away(near, frame) <= NEAR else None

    def _away(self, i: int, frame: int) -> int:
        return abs(int(self.frames[i]) - frame)


def read_track(root: Path, about: Mapping[str, object]) -> Track:
    """The track that a source names as `extra["track"]`: its `file` below `root`, and the `fields` of a line.

    A line of zeros says that there is no face, and a line that cannot be read says nothing of its frame. Raises
    MediumError `bad-box` for a file that is not there, or holds lines but none that can be read.
    """
    path = root / str(about["file"])
    try:
        if os.path.getsize(path) > _MAX_BYTES:
            raise MediumError("bad-box", f"{path}: larger than {_MAX_BYTES >> 20} MiB, which no list of faces is")
        text = path.read_bytes()
    except OSError as error:
        raise MediumError("bad-box", f"{path}: the faces of this video cannot be read ({error.strerror})") from error
    return parse_track(text.decode("utf-8", "replace"), str(about["fields"]), str(path))


def parse_track(text: str, fields: str, where: str) -> Track:
    """The track in `text`, lines of numbers separated by spaces or commas; errors name `where`."""
    names = fields.split()
    found: dict[int, tuple[float, ...]] = {}
    lines = text.splitlines()
    read = 0
    for number, line in enumerate(lines):
        try:
            values = dict(zip(names, map(float, re.split(r"[\s,]+", line.strip())), strict=True))
        except ValueError:
            continue
        read += 1
        frame = int(values.pop("frame", number))
        if any(values.values()):
            found[frame] = _face(values)
    if not read and any(line.strip() for line in lines):
        raise MediumError("bad-box", f"{where}: no line reads as `{fields}`, the first is {lines[0][:60]!r}")
    frames = np.array(sorted(found), np.int64)
    faces = np.array([found[frame] for frame in frames.tolist()], np.float32).reshape(len(frames), 14)
    return Track(frames, faces[:, :4], faces[:, 4:].reshape(-1, 5, 2))


def face_from_eyes(rx: float, ry: float, lx: float, ly: float) -> tuple[Box, Points] | None:
    """The face around the subject's right and left eye; None for zeros, which say that there is none."""
    if not any((rx, ry, lx, ly)):
        return None
    face = np.array(_face({"rx": rx, "ry": ry, "lx": lx, "ly": ly}), np.float32)
    return face[:4], face[4:].reshape(5, 2)


def _face(values: Mapping[str, float]) -> tuple[float, ...]:
    """Box and five points of one line, flat."""
    eyes = tuple(values.get(name, 0.0) for name in ("rx", "ry", "lx", "ly"))
    eyes = eyes if any(eyes) else (np.nan,) * 4
    if "x1" in values:
        box = (values["x1"], values["y1"], values["x2"], values["y2"])
    elif "x" in values:
        box = (values["x"], values["y"], values["x"] + values["w"], values["y"] + values["h"])
    else:
        box = _box_from_eyes(*eyes)
    return (*box, *eyes, *[np.nan] * 6)


def _box_from_eyes(rx: float, ry: float, lx: float, ly: float) -> tuple[float, float, float, float]:
    side, above, below = (share * float(np.hypot(lx - rx, ly - ry)) for share in _EYES_BOX)
    x, y = (rx + lx) / 2, (ry + ly) / 2
    return x - side, y - above, x + side, y + below
