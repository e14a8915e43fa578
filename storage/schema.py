"""The one place that lists what a store holds: columns, rejects, samples and their invariants."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from storage.errors import BadSample, UnknownVersion

# What is written. A reader takes this version and the one before, so that a store outlives an upgrade: its shards are
# immutable and stay as they were written, next to newer ones.
#   1  the first
#   2  + a list of media beside every shard (storage/media_list.py); images as PNG; JPEG with halved colour, declared as
#      image_subsampling
SCHEMA_VERSION = 2
LIVE, SPOOF = 0, 1
_NAMING = ("dataset", "path", "frame", "view")  # what a sample_id is made of


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


COLUMNS: pa.Schema = pa.schema(
    [
        _required("sample_id", pa.string()),  # 16 hex of sha256(dataset|path|frame|view)
        _required("dataset", pa.string()),
        _required("path", pa.string()),  # of the medium, posix, relative to the dataset's root
        _required("frame", pa.int32()),  # 0 for an image
        _required("view", pa.int16()),  # 0 = the plain crop
        _required("split", pa.string()),
        _required("subject", pa.string()),
        _required("session", pa.string()),
        _required("label", pa.int8()),  # live = 0, spoof = 1
        _required("attack", pa.string()),  # "" for live
        _required("attack_detail", pa.string()),  # the dataset's own finer name
        _required("box", pa.list_(pa.float32(), 4)),  # x1, y1, x2, y2 in px of the frame
        _required("box_source", pa.string()),  # detector name, "followed" (between two detections) or "given"
        _required("score", pa.float32()),  # detector's
        pa.field("points", pa.list_(pa.float32(), 10), nullable=True),  # 5 landmarks x, y in px of the frame
        _required("crop", pa.list_(pa.float64(), 6)),  # the (2, 3) affine, frame px -> crop px, row-major
        _required("confidence", pa.float32()),  # aligner's, [0, 1]; NaN = not aligned
        # How good the alignment is, each in [0, 1]; null = not judged (a spoof whose face was not aligned, a part that
        # was not to be had). `confidence` is a part of it as well.
        pa.field("quality", pa.float32(), nullable=True),  # the lowest of the parts
        pa.field("quality_landmarks", pa.float32(), nullable=True),  # detector's points lie on the mesh's
        pa.field("quality_inside", pa.float32(), nullable=True),  # share of the mesh inside picture and plain crop
        pa.field("quality_agreement", pa.float32(), nullable=True),  # a second look at the face gives the same mesh
        _required("source_size", pa.int64()),  # bytes of the medium
        _required("source_mtime_ns", pa.int64()),
        _required("extra", pa.string()),  # JSON, whatever the dataset adds
    ]
)

REJECT_COLUMNS: pa.Schema = pa.schema(
    [
        _required("dataset", pa.string()),
        _required("path", pa.string()),
        _required("frame", pa.int32()),  # -1 = the whole medium
        _required("split", pa.string()),
        _required("label", pa.int8()),
        _required("attack", pa.string()),
        _required("reason", pa.string()),  # short stable slug
        _required("detail", pa.string()),
        pa.field("quality", pa.float32(), nullable=True),  # as in COLUMNS; null = rejected before it was judged
        _required("source_size", pa.int64()),
        _required("source_mtime_ns", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Sample:
    """One row: a face crop, its pseudo-depth, and everything that is known of it.

    image: (H, W, 3) uint8 RGB.
    depth: (H, W) uint8 or uint16, near = large, 0 = background; None (or all zero) for a spoof.
    columns: a value for every name of COLUMNS; `sample_id` may be left out (it is derived), as may what may be null.
    mask: (H, W) bool, where the face of a spoof is, or None; a live sample's mask is its depth > 0.
    """

    image: np.ndarray
    depth: np.ndarray | None
    columns: Mapping[str, Any]
    mask: np.ndarray | None = None


def sample_id(dataset: str, path: str, frame: int, view: int) -> str:
    """16 hex digits that name one row, the same in every build."""
    return hashlib.sha256(f"{dataset}|{path}|{frame}|{view}".encode()).hexdigest()[:16]


def check_version(version: object, where: object) -> int:
    """`version` if this code reads it; raises UnknownVersion that says what to do."""
    if type(version) is int and SCHEMA_VERSION - 1 <= version <= SCHEMA_VERSION:
        return version
    newer = type(version) is int and version > SCHEMA_VERSION
    advice = "written by a newer release: upgrade pseudodepth" if newer else "damaged: run `pseudodepth verify`"
    raise UnknownVersion(
        f"{where}: schema version {version!r}; this pseudodepth reads {SCHEMA_VERSION - 1} and {SCHEMA_VERSION}. "
        f"The file is {advice}."
    )


def rows_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table of exactly `schema`; raises BadSample that names the medium and the column."""
    names, needed = set(schema.names), [field.name for field in schema if not field.nullable]
    for row in rows:
        missing, unknown = [name for name in needed if row.get(name) is None], row.keys() - names
        if missing or unknown:
            raise BadSample(
                f"{_medium(row)}: missing columns {missing}, unknown columns {sorted(unknown)}; see storage/schema.py"
            )
        for name, value in row.items():
            if isinstance(value, str) and "\0" in value:
                raise BadSample(f"{_medium(row)}: column {name} has a NUL character, which HDF5 strings cannot hold")
    try:
        return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    except (pa.ArrowException, UnicodeError, TypeError, ValueError, OverflowError) as error:
        raise BadSample(
            f"rows from {_medium(rows[0]) if rows else '?'} on: a value does not fit its column: {error}"
        ) from error


def _medium(row: Mapping[str, Any]) -> str:
    return f"{row.get('dataset', '?')}:{row.get('path', '?')}"


def check_sample(sample: Sample) -> np.ndarray | None:
    """The depth map to store (None for a spoof); raises BadSample if an invariant is broken.

    A live sample must have depth somewhere and a spoof nowhere: a model learns the label from exactly that, so one
    wrong row is worse than a missing one.
    """
    has_depth = sample.depth is not None and bool(sample.depth.any())
    if problem := _problem(sample, has_depth=has_depth):
        row = sample.columns
        raise BadSample(f"{_medium(row)} frame {row.get('frame', '?')} view {row.get('view', '?')}: {problem}")
    return sample.depth if has_depth else None


def _problem(sample: Sample, *, has_depth: bool) -> str | None:
    image, depth, mask, row = sample.image, sample.depth, sample.mask, sample.columns
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        return f"image is {image.dtype} {image.shape}, expected uint8 (H, W, 3)"
    if depth is not None and (depth.dtype not in (np.uint8, np.uint16) or depth.shape != image.shape[:2]):
        return f"depth is {depth.dtype} {depth.shape}, expected uint8 or uint16 {image.shape[:2]}"
    if missing := [name for name in _NAMING if row.get(name) is None]:
        return f"missing columns {missing}; see storage/schema.py"
    label = row.get("label")
    if label not in (LIVE, SPOOF):
        return f"label {label!r}, expected live = 0 or spoof = 1"
    if label == LIVE and not has_depth:
        return "a live sample with no depth at all; reject the medium instead of storing it"
    if label == SPOOF and has_depth:
        return "a spoof with depth; a spoof's pseudo-depth is zero everywhere, pass None"
    if mask is not None and (mask.dtype != np.bool_ or mask.shape != image.shape[:2] or label == LIVE):
        return f"mask is {mask.dtype} {mask.shape}, expected bool {image.shape[:2]}, of a spoof only"
    if (label == LIVE) != (row.get("attack") == ""):
        return f"label {label} with attack {row.get('attack')!r}; attack is '' for live only"
    given = row.get("sample_id")
    if given is not None and given != (derived := sample_id(*(row[name] for name in _NAMING))):
        return f"sample_id {given!r}, expected {derived!r}; leave it out to have it filled in"
    return None
