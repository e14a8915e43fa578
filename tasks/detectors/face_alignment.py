"""S3FD, the default detector of the package face-alignment, with weights that the user places. Boxes only, no points.

Source: Zhang et al., "S3FD: Single Shot Scale-invariant Face Detector" (arXiv 1708.05237). About 4.5 s for 640x480 on
one core: for comparisons, not for large builds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.detect import DetectConfig, Faces, detect_scaled
from tasks.errors import BuildError
from tasks.weights import checkpoint_path, import_face_alignment, load_checkpoint

FILE, OFFICIAL = "s3fd-619a316812.pth", "619a316812"


def load(config: DetectConfig) -> SFD:
    """The network of `config.weights` or of face-alignment's usual place; BuildError says which file to put where."""
    return SFD(config)


class SFD:
    """Detector: see `tasks.detect.Detector`. Its points are NaN."""

    name = "face-alignment"

    def __init__(self, config: DetectConfig) -> None:
        path = config.weights or checkpoint_path(FILE)
        state, self.weights_sha256 = load_checkpoint(path, "detector face-alignment (S3FD)", OFFICIAL)
        import_face_alignment()
        from face_alignment.detection.sfd.detect import detect
        from face_alignment.detection.sfd.net_s3fd import s3fd

        self._detect = detect
        self._network = s3fd().eval()
        try:
            self._network.load_state_dict(state)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise BuildError(
                f"{path} is not the S3FD network of face-alignment: {str(error).splitlines()[0]}"
            ) from error
        self._config = config

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Faces]:
        """See `tasks.detect.Detector`."""
        return detect_scaled(images, self._config.max_side, self._find)

    def _find(self, images: NDArray[np.uint8]) -> list[Faces]:
        return [self._find_one(image) for image in images]  # the package mixes up the images of a batch

    def _find_one(self, image: NDArray[np.uint8]) -> Faces:
        from face_alignment.detection.sfd.bbox import nms

        found = self._detect(self._network, image, "cpu")[0].reshape(-1, 5)  # x1, y1, x2, y2, score
        found = found[nms(found, 0.3)] if len(found) else found  # 0.3 as in the package; best score first
        found = found[found[:, 4] >= self._config.min_score].astype(np.float32)
        return Faces(found[:, :4], np.full((len(found), 5, 2), np.nan, np.float32), found[:, 4])
