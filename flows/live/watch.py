"""One stream, frame by frame: find or follow the face, score it, fuse the scores, say a state.

>>> watch = Watch(Predictor("shipped/model"))
>>> watch.see(frame).state  # "live", "spoof", "no-face", "look-at-the-camera", "wait", "too-small" or "blurred"
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from flows.live.fusion import Fusion, FusionConfig
from flows.live.patch import Patch
from flows.predictor import Face, Predictor, Result
from flows.predictor import State as FrameState
from liveness.errors import ModelError
from tasks.follow import overlap
from tasks.read import Frame

State = Literal["live", "spoof", "wait", "look-at-the-camera", "no-face", "too-small", "blurred"]
STATES: tuple[State, ...] = get_args(State)

# measured on the simulation's film: the same face 0.3 s later is 0.87 or more like itself
_ALIKE = 0.7
# overlap of two detections from which on they are the same face; of frames in sequence it is 0.93 or more
_SAME = 0.3


class WatchConfig(BaseModel):
    """How a stream is watched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: int = Field(default=5, ge=1, le=60, description="detect in every so many frames, follow between them")
    # measured on rendered heads: 0.1 is 8 degrees, 0.25 20, 0.4 32
    max_turn: float = Field(
        default=0.25, gt=0, description="of the nose from between the eyes, in distances of the eyes: further is away"
    )
    fusion: FusionConfig = FusionConfig()


@dataclass(frozen=True)
class Sight:
    """What is known after a frame. score: fused, None unless `state` is live or spoof; frame: this frame alone.

    frames: how many scores are fused; turn: of the head, see `turn_of`; detected: the box is the detector's, not
    followed.
    """

    state: State
    score: float | None
    frame: Result
    frames: int
    turn: float | None
    detected: bool

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `positive_class` says which way the scores point."""
        frame = self.frame.to_json()
        return {
            "state": self.state,
            "score": self.score,
            "threshold": frame["threshold"],
            "positive_class": "live",
            "frame_score": frame["score"],
            "fused_frames": self.frames,
            "box": frame["box"],
            "faces": frame["faces"],
            "turn": None if self.turn is None else round(self.turn, 3),
            "sharpness": frame["sharpness"],
            "detected": self.detected,
        }


class Watch:
    """The memory of one stream; frames go in as they come. One instance serves one stream, in one thread."""

    def __init__(self, predictor: Predictor, config: WatchConfig | None = None) -> None:
        """Begin a stream; raises ModelError for a model of clips, which cannot say anything of a frame."""
        if predictor.frames > 1:
            raise ModelError(
                f"{predictor.model.folder}: it scores clips of {predictor.frames} frames, `live` judges each frame as "
                "it comes; export a model of single frames (of FAS-SGTD its first stage, fas-sgtd-single)"
            )
        self._predictor = predictor
        self._config = config or WatchConfig()
        self._fusion = Fusion(self._config.fusion)
        self._face: Face | None = None
        self._patch: Patch | None = None
        self._since = 0  # frames since the last detection

    def see(self, image: Frame) -> Sight:
        """Judge one frame (H, W, 3) uint8 RGB."""
        followed = self._follow(image)
        found = self._detect(image) if followed is None else followed
        turn = None if isinstance(found, str) else turn_of(found.points)
        away = turn is not None and abs(turn) > self._config.max_turn
        result = self._predictor.judge([image], [found])[0]
        fused = self._fusion.add(None if away else result.score)
        state: State
        if away:
            state = "look-at-the-camera"
        elif result.score is None:
            state = result.state
        else:
            state = "wait" if fused is None else self._predictor.decide(fused)
        return Sight(state, fused, result, len(self._fusion), turn, detected=followed is None)

    def _follow(self, image: Frame) -> Face | None:
        """The face of the last frame in this one; None if it is time to detect, or it cannot be followed."""
        if self._face is None or self._patch is None or self._since + 1 >= self._config.every:
            return None
        box, alike = self._patch.follow(image)
        if alike < _ALIKE:  # something came between: what was seen until now says nothing about it
            self._forget()
            return None
        self._since += 1
        shift = box[:2] - self._face.box[:2]
        self._face = replace(self._face, box=box, points=self._face.points + shift)
        return self._face

    def _detect(self, image: Frame) -> Face | FrameState:
        """The largest face now; whoever is not where the last one was starts without a past."""
        found = self._predictor.find([image])[0]
        self._since = 0
        if isinstance(found, str):
            self._forget()
            return found
        if self._face is None or overlap(self._face.box, found.box) < _SAME:
            self._forget()
        self._face, self._patch = found, Patch(image, found.box)
        return found

    def _forget(self) -> None:
        self._face = self._patch = None
        self._fusion.forget()


def turn_of(points: NDArray[np.float32]) -> float | None:
    """How far a head is turned, from its five points (5, 2) px: the nose's way from between the eyes, along them.

    In distances between the eyes, + towards image right; None where the points are not known.
    """
    left, right, nose = (points[i].astype(np.float64) for i in range(3))
    eyes = right - left
    squared = float(eyes @ eyes)
    if not squared > 0:  # NaN too
        return None
    return float((nose - (left + right) / 2) @ eyes) / squared
