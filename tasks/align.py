"""Dense alignment: face boxes in images -> 3-D vertices in image pixels.

What an aligner is stands in `Aligner`; the aligners themselves are in `tasks/aligners`, one file each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from tasks.errors import BuildError
from tasks.warp import Affine, affine_scale, apply_affine, invert_affine, warp

# the detector's five points in the iBUG scheme of 68: each is the mean of these landmarks
FIVE_OF_68 = ((36, 39), (42, 45), (30,), (48,), (54,))


class AlignConfig(BaseModel):
    """Which aligner makes the vertices, and where its weights are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    aligner: Literal["auto", "facemesh", "prnet", "face-alignment"] = Field(
        default="auto", description="auto: prnet if `prnet_weights` is set, else facemesh"
    )
    face_landmarker: Path | None = Field(
        default=None, description="your own face_landmarker.task; None: the packaged one"
    )
    prnet_weights: Path | None = Field(
        default=None, description="prnet.safetensors, imported or trained; None: the small one that comes along"
    )
    prnet_engine: Literal["torch", "openvino"] = Field(
        default="torch", description="openvino: faster on a CPU (extra `openvino`)"
    )
    prnet_precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="auto: bfloat16 on CUDA, float32 on a CPU"
    )
    # measured, error in inter-ocular distances after 1, 2, 3 passes: from a detector's box 0.01, 0.005, 0.003; from a
    # box that is 1.4 times too large 0.09, 0.02, 0.006
    passes: int = Field(
        default=2, ge=1, le=4, description="facemesh: crops a face; the 2nd and later are cut around the mesh"
    )


@dataclass(frozen=True)
class Alignment:
    """One aligned face.

    `vertices` (V, 3) float32 in image pixels, pixel centres at integers; z has the same scale as x and y, larger is
    nearer, its offset is arbitrary. `confidence` in [0, 1]: the aligner's own belief that this is a face. `crop`
    (2, 3): the affine, image px -> crop px, of the last pass.
    """

    vertices: NDArray[np.float32]
    confidence: float
    crop: Affine


class Aligner(Protocol):
    """A crop rule and a network that turns crops into vertices."""

    @property
    def name(self) -> str:
        """The aligner's name in `AlignConfig`."""
        ...

    @property
    def version(self) -> str:
        """Names architecture and weights for people."""
        ...

    @property
    def weights_sha256(self) -> str:
        """Hex digest of the weights file."""
        ...

    @property
    def size(self) -> int:
        """Side S of a crop in pixels."""
        ...

    @property
    def triangles(self) -> NDArray[np.int32]:
        """Triangles (T, 3) that index the V vertices."""
        ...

    @property
    def five_points(self) -> tuple[tuple[int, ...], ...]:
        """The detector's five points on the mesh, in its order: each is the mean of these vertices."""
        ...

    @property
    def second_look(self) -> float:
        """Side of the crop that `tasks.quality` checks a mesh with / side of the crop that it was made from."""
        ...

    @property
    def passes(self) -> int:
        """How often `align` may crop one face."""
        ...

    def first_crop(self, box: NDArray[np.floating], points: NDArray[np.floating] | None) -> NDArray[np.float64]:
        """Affine (2, 3), image px -> crop px (a similarity), of a box (4,) and, where known, its 5 points (5, 2)."""
        ...

    def next_crop(self, vertices: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """Affine of the next pass from this pass's vertices (V, 3) in image px; None: the face is done."""
        ...

    def __call__(self, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Crops (B, S, S, 3) uint8 RGB -> vertices (B, V, 3) float32 in crop px (z as above), confidence (B,)."""
        ...


def align(
    images: Sequence[NDArray[np.uint8]],
    boxes: NDArray[np.floating],
    points: Sequence[NDArray[np.floating] | None],
    aligner: Aligner,
) -> list[Alignment]:
    """Align one face an image: images[i] (H, W, 3) uint8 RGB, boxes (B, 4) px, points[i] (5, 2) px or None.

    Points that are not all finite count as None. All faces go through the network as one batch per pass. Vertices may
    lie outside the image.
    """
    if not len(images) == len(boxes) == len(points):
        raise BuildError(
            f"align: {len(images)} images, {len(boxes)} boxes and {len(points)} sets of points do not match"
        )
    found: dict[int, Alignment] = {}
    crops = {}
    for i, known in enumerate(points):
        crops[i] = aligner.first_crop(boxes[i], known if known is not None and np.isfinite(known).all() else None)
    for number in range(1, aligner.passes + 1):
        if not crops:
            break
        batch = np.stack([warp(images[i], affine, aligner.size) for i, affine in crops.items()])
        vertices, confidence = aligner(batch)
        following = {}
        for (i, affine), face, belief in zip(crops.items(), vertices, confidence, strict=True):
            found[i] = Alignment(to_image(face, affine), float(belief), affine)
            again = aligner.next_crop(found[i].vertices) if number < aligner.passes else None
            if again is not None:
                following[i] = again
        crops = following
    return [found[i] for i in range(len(images))]


def to_image(vertices: NDArray[np.float32], affine: NDArray[np.float64]) -> NDArray[np.float32]:
    """Vertices (V, 3) in crop px -> image px; z is divided by the crop's scale, so it keeps x's and y's unit."""
    plane = apply_affine(invert_affine(affine), vertices[:, :2])
    return np.column_stack([plane, vertices[:, 2] / affine_scale(affine)]).astype(np.float32)
