"""The media of a shard as batches of frames: read ahead of the networks, or, after a death, one medium at a time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.config import BuildConfig, detector_of
from tasks.content import content_sha256
from tasks.errors import MediumError
from tasks.face import Face, Timings, timed
from tasks.nearby import nearby
from tasks.plan import ShardPlan
from tasks.read import check_file, read_frames
from tasks.read_ahead import ReadAhead
from tasks.recordings import read_recording
from tasks.tracks import read_track
from tasks.upright import choose_turn, turned

_READ_AHEAD_BYTES = 256 << 20  # decoded frames held ahead; 16 frames of 4K are 400 MB
_BATCH_BYTES = 256 << 20


@dataclass(frozen=True)
class Caution:
    """For a shard whose worker died: one medium at a time, so that the one that kills is known.

    `before` is told each medium's path, and must have made it known elsewhere when it returns. `refused` are the paths
    that have killed too often: they become rejects.
    """

    before: Callable[[str], None]
    refused: frozenset[str] = frozenset()


@contextmanager
def batches(plan: ShardPlan, config: BuildConfig, timings: Timings) -> Iterator[Iterator[list[Face]]]:
    """Batches of at most `config.batch` frames; decoding goes on beside whoever uses them."""
    frames = _read(plan.root, plan.media.to_pylist(), config, timings)
    with ReadAhead(frames, lambda face: face.image.nbytes, _READ_AHEAD_BYTES) as ahead:
        yield _batches(ahead, config, timings)


def one_by_one(
    plan: ShardPlan, config: BuildConfig, timings: Timings, caution: Caution
) -> AbstractContextManager[Iterator[list[Face]]]:
    """Batches of one medium each, which is not read before the last one is through."""
    return closing(_one_by_one(plan, config, timings, caution))


def _one_by_one(
    plan: ShardPlan, config: BuildConfig, timings: Timings, caution: Caution
) -> Generator[list[Face], None, None]:
    for medium in plan.media.to_pylist():
        if medium["path"] in caution.refused:
            error = MediumError("worker-died", "the process that worked on it was killed each time; out of memory?")
            for root, known in nearby(plan.root, [medium]):
                known["sha256"] = content_sha256(root / known["path"])  # it is not tried again until it changes
                yield [Face(known, -1, np.zeros((0, 0, 3), np.uint8), error)]
            continue
        caution.before(medium["path"])
        yield from _batches(_read(plan.root, [medium], config, timings), config, timings)


def _read(root_url: str, media: list[dict[str, Any]], config: BuildConfig, timings: Timings) -> Iterator[Face]:
    """Every frame of every medium; what cannot be read comes as a face with an error."""
    for root, medium in nearby(root_url, media):
        number = -1
        started = time.perf_counter()
        medium["sha256"] = content_sha256(root / medium["path"])
        try:
            for order, face in enumerate(_faces(root, medium, config)):
                timings["read"] += time.perf_counter() - started
                number, face.order = face.number, order
                yield face
                started = time.perf_counter()
        except MediumError as error:
            # after good frames: the rest of a video that breaks off, noted at the first frame that is missing
            missing = number + 1 if number >= 0 else -1
            # without the root: where a dataset lies must not change a shard's bytes
            error = MediumError(error.reason, error.detail.replace(f"{root}/", ""))
            yield Face(medium, missing, np.zeros((0, 0, 3), np.uint8), error)
        timings["read"] += time.perf_counter() - started


def _faces(root: Path, medium: dict[str, Any], config: BuildConfig) -> Iterator[Face]:
    """The frames of one medium, upright, with the dataset's own face in each where it ships one.

    Raises MediumError as `read_frames` and `read_track` do.
    """
    extra = json.loads(medium["extra"])
    if medium["kind"] == "recording":
        yield from _recorded(root / medium["path"], medium, extra, config)
        return
    track = read_track(root, extra["track"]) if "track" in extra else None
    turns, turn = extra.get("turns"), None
    for number, image in read_frames(root / medium["path"], medium["kind"], config.read):
        if turns and turn is None and (detector := detector_of(config.detect)):
            turn = choose_turn(image, turns, detector)
            if turn is not None:
                medium = {**medium, "extra": json.dumps({**extra, "turned": turn})}
        if turn:  # the dataset's boxes are in the picture as it was
            yield Face(medium, number, turned(image, turn))
        else:
            yield Face(medium, number, image, given=track.at(number) if track else None)


def _recorded(path: Path, medium: dict[str, Any], extra: dict[str, Any], config: BuildConfig) -> Iterator[Face]:
    """The frames of a recording; a live one carries what the depth camera measured, if that is to be the depth."""
    check_file(path)
    for frame in read_recording(path, config.read):
        face = Face(medium, frame.number, frame.image, given=frame.given)
        if face.live and frame.distance is not None and config.depth.source == "real":
            face.medium = {**medium, "extra": json.dumps({**extra, "depth_real": True})}
            face.distance = frame.distance
        yield face


def _batches(faces: Iterable[Face], config: BuildConfig, timings: Timings) -> Iterator[list[Face]]:
    """Batches of at most `config.batch` frames, fewer where they are large; a run of frames that is followed stays in
    one.
    """
    batch: list[Face] = []
    held = 0
    items = iter(faces)
    while True:
        with timed(timings, "wait"):
            face = next(items, None)
        full = face is None or len(batch) >= config.batch or held + face.image.nbytes > _BATCH_BYTES
        if batch and full and (face is None or face.order % config.detect.every == 0):
            yield batch
            batch, held = [], 0
        if face is None:
            return
        batch.append(face)
        held += face.image.nbytes
