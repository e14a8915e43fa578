"""One shard from its media: read -> detect -> align -> judge -> depth -> views -> write, batch by batch.

Every medium ends as samples or as a row of the reject list with its reason; a bad one never stops the others. The bytes
depend on the plan and the config alone: not on batch size, worker, or how often a build was killed before.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from prnet.rasterize import rasterize
from storage.errors import Damaged
from storage.rewrite import copy_media
from storage.schema import Sample
from storage.shard_info import ShardInfo
from storage.writer import existing_shard, shard_writer
from tasks.align import Alignment, align
from tasks.augment import view_affine, view_rng
from tasks.config import BuildConfig, aligner_of, detector_of
from tasks.content import content_sha256
from tasks.depth import Depth, depth_map
from tasks.errors import MediumError, Stopped
from tasks.find_faces import Face, find_faces
from tasks.nearby import nearby
from tasks.plan import ShardPlan
from tasks.quality import Quality, judge
from tasks.read import check_file, read_frames
from tasks.read_ahead import ReadAhead
from tasks.real_depth import real_depth_map
from tasks.recordings import read_recording
from tasks.sources.media import MEDIA_SCHEMA
from tasks.tracks import read_track
from tasks.upright import choose_turn, turned
from tasks.warp import Affine, affine_scale, apply_affine, warp

Timings = dict[str, float]  # stage -> seconds; `read` runs beside the others, `wait` is what they waited for it

_READ_AHEAD_BYTES = 256 << 20  # decoded frames held ahead; 16 frames of 4K are 400 MB
_BATCH_BYTES = 256 << 20
_PASSING = ("unreadable", "missing")  # by the machine's state that day, not by the file's content
_COPIED = ("dataset", "path", "split", "subject", "session", "label", "attack", "attack_detail", "extra")


def build_shard(
    plan: ShardPlan, config: BuildConfig, store_url: str | Path, should_stop: Callable[[], bool] = lambda: False
) -> tuple[ShardInfo, Timings]:
    """Build the shard of `plan` into the store and return what was committed, with the seconds of each stage.

    A complete shard of that name is verified and returned as it is, with no timings; where the plan has an origin its
    rows are copied, and built only if the origin is damaged. `should_stop` is asked before every batch; then, and on
    any other error, nothing of the shard is left. Raises Stopped, StoreError, and BuildError
    for missing weights.
    """
    earlier = existing_shard(store_url, plan.name)
    if earlier is not None:
        return earlier, {}
    if plan.origin is not None:
        try:
            return copy_media(store_url, plan.origin, plan.name, plan.media), {}
        except Damaged:
            if not plan.root:  # of a dataset that this build does not know
                raise
    timings: Timings = dict.fromkeys(("read", "wait", "detect", "align", "judge", "warp", "depth", "write"), 0.0)
    meta = {
        "dataset": plan.dataset,
        "split": plan.split,
        "config": plan.config_digest,
        "depth": config.depth.model_dump(mode="json"),
        **config.models(),
    }
    frames = ReadAhead(_read(plan, config, timings), lambda face: face.image.nbytes, _READ_AHEAD_BYTES)
    hashes: dict[str, str] = {}  # path -> of its content; empty where it could not be read: tried again next time
    with shard_writer(store_url, plan.name, config.store, meta) as writer, frames:
        for batch in _batches(frames, config, timings):
            if should_stop():
                raise Stopped(f"shard {plan.name}: stopped on request; nothing of it was kept")
            with _timed(timings, "detect"):
                find_faces(batch, config)
            with _timed(timings, "align"):
                _align(batch, config)
            with _timed(timings, "judge"):
                _judge(batch, config)
            for face in batch:
                samples = _samples(face, config, timings)
                with _timed(timings, "write"):
                    if face.error is None:
                        writer.write(samples)
                    else:
                        writer.reject(_reject_row(face, face.error))
                unread = face.error is not None and face.error.reason in _PASSING
                hashes[face.medium["path"]] = "" if unread else face.medium["sha256"]
        media = plan.media.select(MEDIA_SCHEMA.names)
        writer.media = media.append_column("sha256", pa.array([hashes[path] for path in media["path"].to_pylist()]))
    return writer.info, timings


def _read(plan: ShardPlan, config: BuildConfig, timings: Timings) -> Iterator[Face]:
    """Every frame of every medium; what cannot be read comes as a face with an error."""
    for root, medium in nearby(plan.root, plan.media.to_pylist()):
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
        with _timed(timings, "wait"):
            face = next(items, None)
        full = face is None or len(batch) >= config.batch or held + face.image.nbytes > _BATCH_BYTES
        if batch and full and (face is None or face.order % config.detect.every == 0):
            yield batch
            batch, held = [], 0
        if face is None:
            return
        batch.append(face)
        held += face.image.nbytes


def _align(batch: list[Face], config: BuildConfig) -> None:
    """Dense vertices for the live faces; a spoof's depth is zero by definition and needs none, its mask does."""
    faces = [face for face in batch if face.error is None and (face.live or config.depth.spoof_mask)]
    if not faces:
        return
    boxes = np.stack([face.box for face in faces])
    aligner = aligner_of(config.align)
    results = align([face.image for face in faces], boxes, [face.points for face in faces], aligner)
    for face, result in zip(faces, results, strict=True):
        if np.isfinite(result.vertices).all():
            face.alignment = result
        elif face.live:
            face.error = MediumError("align-failed", "the aligner gave vertices that are not finite")


def _judge(batch: list[Face], config: BuildConfig) -> None:
    """The quality of every alignment; a live face below the threshold ends here, a spoof's label needs no mesh."""
    judged: list[tuple[Face, Alignment, Affine]] = []
    for face in batch:
        if face.error is None and face.alignment is not None:
            try:
                judged.append((face, face.alignment, _view(face, 0, config)))
            except MediumError as error:
                face.error = error
    if not judged:
        return
    faces, alignments, crops = zip(*judged, strict=True)
    found = judge(
        [face.image for face in faces],
        [face.points for face in faces],
        crops,
        config.view.size,
        alignments,
        aligner_of(config.align),
        config.quality,
    )
    for face, quality in zip(faces, found, strict=True):
        face.quality = quality
        if face.live and quality.value < config.quality.min_quality:
            face.error = MediumError("low-quality", f"quality {quality}, below {config.quality.min_quality:g}")


def _samples(face: Face, config: BuildConfig, timings: Timings) -> list[Sample]:
    """All views of a frame, or none: then `face.error` says why."""
    samples: list[Sample] = []
    if face.error is not None:
        return samples
    row = {name: face.medium[name] for name in _COPIED} | {
        "frame": face.number,
        "box": face.box.tolist(),
        "box_source": face.box_source,
        "score": face.score,
        "points": None if face.points is None else face.points.ravel().tolist(),
        **_quality_columns(face.quality),
        "source_size": face.medium["size"],
        "source_mtime_ns": face.medium["mtime_ns"],
    }
    try:
        for view in range(config.view.views):
            affine = _view(face, view, config)
            with _timed(timings, "depth"):
                depth, mask = _depth(face, affine, config)
            with _timed(timings, "warp"):
                image = warp(face.image, affine, config.view.size)
            samples.append(Sample(image, depth, {**row, "view": view, "crop": affine.ravel().tolist()}, mask))
    except MediumError as error:
        face.error = error
    return samples


def _view(face: Face, view: int, config: BuildConfig) -> Affine:
    # in a clip a view must not jump from frame to frame: one draw for the whole video
    number = 0 if config.read.frames == "clips" else face.number
    rng = view_rng(config.seed, face.medium["dataset"], face.medium["path"], number, view)
    return view_affine(face.box, view, rng, config.view)


def _depth(face: Face, affine: Affine, config: BuildConfig) -> tuple[Depth | None, npt.NDArray[np.bool_] | None]:
    """Depth of a live face, mask of a spoof that was aligned.

    The vertices are moved into the crop and rasterised there: depth is never resampled.
    """
    if face.alignment is None:  # a spoof: live frames without an error are aligned
        return None, None
    vertices = face.alignment.vertices
    moved = np.column_stack([apply_affine(affine, vertices[:, :2]), vertices[:, 2] * affine_scale(affine)])
    triangles = aligner_of(config.align).triangles
    if not face.live:
        flat = moved * [1, 1, 0] + [0, 0, 1]
        return None, rasterize(flat, triangles, (config.view.size, config.view.size), config.depth.rule) > 0
    if face.distance is not None:
        depth = real_depth_map(face.distance, vertices, triangles, affine, config.view.size, config.depth)
    else:
        depth = depth_map(moved, triangles, config.view.size, config.depth)
    if not depth.any():
        raise MediumError("align-failed", "the aligned face lies outside its crop")
    return depth, None


def _quality_columns(quality: Quality | None) -> dict[str, float | None]:
    if quality is None:
        return {"confidence": math.nan}
    return {
        "confidence": quality.confidence,
        "quality": quality.value,
        "quality_landmarks": quality.landmarks,
        "quality_inside": quality.inside,
        "quality_agreement": quality.agreement,
    }


def _reject_row(face: Face, error: MediumError) -> dict[str, Any]:
    medium = face.medium
    # a picture has one frame: without it, the whole medium is out
    frame = -1 if medium["kind"] == "image" else face.number
    return {name: medium[name] for name in ("dataset", "path", "split", "label", "attack")} | {
        "frame": frame,
        "reason": error.reason,
        "detail": error.detail,
        "quality": None if face.quality is None else face.quality.value,
        "source_size": medium["size"],
        "source_mtime_ns": medium["mtime_ns"],
    }


@contextmanager
def _timed(timings: Timings, stage: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        timings[stage] += time.perf_counter() - started


__all__ = ["BuildConfig", "ShardPlan", "Timings", "build_shard"]
