"""The detectors by name, one file each; a loader imports its module (and its runtime) only when it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.detect import DetectConfig, Detector


def _retinaface(config: DetectConfig) -> Detector:
    from tasks.detectors import retinaface

    return retinaface.load(config)


def _retinaface_resnet50(config: DetectConfig) -> Detector:
    from tasks.detectors import retinaface_resnet50

    return retinaface_resnet50.load(config)


def _face_alignment(config: DetectConfig) -> Detector:
    from tasks.detectors import face_alignment

    return face_alignment.load(config)


DETECTORS: dict[str, Callable[[DetectConfig], Detector]] = {
    "retinaface": _retinaface,
    "retinaface-resnet50": _retinaface_resnet50,
    "face-alignment": _face_alignment,
}
