"""Where the face is in each frame: the detector's face, the dataset's own, or on the line between two detections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tasks.config import BuildConfig, detector_of
from tasks.detect import Faces, choose_face
from tasks.errors import MediumError
from tasks.face import Face
from tasks.follow import follow
from tasks.read import Frame
from tasks.tracks import Box


def find_faces(batch: list[Face], config: BuildConfig) -> None:
    """Find the face that each frame is about; with `detect.every`, in as few frames of a video as it takes."""
    faces = [face for face in batch if face.error is None]
    detector = detector_of(config.detect)
    if detector is None:
        for face in faces:
            _choose(face, None, config)
        return

    def look(places: Sequence[int]) -> list[Box | None]:
        found = detector([faces[i].image for i in places])
        for i, candidates in zip(places, found, strict=True):
            _choose(faces[i], candidates, config)
        return [faces[i].box if faces[i].box_source == detector.name else None for i in places]

    runs: dict[tuple[str, int], list[int]] = {}
    for i, face in enumerate(faces):
        runs.setdefault((face.medium["path"], face.order // config.detect.every), []).append(i)
    for i, before, after in follow(list(runs.values()), look, config.detect.min_overlap):
        _place_between(faces[i], faces[before], faces[after])


def _place_between(face: Face, before: Face, after: Face) -> None:
    """Give a frame that nobody looked at its box, on the line between those of two that were."""
    share = (face.number - before.number) / (after.number - before.number)
    face.box = (before.box + share * (after.box - before.box)).astype(np.float32)
    if before.points is not None and after.points is not None:
        face.points = (before.points + share * (after.points - before.points)).astype(np.float32)
    face.box_source = "followed"


def _choose(face: Face, candidates: Faces | None, config: BuildConfig) -> None:
    """Take one of the detector's faces, told apart by the given box; or the given box itself."""
    detector = detector_of(config.detect)
    given, given_points = _given(face)
    chosen = None if candidates is None else choose_face(candidates, given, config.detect)
    if detector and candidates is not None and chosen is not None:
        face.box, face.score = candidates.boxes[chosen], float(candidates.scores[chosen])
        points = candidates.points[chosen]
        face.points = points if np.isfinite(points).all() else None
        face.box_source = detector.name
    elif given is not None and (detector is None or config.fallback_to_given):
        face.box, face.points = given, given_points
        face.error = _box_error(given, face.image, config.detect.min_size)
    elif candidates is None:
        face.error = MediumError("bad-box", "the dataset gives no box, and the detector is `given`")
    elif not len(candidates):
        face.error = MediumError("no-face", f"no face with a score of {config.detect.min_score:g} or more")
    elif (sides := candidates.boxes[:, 2:] - candidates.boxes[:, :2]).min(axis=1).max() < config.detect.min_size:
        face.error = MediumError("too-small", f"the largest face is {sides.max():.0f} px wide or high")
    else:
        face.error = MediumError("no-face", f"{len(candidates)} faces, but none where the dataset's box is")


def _given(face: Face) -> tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.float32] | None]:
    """The dataset's box (4,) and points (5, 2) in pixels of the frame."""
    if face.given is not None:
        given_box, given_points = face.given
        return given_box, given_points if np.isfinite(given_points).all() else None
    height, width = face.image.shape[:2]
    frame = face.medium["box_frame"]
    scale = np.array([width / frame[0], height / frame[1]] if frame else [1.0, 1.0], np.float32)
    box, points = face.medium["box"], face.medium["points"]
    return (
        None if box is None else (np.reshape(box, (2, 2)).astype(np.float32) * scale).ravel(),
        None if points is None else np.reshape(points, (5, 2)).astype(np.float32) * scale,
    )


def _box_error(box: npt.NDArray[np.float32], image: Frame, min_size: float) -> MediumError | None:
    x1, y1, x2, y2 = (float(v) for v in box)
    if not (np.isfinite(box).all() and x2 > 0 and y2 > 0 and x1 < image.shape[1] and y1 < image.shape[0]):
        return MediumError("bad-box", f"the dataset's box {x1:g}, {y1:g}, {x2:g}, {y2:g} is not in the picture")
    if not min(x2 - x1, y2 - y1) >= min_size:
        return MediumError("too-small", f"the dataset's box is {x2 - x1:g} x {y2 - y1:g} px")
    return None
