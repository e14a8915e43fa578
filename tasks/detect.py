"""Face detection: images -> boxes, five points and scores; and which face of a picture is the one.

What a detector is stands in `Detector`; the detectors themselves are in `tasks/detectors`, one file each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

# Pixels of one batch. On one core batches gain nothing (160x160: 1.38 ms an image in ones or twelves) and larger ones
# leave the caches (640x480: 15 ms in ones, 20 ms in eights) and cost memory.
BATCH_PIXELS = 640 * 480


class DetectConfig(BaseModel):
    """Which detector finds the faces, and which of several faces is taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    detector: Literal["retinaface", "retinaface-resnet50", "face-alignment", "given"] = Field(
        default="retinaface", description="given: take the dataset's boxes and detect nothing"
    )
    weights: Path | None = Field(default=None, description="your own weights file; None: the packaged or usual place")
    # measured with retinaface: no non-face picture of scikit-image above 0.68, faces of 24 px from 0.87, of 32 px 0.98
    min_score: float = Field(default=0.75, ge=0, le=1, description="faces below this score are not reported")
    max_side: int = Field(
        default=640, ge=32, description="longer images are scaled down to this side for detection, px"
    )
    choose: Literal["nearest", "largest"] = Field(
        default="nearest",
        description="of many faces: the one nearest to the dataset's box (largest without one), or largest",
    )
    min_size: float = Field(default=32, ge=0, description="faces whose shorter side is below this are not chosen, px")
    # measured on a shaken portrait (benchmarks/video.py): every 8th saves 73 % of detection, followed boxes overlap the
    # detector's own by 0.95 (worst 0.90); shaken twice as fast, 55 %, 0.91 (0.75)
    every: int = Field(
        default=1,
        ge=1,
        le=32,
        description="of every so many frames of a video look at the first and last alone, and between them only where "
        "the face moved; 1: look at every frame",
    )
    min_overlap: float = Field(
        default=0.7, gt=0, le=1, description="intersection over union from which on the face did not move (every > 1)"
    )


@dataclass(frozen=True)
class Faces:
    """The n faces of one image, best score first; boxes may reach beyond the image.

    `boxes` (n, 4) float32 x1, y1, x2, y2 in px; `points` (n, 5, 2) float32 px: image-left eye, image-right eye, nose,
    image-left and image-right corner of the mouth (all NaN where a detector finds boxes only); `scores` (n,) float32.
    """

    boxes: NDArray[np.float32]
    points: NDArray[np.float32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.boxes)


class Detector(Protocol):
    """Finds the faces of a batch of images."""

    @property
    def name(self) -> str:
        """The detector's name in `DetectConfig`."""
        ...

    @property
    def weights_sha256(self) -> str:
        """Hex digest of the weights."""
        ...

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Faces]:
        """Images (H, W, 3) uint8 RGB of any sizes -> one `Faces` an image; images of equal size share a batch."""
        ...


def choose_face(faces: Faces, given_box: ArrayLike | None, config: DetectConfig) -> int | None:
    """Index of the face that the picture is about; None if there is none of at least `min_size`.

    With a given box (4,) px and `choose="nearest"` it is the face whose centre is nearest to the box's, and it must
    touch the box: a face elsewhere is somebody else. Otherwise it is the largest by area.
    """
    sizes = faces.boxes[:, 2:] - faces.boxes[:, :2]  # (n, 2)
    allowed = sizes.min(axis=1, initial=np.inf) >= config.min_size
    if given_box is None or config.choose == "largest":
        rank = -sizes.prod(axis=1)
    else:
        box = np.asarray(given_box, np.float32)
        allowed &= (np.minimum(faces.boxes[:, 2:], box[2:]) > np.maximum(faces.boxes[:, :2], box[:2])).all(axis=1)
        rank = np.linalg.norm((faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 - (box[:2] + box[2:]) / 2, axis=1)
    if not allowed.any():
        return None
    return int(np.where(allowed, rank, np.inf).argmin())


def detect_scaled(
    images: Sequence[NDArray[np.uint8]],
    max_side: int,
    find: Callable[[NDArray[np.uint8]], list[Faces]],
) -> list[Faces]:
    """What every detector does around its network: scale large images down, batch equal sizes, scale the faces up.

    `find` takes images (B, H, W, 3) uint8 RGB and returns their faces in their own pixels.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    small = []
    for i, image in enumerate(images):
        small.append(_shrink(image, max_side))
        groups.setdefault(small[i].shape, []).append(i)
    found: dict[int, Faces] = {}
    for (height, width, _), members in groups.items():
        batch = max(1, BATCH_PIXELS // (height * width))
        for start in range(0, len(members), batch):
            part = members[start : start + batch]
            found.update(zip(part, find(np.stack([small[i] for i in part])), strict=True))
    return [_enlarge(found[i], image, small[i]) for i, image in enumerate(images)]


def suppress(boxes: NDArray[np.float32], scores: NDArray[np.float32], overlap: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: indices, best score first, of boxes (n, 4) that overlap no better one.

    `overlap` is the intersection over union above which the lower score goes.
    """
    order = np.argsort(-scores, kind="stable")
    area = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        low = np.maximum(boxes[order, :2], boxes[best, :2])
        high = np.minimum(boxes[order, 2:], boxes[best, 2:])
        common = np.maximum(high - low, 0).prod(axis=1)
        order = order[common <= overlap * (area[order] + area[best] - common)]
    return np.array(kept, np.intp)


def _shrink(image: NDArray[np.uint8], max_side: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    if max(height, width) <= max_side:
        return image
    scale = max_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def _enlarge(faces: Faces, image: NDArray[np.uint8], small: NDArray[np.uint8]) -> Faces:
    if image.shape == small.shape:
        return faces
    # lengths scale about the outer corner of the first pixel, which lies at -0.5
    scale = np.array([image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]], np.float32)
    boxes = (faces.boxes.reshape(-1, 2, 2) + np.float32(0.5)) * scale - np.float32(0.5)
    points = (faces.points + np.float32(0.5)) * scale - np.float32(0.5)
    return Faces(boxes.reshape(-1, 4), points, faces.scores)
