"""Views: geometric variants of a crop, each one affine from the frame to the crop.

The affine samples the image once and moves the vertices; image and depth of a view therefore agree exactly.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from tasks.errors import MediumError
from tasks.warp import Affine, compose


class ViewConfig(BaseModel):
    """The crop, and how far a view may depart from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=224, ge=16, le=2048, description="side of a crop in pixels")
    margin: float = Field(
        default=1.2, gt=0, le=10, description="side of the square crop / longer side of the face's box"
    )
    views: int = Field(default=1, ge=1, le=1000, description="views a frame; view 0 is the plain crop")
    shift: float = Field(default=0.08, ge=0, le=1, description="largest shift, as a part of the crop's side")
    scale: tuple[float, float] = Field(default=(0.9, 1.15), description="range of the enlargement")
    rotation: float = Field(default=15, ge=0, le=180, description="largest turn in the image plane, degrees")
    aspect: float = Field(default=0.08, ge=0, lt=1, description="largest change of width / height")
    flip: float = Field(default=0.5, ge=0, le=1, description="how often a view is mirrored")


def view_rng(seed: int, dataset: str, path: str, frame: int, view: int) -> np.random.Generator:
    """The randomness of one view: a function of what it shows, so neither order nor worker count changes it."""
    digest = hashlib.sha256(f"{seed}|{dataset}|{path}|{frame}|{view}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def view_affine(box: npt.ArrayLike, view: int, rng: np.random.Generator, config: ViewConfig) -> Affine:
    """The (2, 3) affine, frame px -> crop px, of view `view` of the face in `box` (x1, y1, x2, y2 px).

    View 0 is a square around the box's centre, `margin` times as wide as its longer side. Raises MediumError `bad-box`
    for a box without area.
    """
    x1, y1, x2, y2 = (float(v) for v in np.asarray(box))
    if not (math.isfinite(x1 + y1 + x2 + y2) and x2 > x1 and y2 > y1):
        raise MediumError("bad-box", f"the box {x1:g}, {y1:g}, {x2:g}, {y2:g} has no area")
    scale = config.size / (config.margin * max(x2 - x1, y2 - y1))
    middle = (config.size - 1) / 2  # pixel centres are integers: the middle of 224 pixels is 111.5
    plain = np.array([[scale, 0, middle - scale * (x1 + x2) / 2], [0, scale, middle - scale * (y1 + y2) / 2]])
    if view == 0:
        return plain
    # all five are drawn whatever the ranges are: switching one off leaves the others as they were
    shift = rng.uniform(-1, 1, 2) * config.shift * config.size
    enlarge = rng.uniform(*config.scale)
    angle = math.radians(rng.uniform(-1, 1) * config.rotation)
    stretch = math.sqrt(1 + rng.uniform(-1, 1) * config.aspect)
    mirror = -1.0 if rng.uniform() < config.flip else 1.0
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = np.diag([mirror, 1.0]) @ turn @ np.diag([enlarge * stretch, enlarge / stretch])
    about_middle = np.column_stack([linear, middle + shift - linear @ [middle, middle]])
    return compose(about_middle, plain)
