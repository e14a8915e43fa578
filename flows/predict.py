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
from storage.location import SNAPSHOTS
from storage.snapshot import Snapshot, open_snapshot
from tasks.errors import BuildError, MediumError
from tasks.read import ReadConfig, read_frames
from tasks.sources.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES

Fusion = Literal["mean", "median", "max", "min"]
_FUSE: dict[str, Callable[[Sequence[float]], np.floating]] = {
    "mean": np.mean,
    "median": np.median,
    "max": np.max,
    "min": np.min,
}
_BATCH = 64  # crops of a store read together


@dataclass(frozen=True)
class Prediction:
    """One medium or one sample of a store.

    state: live, spoof, no-face, too-small, blurred or unreadable. score: None unless live or spoof; of a video it is
    fused from the frames that have one. reason: why there is no score. frames: a video's frames, each as
    `Result.to_json` with its number; a picture's one result is in `face`.
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

    `frames` are taken of a video, evenly. A medium that cannot be read is a prediction too, with its reason. Raises
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
    try:
        for number, frame in read_frames(path, kind, ReadConfig(n=frames)):
            found.append((number, predictor.score([frame])[0]))
    except MediumError as error:
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
    reason = f"{state} in {count} of {len(results)} frames" + (f"; {broken}" if broken else "")
    return Prediction(str(path), state, None, predictor.threshold, reason, None, each)


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
        table = reader.columns(["dataset", "path", "frame", "view", "split"]).to_pylist()
        rows = [i for i, row in enumerate(table) if row["view"] == 0 and split in (None, row["split"])]
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            images, _ = reader.read(np.array(part))
            for i, result in zip(part, predictor.judge_crops(list(images), [None] * len(part)), strict=True):
                row = table[i]
                yield _of_result(f"{row['dataset']}:{row['path']}#{row['frame']}", result)


def _check_crops(snapshot: Snapshot, predictor: Predictor) -> None:
    rule = predictor.card.crop
    view = snapshot.config.get("view", {})
    theirs = snapshot.config.get("detect", {}).get("detector"), view.get("margin"), view.get("size")
    if theirs != (rule.detector, rule.margin, rule.size):
        raise ModelError(
            f"{snapshot.root}: its faces were cut by (detector, margin, size) {theirs}, the model takes "
            f"{(rule.detector, rule.margin, rule.size)}: the scores would mean nothing. Predict the pictures themselves"
        )
