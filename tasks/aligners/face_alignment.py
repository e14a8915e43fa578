"""3DFAN: the 68 three-dimensional landmarks of the package face-alignment, with weights that the user places.

Source: Bulat and Tzimiropoulos, "How far are we from solving the 2D & 3D Face Alignment problem?" (arXiv 1703.07332).
68 vertices make a coarse mesh without a forehead: its depth maps are for comparison with the dense aligners. The
networks were trained on 300W-LP, whose z points to the camera. About 3 s a face on one core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.align import FIVE_OF_68, AlignConfig
from tasks.aligners.facemesh import LANDMARKS68, canonical_face
from tasks.errors import BuildError
from tasks.weights import checkpoint_path, import_face_alignment, load_checkpoint

if TYPE_CHECKING:
    from torch import Tensor

SIZE = 256
POINTS_FILE, POINTS_OFFICIAL = "3DFAN4-7835d9f11d.pth.tar", "7835d9f11d"
DEPTH_FILE, DEPTH_OFFICIAL = "depth-2a464da4ea.pth.tar", "2a464da4ea"


def load(config: AlignConfig) -> ThreeDFAN:
    """Both networks from face-alignment's usual place; BuildError says which file to put where."""
    return ThreeDFAN()


class ThreeDFAN:
    """Aligner: see `tasks.align.Aligner`. Vertices are the 68 iBUG points, confidence the mean peak of the heatmaps."""

    name = "face-alignment"
    size = SIZE
    passes = 1
    second_look = 1.1  # wider: a closer crop could cut the face
    five_points = FIVE_OF_68

    def __init__(self) -> None:
        paths = [checkpoint_path(POINTS_FILE), checkpoint_path(DEPTH_FILE)]
        points, digest = load_checkpoint(paths[0], "aligner face-alignment", POINTS_OFFICIAL)
        depth, depth_digest = load_checkpoint(paths[1], "aligner face-alignment", DEPTH_OFFICIAL)
        import_face_alignment()
        from face_alignment.models import FAN, ResNetDepth

        self._points, self._depth = FAN(4).eval(), ResNetDepth().eval()
        try:
            self._points.load_state_dict(points)
            state = {key.removeprefix("module."): value for key, value in depth["state_dict"].items()}
            self._depth.load_state_dict(state)
        except (RuntimeError, TypeError, KeyError, AttributeError) as error:
            raise BuildError(
                f"{paths[0]} and {paths[1]} are not the networks of face-alignment: {str(error).splitlines()[0]}"
            ) from error
        self.version = f"3DFAN-4 ({digest[:12]}) + depth ({depth_digest[:12]})"
        self.weights_sha256 = f"{digest},{depth_digest}"
        self.triangles = triangles68()

    def first_crop(self, box: NDArray[np.floating], points: NDArray[np.floating] | None) -> NDArray[np.float64]:
        """Affine (2, 3) of the package's square: side (w + h) 200 / 195, its centre 0.12 h above the box's."""
        x1, y1, x2, y2 = np.asarray(box, np.float64)
        scale = SIZE / max((x2 - x1 + y2 - y1) * 200 / 195, 1.0)
        centre = np.array([x1 + x2, y1 + y2]) / 2 - (0, 0.12 * (y2 - y1))
        return np.column_stack([np.eye(2) * scale, (SIZE - 1) / 2 - scale * centre])

    def next_crop(self, vertices: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """None: one pass."""
        return None

    def __call__(self, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `tasks.align.Aligner`."""
        import torch

        pixels = torch.from_numpy(crops.astype(np.float32) / np.float32(255)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            maps = self._heatmaps(pixels)  # (B, 68, 64, 64)
            plane, peaks = peak_points(maps)
            spots = torch.from_numpy(np.stack([_spots(face) for face in plane]))
            depth = self._depth(torch.cat([pixels, spots], dim=1)).numpy()  # (B, 68), crop px
        vertices = np.concatenate([plane - np.float32(0.5), depth[..., None]], axis=2)
        return vertices.astype(np.float32), peaks.mean(axis=1).clip(0, 1)

    def _heatmaps(self, pixels: Tensor) -> NDArray[np.float32]:
        """Mean of the heatmaps of the crop and of its mirror image, as the package takes their sum."""
        from face_alignment.utils import flip

        plain, mirrored = self._points(pixels)[-1], self._points(flip(pixels))[-1]
        maps: NDArray[np.float32] = ((plain + flip(mirrored, is_label=True)) / 2).numpy()
        return maps


def peak_points(maps: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Peaks of heatmaps (B, 68, 64, 64): (B, 68, 2) float32 crop px from the outer corner, and their heights (B, 68).

    A peak inside the map is moved a quarter cell towards its higher neighbour, along x and y.
    """
    batch, count, rows, columns = maps.shape
    best = maps.reshape(batch, count, -1).argmax(axis=2)
    y, x = np.divmod(best, columns)
    b, c = np.ogrid[:batch, :count]
    inside = (x > 0) & (x < columns - 1) & (y > 0) & (y < rows - 1)
    left, right = np.clip(x - 1, 0, None), np.clip(x + 1, None, columns - 1)
    up, down = np.clip(y - 1, 0, None), np.clip(y + 1, None, rows - 1)
    shift = [np.sign(maps[b, c, y, right] - maps[b, c, y, left]), np.sign(maps[b, c, down, x] - maps[b, c, up, x])]
    points = np.stack([x, y], axis=2) + 0.5 + 0.25 * np.stack(shift, axis=2) * inside[..., None]
    return (points * (SIZE / columns)).astype(np.float32), maps[b, c, y, x]


def triangles68() -> NDArray[np.int32]:
    """(T, 3) int32: the Delaunay triangles of the 68 points on the canonical face, seen from the front."""
    from scipy.spatial import Delaunay

    plane = canonical_face().vertices[list(LANDMARKS68), :2]
    return Delaunay(plane).simplices.astype(np.int32)


def _spots(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """The depth network's second input: one Gaussian spot a landmark (68, 2) px, (68, 256, 256) float32."""
    from face_alignment.utils import draw_gaussian

    maps = np.zeros((len(points), SIZE, SIZE), np.float32)
    for layer, point in zip(maps, points, strict=True):
        if (point > 0).all():
            draw_gaussian(layer, point, 2)
    return maps
