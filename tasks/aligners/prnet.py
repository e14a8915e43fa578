"""PRNet as an aligner: tens of thousands of vertices a face (Feng et al. 2018, arXiv 1803.07835).

The released weights may be used for research at best and are not part of this program; `pseudodepth prnet import` makes
`prnet.safetensors` from them. A small network of our own training comes along.
"""

from __future__ import annotations

from contextlib import nullcontext
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.align import FIVE_OF_68, AlignConfig

if TYPE_CHECKING:
    from prnet import PRNet

# a small network of our own training; the README beside it says on what and how good it is
EMBEDDED_WEIGHTS = files("prnet") / "weights" / "slim.safetensors"
# an edge this many times the mean spacing of the vertices is a tear in the surface; on a face the longest are 4-5
TEAR = 10.0


def load(config: AlignConfig) -> PRNetAligner:
    """The aligner of `load_network`."""
    return PRNetAligner(load_network(config))


def load_network(config: AlignConfig) -> PRNet:
    """The network with the weights at `config.prnet_weights`, else the embedded ones.

    Raises WeightsError if the weights or the engine cannot be used.
    """
    import torch

    from prnet import PRNet

    dtype = None if config.prnet_precision == "auto" else getattr(torch, config.prnet_precision)
    chosen = nullcontext(config.prnet_weights) if config.prnet_weights is not None else as_file(EMBEDDED_WEIGHTS)
    with chosen as path:
        return PRNet.load(path, dtype=dtype, engine=config.prnet_engine)


class PRNetAligner:
    """Aligner: see `tasks.align.Aligner`. One pass, on CUDA where there is one.

    `confidence` is the share of vertices inside the crop times the share of triangles that are not torn: a position map
    of a face is a smooth sheet, one of something else is not. The network has no output that says "this is a face".
    """

    name = "prnet"
    passes = 1
    second_look = 1.1  # wider: a closer crop could cut the face

    def __init__(self, network: PRNet) -> None:
        self._network = network
        self.size = network.size
        self.triangles = network.triangles
        named = network.layout.landmarks68
        self.five_points = tuple(tuple(int(named[i]) for i in point) for point in FIVE_OF_68)
        self.weights_sha256 = network.weights_sha256
        self.version = f"resfcn256 width {network.about.get('width', 1)} ({network.weights_sha256[:12]})"

    def first_crop(self, box: NDArray[np.floating], points: NDArray[np.floating] | None) -> NDArray[np.float64]:
        """Affine (2, 3): the original's rule for a given box, a square of 1.6 times the box's mean side around it."""
        from prnet.crop import crop_affine

        edges = np.asarray(box, np.float64)
        middle, half = (edges[:2] + edges[2:]) / 2, np.maximum((edges[2:] - edges[:2]) / 2, 0.5)
        return crop_affine(np.concatenate([middle - half, middle + half]), "box", self.size)

    def next_crop(self, vertices: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """None: one pass."""
        return None

    def __call__(self, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `tasks.align.Aligner`."""
        vertices = self._network.vertices(crops)
        return vertices, np.array([sanity(face, self.triangles, self.size) for face in vertices], np.float32)


def sanity(vertices: NDArray[np.float32], triangles: NDArray[np.int32], size: int) -> float:
    """In [0, 1]: share of vertices (V, 3) crop px inside the crop, times the share of triangles without a torn edge."""
    plane = vertices[:, :2]
    inside = ((plane >= 0) & (plane <= size - 1)).all(1).mean()
    extent = np.linalg.norm(np.ptp(vertices, axis=0))
    if not extent > 0:
        return 0.0
    corners = vertices[triangles]
    edges = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(1)
    whole = (edges < TEAR * extent / np.sqrt(len(vertices))).mean()
    return float(inside * whole)
