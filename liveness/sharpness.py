"""How sharp a face is: a blurred one hides the traces that tell a print or a screen from skin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def sharpness(crop: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian (4 neighbours) of the luma, 0..255, in the middle half of a crop (S, S, 3) uint8 RGB.

    The middle half is face; around it a lens may blur the background of the sharpest portrait. A clip (T, S, S, 3) is
    as sharp as the least sharp of its frames.
    """
    if crop.ndim == 4:
        return min(map(sharpness, crop))
    height, width = crop.shape[:2]
    grey = crop[height // 4 : height - height // 4, width // 4 : width - width // 4].astype(np.float32) @ _LUMA
    laplacian = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    return float(laplacian.var())
