"""Frames in, decisions out: detect → crop → score, with onnxruntime alone. What `predict` and `live` are made of.

>>> from flows.predictor import Predictor
>>> Predictor("shipped/model").score([frame])[0].state  # "live", "spoof", "no-face", "too-small" or "blurred"
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from liveness.errors import ModelError
from liveness.model import LivenessModel, Precision
from liveness.sharpness import sharpness
from tasks.augment import ViewConfig, view_affine, view_rng
from tasks.detect import DetectConfig, Faces, choose_face
from tasks.detectors import load_detector
from tasks.read import Frame
from tasks.warp import warp

State = Literal["live", "spoof", "no-face", "too-small", "blurred"]
Box = npt.NDArray[np.float32]  # (4,) x1, y1, x2, y2 px

_BATCH = 32  # crops of one run of the network, in clips or not


@dataclass(frozen=True)
class Face:
    """The face that a frame is about: box (4,) px, points (5, 2) px, the detector's score, how many faces there are."""

    box: Box
    points: npt.NDArray[np.float32]
    detection: float
    faces: int


@dataclass(frozen=True)
class Result:
    """What is known of one frame. `score` is None unless `state` is live or spoof: only then the model was asked.

    Of a clip, `face` is its last frame's and `sharpness` the least of all; a frame without a face decides the state.
    """

    state: State
    score: float | None
    threshold: float
    face: Face | None
    sharpness: float | None
    crop: Frame | None  # (S, S, 3) or (T, S, S, 3) uint8, what the model saw or would have seen
    map: npt.NDArray[np.float32] | None = None  # (h, w) in [0, 1]: depth, or the cue of an attack, of the crop

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, without the pixels."""
        face = self.face
        return {
            "state": self.state,
            "score": self.score,
            "threshold": self.threshold,
            "box": None if face is None else [round(float(v), 2) for v in face.box],
            "faces": 0 if face is None else face.faces,
            "sharpness": None if self.sharpness is None else round(self.sharpness, 2),
        }


class Predictor:
    """A shipped model with its detector. One instance serves one thread; loading takes a moment, scoring does not."""

    def __init__(
        self,
        model: str | Path,
        *,
        precision: Precision = "fp32",
        threshold: str = "eer",
        detector_weights: Path | None = None,
        min_face: float | None = None,
        min_sharpness: float | None = None,
    ) -> None:
        """Load the folder of `pseudodepth export`; None takes the model's own limits.

        Raises ModelError for a folder that fails a check, or a detector that is not the one its crops were cut by, and
        BuildError for detector weights that are missing.
        """
        self.model = LivenessModel(Path(model), precision)
        self.card = self.model.card
        clip = self.card.input.clip
        self.frames, self.interval = (1, 1) if clip is None else (clip.frames, clip.interval)
        self.threshold = self.model.threshold(threshold).value
        crop = self.card.crop
        self.min_sharpness = self.card.sharpness.least if min_sharpness is None else min_sharpness
        # a store that was cut by given boxes has no detector; at run time there are no given boxes
        name = "retinaface" if crop.detector == "given" else crop.detector
        self._config = DetectConfig.model_validate(
            {
                "detector": name,
                "weights": detector_weights,
                "min_score": crop.min_score,
                "max_side": crop.max_side,
                "min_size": crop.min_face if min_face is None else min_face,
            }
        )
        self._detector = load_detector(self._config)
        wanted, got = crop.detector_sha256, self._detector.weights_sha256
        if wanted and got != wanted:
            raise ModelError(
                f"{model}: its faces were cut by {crop.detector} with weights {wanted[:12]}…, here they are "
                f"{got[:12]}…; name the same weights (--detector-weights): other boxes are other crops"
            )
        self._view = ViewConfig(size=crop.size, margin=crop.margin)

    def score(self, frames: Sequence[Frame]) -> list[Result]:
        """Frames (H, W, 3) uint8 RGB of any sizes -> one result each, of the largest face."""
        return self.judge(frames, self.find(frames))

    def score_clip(self, frames: Sequence[Frame]) -> Result:
        """The `frames` frames that the model takes, `interval` apart, in the order of time -> one result.

        Each is cut by its own face, as in a build; where one has none the clip has no score.
        """
        faces = self.find(frames)
        missing = next((face for face in faces if isinstance(face, str)), None)
        crops = [self.crop(image, f.box) for image, f in zip(frames, faces, strict=True) if not isinstance(f, str)]
        clip = None if missing else crops[0] if self.frames == 1 else np.stack(crops)
        return self.judge_crops([clip], [missing or faces[-1]])[0]

    def find(self, frames: Sequence[Frame]) -> list[Face | State]:
        """The largest face of each frame, or why there is none: `no-face` or `too-small`."""
        return [self._largest(faces) for faces in self._detector(frames)]

    def judge(self, frames: Sequence[Frame], faces: Sequence[Face | State]) -> list[Result]:
        """Score faces whose boxes are known (found, or tracked from an earlier frame)."""
        crops = [
            None if isinstance(f, str) else self.crop(image, f.box) for image, f in zip(frames, faces, strict=True)
        ]
        return self.judge_crops(crops, faces)

    def judge_crops(self, crops: Sequence[Frame | None], faces: Sequence[Face | State | None]) -> list[Result]:
        """Score crops (of a model of clips: clips) cut by this model's rule; where there is none, `faces` says why."""
        sharp = [None if crop is None else sharpness(crop) for crop in crops]
        least = self.min_sharpness or 0.0
        asked = [i for i, value in enumerate(sharp) if value is not None and value >= least]
        scores: dict[int, float] = {}
        seen: dict[int, npt.NDArray[np.float32]] = {}
        step = max(1, _BATCH // self.frames)
        for start in range(0, len(asked), step):
            part = asked[start : start + step]
            found, maps = self.model.score_and_map(np.stack([crop for i in part if (crop := crops[i]) is not None]))
            scores.update(zip(part, found.tolist(), strict=True))
            if maps is not None:
                seen.update(zip(part, maps, strict=True))
        results = []
        for i, (crop, face) in enumerate(zip(crops, faces, strict=True)):
            score = scores.get(i)
            state: State = face if isinstance(face, str) else "blurred" if score is None else self.decide(score)
            results.append(
                Result(
                    state, score, self.threshold, None if isinstance(face, str) else face, sharp[i], crop, seen.get(i)
                )
            )
        return results

    def decide(self, score: float) -> Literal["live", "spoof"]:
        """A score against the threshold; also of fused scores."""
        return "live" if score >= self.threshold else "spoof"

    def crop(self, frame: Frame, box: Box) -> Frame:
        """(S, S, 3): the plain crop (view 0) of a build."""
        affine = view_affine(box, 0, view_rng(0, "", "", 0, 0), self._view)
        return warp(frame, affine, self._view.size)

    def _largest(self, faces: Faces) -> Face | State:
        chosen = choose_face(faces, None, self._config)
        if chosen is None:
            return "too-small" if len(faces) else "no-face"
        return Face(faces.boxes[chosen], faces.points[chosen], float(faces.scores[chosen]), len(faces))
