"""Where a face went since its detection: the patch around it is found again by correlation.

A detection at 640 x 480 takes 16 ms, this 1 ms. It follows translation alone; size and turn wait for the next
detection, which comes a few frames later, or at once when the patch is not found again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tasks.read import Frame

Box = NDArray[np.float32]  # (4,) x1, y1, x2, y2 px

_SIDE = 64  # px that a patch is looked at with
_REACH = 2.0  # sides of the box that a patch is wide
_WINDOW = np.outer(np.hanning(_SIDE), np.hanning(_SIDE)).astype(np.float32)


class Patch:
    """A face as it looked in `frame` (H, W, 3) uint8, where it was detected at `box`."""

    def __init__(self, frame: Frame, box: Box) -> None:
        self._box = box
        self._centre = (box[:2] + box[2:]).astype(np.float64) / 2
        self._side = float((box[2:] - box[:2]).max()) * _REACH
        self._spectrum = np.conj(np.fft.rfft2(self._look(frame, self._centre)))
        self._moved = np.zeros(2)

    def follow(self, frame: Frame) -> tuple[Box, float]:
        """The box in `frame`, and how alike the patch there is: 1 the same, 0 nothing of it (normalised correlation).

        It is looked for around where the last call saw it, up to half a patch away.
        """
        centre = np.round(self._centre + self._moved)
        likeness = np.fft.irfft2(np.fft.rfft2(self._look(frame, centre)) * self._spectrum, s=(_SIDE, _SIDE))
        y, x = (int(v) for v in np.unravel_index(int(likeness.argmax()), likeness.shape))
        step = np.array([_between(likeness[y], x), _between(likeness[:, x], y)])
        self._moved = centre - self._centre + step * self._side / _SIDE
        return (self._box + np.tile(self._moved, 2)).astype(np.float32), float(likeness[y, x])

    def _look(self, frame: Frame, centre: NDArray[np.float64]) -> NDArray[np.float32]:
        """The square around `centre` as (_SIDE, _SIDE) grey without mean, of norm 1, black outside the frame."""
        corners = [round(float(v)) for v in (*(centre - self._side / 2), *(centre + self._side / 2))]
        part = Image.fromarray(frame).crop((corners[0], corners[1], corners[2], corners[3])).convert("L")
        grey = np.asarray(part.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0), np.float32)
        grey = (grey - grey.mean()) * _WINDOW
        return grey / np.float32(max(float(np.linalg.norm(grey)), 1e-6))


def _between(line: NDArray[np.float64], peak: int) -> float:
    """Place of the parabola's top through the peak and its neighbours on a circle, as a shift around 0."""
    before, top, after = (float(line[(peak + k) % _SIDE]) for k in (-1, 0, 1))
    bend = before - 2 * top + after
    place = peak + (0.5 * (before - after) / bend if bend < 0 else 0.0)
    return place - _SIDE if place > _SIDE / 2 else place
