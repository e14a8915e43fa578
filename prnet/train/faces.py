"""What PRNet learns from: faces with a known mesh, cut out of their pictures, in a folder read without decoding.

A face is kept as a *window*, a square that shows 1.5 times as much as the network's crop, so that a crop can be turned,
moved and scaled inside it without running out of picture. It is as fine as the crop: a pixel here is a pixel there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prnet.errors import WeightsError

# a window's side over the crop's, and a crop's over the mean side of the face's box (PRNet's own rule)
WINDOW, CROP = 1.5, 1.6
# RetinaFace's box ends this share of the face's width above the mesh; crops are cut around such boxes
FOREHEAD = 0.085
LIST, WINDOWS, VERTICES = "faces.json", "windows.npy", "vertices.npy"


@dataclass(frozen=True, eq=False)
class Face:
    """One face.

    `window` (W,W,3) uint8 RGB; `vertices` (V,3) float32 in window px (pixel centres at integers, z with the same unit,
    larger = nearer, any offset). `subject` tells who it is, `source` is "rendered" (the mesh is exact) or
    "teacher" (the mesh is another network's word), `yaw` in degrees, + towards image right.
    """

    window: NDArray[np.uint8]
    vertices: NDArray[np.float32]
    subject: str
    source: str
    yaw: float


def window_side(size: int) -> int:
    """Pixels of a window for a network with crops of `size`."""
    return round(WINDOW * size)


def face_square(vertices: NDArray[np.floating]) -> tuple[NDArray[np.float64], float]:
    """Centre (2,) and mean side of the box that a detector would draw around a mesh (V,3) px."""
    plane = np.asarray(vertices[:, :2], np.float64)
    low, high = plane.min(0), plane.max(0)
    low[1] -= FOREHEAD * (high[0] - low[0])
    return (low + high) / 2, float((high - low).mean())


def window_affine(vertices: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """Affine (2,3), image px -> window px, of a face with this mesh (V,3) px, for a network with crops of `size`."""
    centre, side = face_square(vertices)
    scale = size / (CROP * max(side, 1.0))
    return np.column_stack([np.eye(2) * scale, (window_side(size) - 1) / 2 - scale * centre])


def write_faces(folder: Path, faces: Iterable[Face], about: dict[str, object]) -> int:
    """Write a pool of faces, all of one shape; it has its name when it is whole. Returns how many there are.

    Raises WeightsError if there is not one face.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(exist_ok=True)
    rows: list[dict[str, object]] = []
    meshes = []
    header = None
    with (partial / WINDOWS).open("wb") as file:
        for face in faces:
            if header is None:  # as long as any count of faces makes it; rewritten when they are counted
                header = face.window.shape
                file.write(_header((10**12, *header), np.uint8))
            file.write(np.ascontiguousarray(face.window).tobytes())
            meshes.append(face.vertices)
            rows.append({"subject": face.subject, "source": face.source, "yaw": round(face.yaw, 3)})
        if header is None:
            raise WeightsError(f"{folder}: not one usable face; see the reasons above, or give other pictures")
        file.seek(0)
        file.write(_header((len(rows), *header), np.uint8))
    np.save(partial / VERTICES, np.stack(meshes).astype(np.float32))
    (partial / LIST).write_text(json.dumps({"about": about, "faces": rows}))
    os.replace(partial, folder)
    return len(rows)


def _header(shape: tuple[int, ...], dtype: type) -> bytes:
    """A .npy header of fixed length, so that the count can be put in at the end."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + (246).to_bytes(2, "little") + text.ljust(245).encode() + b"\n"


class Faces:
    """A pool of faces on disk, or several as one. `subjects`, `sources` (N,) str and `yaws` (N,) float64."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.windows, self.meshes, rows = [], [], []
        for folder in folders:
            if not (folder / LIST).is_file():
                raise WeightsError(f"{folder}: no {LIST} in it: not a pool of faces")
            self.windows.append(np.load(folder / WINDOWS, mmap_mode="r"))
            self.meshes.append(np.load(folder / VERTICES))
            rows += json.loads((folder / LIST).read_text())["faces"]
        if not rows:
            raise WeightsError("no pool of faces was given")
        shapes = {(w.shape[1:], m.shape[1:]) for w, m in zip(self.windows, self.meshes, strict=True)}
        if len(shapes) != 1:
            raise WeightsError(f"{', '.join(map(str, folders))}: pools of different shapes: {sorted(shapes)}")
        self.subjects = np.array([row["subject"] for row in rows])
        self.sources = np.array([row["source"] for row in rows])
        self.yaws = np.array([row["yaw"] for row in rows], np.float64)
        self.starts = np.cumsum([0, *(len(mesh) for mesh in self.meshes)])

    def __len__(self) -> int:
        return len(self.yaws)

    def __getitem__(self, index: int) -> Face:
        part = int(np.searchsorted(self.starts, index, side="right")) - 1
        at = index - self.starts[part]
        return Face(
            window=np.asarray(self.windows[part][at]),
            vertices=self.meshes[part][at],
            subject=str(self.subjects[index]),
            source=str(self.sources[index]),
            yaw=float(self.yaws[index]),
        )


def shuffled(faces: Faces, chosen: NDArray[np.integer], seed: int, start: int) -> Iterator[Face]:
    """Faces `chosen` (indices) from number `start` on, without end: all of them, then all again in another order."""
    number = start
    while True:
        turn, at = divmod(number, len(chosen))
        order = np.random.default_rng([seed, 6, turn]).permutation(chosen)
        for index in order[at:]:
            yield faces[int(index)]
            number += 1
