"""Which way up a video is, where its file does not say: the turn in which the detector sees a face best.

Some datasets hold phone videos whose turn got lost, and decoders differ in what they make of the rest; so a source
lists the turns that occur (`extra["turns"]`), and the first frame with a face decides among them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.detect import Detector
from tasks.read import Frame


def turned(image: Frame, degrees: int) -> Frame:
    """`image` (H, W, 3) turned counter-clockwise by a multiple of 90 degrees."""
    return np.ascontiguousarray(np.rot90(image, degrees // 90))


def choose_turn(image: Frame, turns: Sequence[int], detector: Detector) -> int | None:
    """The turn of `turns`, in degrees, after which the best face of `image` stands upright; None if there is no face.

    An upright face has its eyes above its mouth; of several such turns the one with the highest score is taken.
    """
    best: tuple[bool, float] | None = None
    chosen = None
    for degrees, faces in zip(turns, detector([turned(image, degrees) for degrees in turns]), strict=True):
        if not len(faces):
            continue
        eyes, mouth = faces.points[0, :2, 1].mean(), faces.points[0, 3:, 1].mean()
        rank = (bool(eyes < mouth), float(faces.scores[0]))
        if best is None or rank > best:
            best, chosen = rank, degrees
    return chosen
