"""One shard from its media: read -> detect -> align -> judge -> depth -> views -> write, batch by batch.

Every medium ends as samples or as a row of the reject list with its reason; a bad one never stops the others. The bytes
depend on the plan and the config alone: not on batch size, worker, or how often a build was killed before.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable
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
from tasks.batches import Caution, batches, one_by_one
from tasks.config import BuildConfig, aligner_of
from tasks.depth import Depth, depth_map
from tasks.errors import MediumError, Stopped
from tasks.face import Face, Timings, timed
from tasks.find_faces import find_faces
from tasks.plan import ShardPlan
from tasks.quality import Quality, judge
from tasks.real_depth import real_depth_map
from tasks.sources.media import MEDIA_SCHEMA
from tasks.warp import Affine, affine_scale, apply_affine, warp

logger = logging.getLogger(__name__)

_PASSING = ("unreadable", "missing")  # by the machine's state that day, not by the file's content
_COPIED = ("dataset", "path", "split", "subject", "session", "label", "attack", "attack_detail", "extra")


def build_shard(
    plan: ShardPlan,
    config: BuildConfig,
    store_url: str | Path,
    should_stop: Callable[[], bool] = lambda: False,
    caution: Caution | None = None,
) -> tuple[ShardInfo, Timings]:
    """Build the shard of `plan` into the store and return what was committed, with the seconds of each stage.

    A complete shard of that name is verified and returned as it is, with no timings; where the plan has an origin its
    rows are copied, and built only if the origin is damaged. `should_stop` is asked before every batch; then, and on
    any other error, nothing of the shard is left. `caution` changes no byte but of what it refuses. Raises Stopped,
    StoreError, and BuildError for missing weights.
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
    rejects: Counter[str] = Counter()
    hashes: dict[str, str] = {}  # path -> of its content; empty where it could not be read: tried again next time
    faces = batches(plan, config, timings) if caution is None else one_by_one(plan, config, timings, caution)
    with shard_writer(store_url, plan.name, config.store, meta) as writer, faces as running:
        for batch in running:
            if should_stop():
                raise Stopped(f"shard {plan.name}: stopped on request; nothing of it was kept")
            with timed(timings, "detect"):
                find_faces(batch, config)
            with timed(timings, "align"):
                _align(batch, config)
            with timed(timings, "judge"):
                _judge(batch, config)
            for face in batch:
                samples = _samples(face, config, timings)
                with timed(timings, "write"):
                    if face.error is None:
                        writer.write(samples)
                    else:
                        rejects[face.error.reason] += 1
                        writer.reject(_reject_row(face, face.error))
                unread = face.error is not None and face.error.reason in _PASSING
                hashes[face.medium["path"]] = "" if unread else face.medium["sha256"]
        media = plan.media.select(MEDIA_SCHEMA.names)
        writer.media = media.append_column("sha256", pa.array([hashes[path] for path in media["path"].to_pylist()]))
    said = ", ".join(f"{count} {reason}" for reason, count in rejects.most_common())
    logger.info("%d samples of %d media; rejects: %s", writer.info.rows, len(plan.media), said or "none")
    return writer.info, timings


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
            with timed(timings, "depth"):
                depth, mask = _depth(face, affine, config)
            with timed(timings, "warp"):
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


__all__ = ["BuildConfig", "ShardPlan", "Timings", "build_shard"]
