"""What a network is given at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass
class Batch:
    """image: (B, 3, S, S) float32 RGB in [0, 1]. depth: (B, 1, d, d) float32 in [0, 1]. label: (B,) float32, spoof 1.

    mask: (B, 1, d, d) bool, where the face is. kind: (B,) int64 attack type, live 0. Both None unless asked for, as is
    depth. rows: (B,) where in the dataset they are. Clips have a frame axis after B in image, depth and mask.
    """

    image: Tensor
    depth: Tensor | None
    label: Tensor
    rows: NDArray[np.int64]
    mask: Tensor | None = None
    kind: Tensor | None = None

    def unflattened(self, frames: int) -> Batch:
        """A batch of clips from one in which the frames of all clips stand one after the other."""
        image, depth, mask = (
            None if part is None else part.unflatten(0, (-1, frames)) for part in (self.image, self.depth, self.mask)
        )
        assert image is not None
        return replace(self, image=image, depth=depth, mask=mask)
