"""What a batch of training samples is to be put through, in numbers: decided by training/augment.py."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Recipe:
    """What a batch of B samples gets.

    colour: (B, 3, 4) float32, RGB in [0, 1] and 1 -> RGB. source: (B, 2, 3) float64, pixel of the result -> pixel of
    the stored crop of `side` px, or None. moire: (B, 6) float32: amplitude, two wave vectors in radians per px (x, y
    each), phase. turned: (B,) bool, live samples that become attacks.
    """

    colour: Floats
    source: NDArray[np.float64] | None
    moire: Floats | None
    turned: NDArray[np.bool_]

    def repeated(self, frames: int) -> Recipe:
        """The same for every frame of each sample's clip."""
        if frames == 1:
            return self
        return Recipe(
            self.colour.repeat(frames, axis=0),
            None if self.source is None else self.source.repeat(frames, axis=0),
            None if self.moire is None else self.moire.repeat(frames, axis=0),
            self.turned.repeat(frames),
        )

    def without_turning(self) -> Recipe:
        """The geometry alone, for masks: a face stays where it is when it becomes an attack's."""
        return replace(self, turned=np.zeros_like(self.turned))
