"""From vertices in the crop to the depth map that a network learns: near = large, background = 0."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from prnet.rasterize import rasterize
from tasks.errors import MediumError

Depth = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


class DepthConfig(BaseModel):
    """How a face's z becomes grey levels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Literal["aligned", "real"] = Field(
        default="aligned",
        description="real: what the depth camera measured, for live recordings that have it (3DMAD); all others are "
        "aligned as ever, and a row of real depth says depth_real in its extra data",
    )
    normalize: Literal["face-minmax", "z-over-max", "metric-crop"] = Field(
        default="face-minmax",
        description="face-minmax: the face's farthest vertex is 1, its nearest the maximum; "
        "z-over-max: z / max z, as PRNet's demo draws it (for aligners whose z starts at 0); "
        "metric-crop: z above the farthest vertex in the unit of x and y, the maximum is one side of the crop",
    )
    dtype: Literal["uint8", "uint16"] = Field(default="uint8", description="grey levels: 255 or 65,535")
    rule: Literal["barycentric", "flat"] = Field(
        default="barycentric", description="flat: one depth a triangle, as in PRNet's own renderer"
    )
    spoof_mask: bool = Field(
        default=False,
        description="also align the faces of spoofs and store where they are, as a mask; their depth stays zero",
    )


def depth_map(
    vertices: npt.NDArray[np.floating], triangles: npt.NDArray[np.integer], size: int, config: DepthConfig
) -> Depth:
    """Rasterise `vertices` (V, 3) px of the crop (z larger = nearer) over `triangles` (T, 3) -> (size, size).

    The range comes from all vertices, not from the visible ones: a shift, a turn or (but for metric-crop) a narrower
    crop of the same face never changes its depth. Whatever is seen is at least 1, the background is 0. Of metric-crop
    map values, (value - 1) / (maximum - 1) * size is the height in px above the farthest vertex; what is higher than a
    crop is wide is cut off there, which no face is. Raises MediumError `align-failed` for vertices that are not finite
    or have no extent in z.
    """
    z = np.asarray(vertices[:, 2], np.float64)
    if not np.isfinite(vertices).all():
        raise MediumError("align-failed", "the aligner gave vertices that are not finite")
    low, high = (0.0 if config.normalize == "z-over-max" else z.min()), z.max()
    if not high > low:
        raise MediumError("align-failed", f"the face has no extent in depth: z from {z.min():.3g} to {z.max():.3g}")
    levels = np.iinfo(config.dtype).max
    if config.normalize == "z-over-max":
        grey = np.maximum(z * (levels / high), 1)
    else:
        extent = high - low if config.normalize == "face-minmax" else size
        grey = 1 + (z - low) * ((levels - 1) / extent)
    seen = rasterize(np.column_stack([vertices[:, :2], grey]), triangles, (size, size), config.rule)
    return np.rint(np.clip(seen, 0, levels)).astype(config.dtype)
