"""A picture, a video, a folder of them or a store → one prediction each, without torch and without Prefect.

pseudodepth predict PICTURE --model shipped/model --json
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from flows.predictor import Predictor, Result
from liveness.errors import ModelError
from storage.clips import clips_of
from storage.location import SNAPSHOTS
from storage.snapshot import Snapshot, open_snapshot
from tasks.errors import BuildError, MediumError
from tasks.read import Frame, ReadConfig, read_frames
from tasks.sources.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES

Fusion = Literal["mean", "median", "max", "min"]
_FUSE: dict[str, Callable[[Sequence[float]], np.floating]] = {
    "mean": np.mean,
    "median": np.median,
    "max": np.max,
    "min": np.min,
}
_BATCH = 64  # crops of a store read together, in clips or not


@dataclass(frozen=True)
class Prediction:
    """One medium or one sample of a store.

    state: live, spoof, no-face, too-small, blurred, no-clip or unreadable. score: None unless live or spoof; of a video
    it is fused from the frames that have one. reason: why there is no score. frames: a video's frames, each as
    `Result.to_json` with its number; a picture's one result is in `face`. A model of clips scores those of a video in
    place of its frames, each by the number of its last.
    """

    path: str
    state: str
    score: float | None
    threshold: float
    reason: str
    face: dict[str, Any] | None
    frames: list[dict[str, Any]] | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `positive_class` says which way the score points."""
        return {**vars(self), "positive_class": "live"}


def predict(
    target: str, predictor: Predictor, *, frames: int = 8, fusion: Fusion = "mean", split: str | None = None
) -> Iterator[Prediction]:
    """Predictions of a picture, a video, all media below a folder (in path order), or a store (`split` of it).

    `frames` are taken of a video, evenly; for a model of clips so many clips, as a build takes them. A medium that
    cannot be read or holds no clip is a prediction too, with its reason, as is a store's frame in no clip. Raises
    BuildError for a target that is not there or a folder without media, ModelError for a store that was cut by another
    rule than the model's, StoreError for a damaged one.
    """
    path = Path(target)
    if "://" in target or (path / SNAPSHOTS).is_dir() or ("@" in path.name and not path.exists()):
        return _of_store(open_snapshot(target), predictor, split)
    if path.is_dir():
        media = list(_media_below(path))
        if not media:
            known = " ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
            raise BuildError(f"{path}: no picture and no video in it; looked for {known}")
        return (_of_medium(medium, predictor, frames, fusion) for medium in media)
    if not path.exists():
        raise BuildError(f"{path}: no such file or folder; expected a picture, a video, a folder of them or a store")
    return iter([_of_medium(path, predictor, frames, fusion)])


def _media_below(root: Path) -> Iterator[Path]:
    for folder, inner, names in os.walk(root):
        inner.sort()
        for name in sorted(names):
            if Path(name).suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
                yield Path(folder, name)


def _of_medium(path: Path, predictor: Predictor, frames: int, fusion: Fusion) -> Prediction:
    kind = "video" if path.suffix.lower() in VIDEO_SUFFIXES else "image"
    found: list[tuple[int, Result]] = []
    broken = ""
    read = ReadConfig(n=frames)
    if predictor.frames > 1:
        if kind == "image":
            return _no_clip(str(path), predictor, "a picture")
        read = ReadConfig(frames="clips", n=frames, clip_frames=predictor.frames, clip_interval=predictor.interval)
    clip: list[Frame] = []
    try:
        for number, frame in read_frames(path, kind, read):
            clip.append(frame)
            if len(clip) == predictor.frames:
                found.append((number, predictor.score_clip(clip)))
                clip = []
        if clip:
            broken = f"it ends {len(clip)} frames into a clip of {predictor.frames}, before its index says so"
    except MediumError as error:
        if error.reason == "too-short":
            return _no_clip(str(path), predictor, error.detail)
        broken = str(error)
    results = [result for _, result in found]
    if not results:
        return Prediction(str(path), "unreadable", None, predictor.threshold, broken, None, None)
    if kind == "image":
        return _of_result(str(path), results[0])
    scores = [result.score for result in results if result.score is not None]
    each = [{"frame": number, **result.to_json()} for number, result in found]
    if scores:
        score = float(_FUSE[fusion](scores))
        return Prediction(str(path), predictor.decide(score), score, predictor.threshold, broken, None, each)
    state, count = Counter(result.state for result in results).most_common(1)[0]
    of = "frames" if predictor.frames == 1 else "clips"
    reason = f"{state} in {count} of {len(results)} {of}" + (f"; {broken}" if broken else "")
    return Prediction(str(path), state, None, predictor.threshold, reason, None, each)


def _no_clip(path: str, predictor: Predictor, what: str) -> Prediction:
    reason = f"{what}; the model takes {predictor.frames} frames of a video, {predictor.interval} apart"
    return Prediction(path, "no-clip", None, predictor.threshold, reason, None, None)


def _of_result(path: str, result: Result) -> Prediction:
    reason = "" if result.score is not None else _REASONS[result.state]
    return Prediction(path, result.state, result.score, result.threshold, reason, result.to_json(), None)


_REASONS = {
    "no-face": "no face was found",
    "too-small": "the largest face is smaller than the model takes; come closer",
    "blurred": "the face is less sharp than any that the model learned from; hold still, or clean the lens",
}


def _of_store(snapshot: Snapshot, predictor: Predictor, split: str | None) -> Iterator[Prediction]:
    _check_crops(snapshot, predictor)
    for shard in snapshot.shards:
        reader = snapshot.open(shard)
        columns = reader.columns(["dataset", "path", "frame", "view", "split"])
        table = columns.to_pylist()
        names = [f"{row['dataset']}:{row['path']}#{row['frame']}" for row in table]
        asked = np.array([row["view"] == 0 and split in (None, row["split"]) for row in table], bool)
        clips = clips_of(columns, predictor.frames, predictor.interval)  # a build leaves a video's frames in one shard
        clips = clips[asked[clips].all(axis=1)]
        step = max(1, _BATCH // predictor.frames)
        for start in range(0, len(clips), step):
            part = clips[start : start + step]
            images, _ = reader.read(part.reshape(-1))
            crops = images if predictor.frames == 1 else images.reshape(*part.shape, *images.shape[1:])
            for i, result in zip(part[:, -1], predictor.judge_crops(list(crops), [None] * len(part)), strict=True):
                yield _of_result(names[i], result)
        asked[clips] = False
        for i in np.flatnonzero(asked):
            yield _no_clip(names[i], predictor, "a frame outside of the clips")


def _check_crops(snapshot: Snapshot, predictor: Predictor) -> None:
    rule = predictor.card.crop
    view = snapshot.config.get("view", {})
    theirs = snapshot.config.get("detect", {}).get("detector"), view.get("margin"), view.get("size")
    if theirs != (rule.detector, rule.margin, rule.size):
        raise ModelError(
            f"{snapshot.root}: its faces were cut by (detector, margin, size) {theirs}, the model takes "
            f"{(rule.detector, rule.margin, rule.size)}: the scores would mean nothing. Predict the pictures themselves"
        )
