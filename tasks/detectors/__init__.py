"""The detectors by name, one file each; a module (and its runtime) is imported only when its detector is wanted."""

from importlib import import_module

from tasks.detect import DetectConfig, Detector
from tasks.errors import BuildError

_MODULES = {
    "retinaface": "retinaface",
    "retinaface-resnet50": "retinaface_resnet50",
    "face-alignment": "face_alignment",
}


def load_detector(config: DetectConfig) -> Detector:
    """The configured detector with its weights loaded; BuildError if they are missing or damaged."""
    if config.detector == "given":
        raise BuildError("detector 'given' takes the boxes of the dataset: there is no detector to load")
    detector: Detector = import_module(f"tasks.detectors.{_MODULES[config.detector]}").load(config)
    return detector
