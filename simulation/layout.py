"""CelebA-Spoof's folders on disk: where a picture, its box, its label and its truth lie."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GRID = 224  # boxes are written on a 224 x 224 grid, whatever the picture's size
ILLUMINATION = {"normal": 1, "strong": 2, "back": 3, "dark": 4}

README = """This dataset is SIMULATED.

Every picture was rendered from photographs in 3-D; every "spoof" is a computed print, screen or paper mask in front
of a computed camera. The folders and files follow CelebA-Spoof, so that its readers read it, but no picture of
CelebA-Spoof is in here, and accuracy on these pictures says nothing about real attacks.

Data/<split>/<subject>/{live,spoof}/NNNNNN.{jpg,png}   pictures; NNNNNN_BB.txt: x y w h score of the face, 224 grid
metas/intra_test/{train,test}_label.{json,txt}         labels as in CelebA-Spoof (44 integers; the 40 attributes are 0)
truth/<split>/<subject>/live/NNNNNN.npz                exact depth of a live picture (see below)
truth/pictures.jsonl                                   how each picture was made: camera, medium, light, pose
simulation.json                                        the settings; written last, so a folder that has it is complete

truth npz: depth (h,w) uint16 of the picture: 0 outside the visible face, else
1 + 65534 * (z - z_low) / (z_high - z_low), near = large; z_low and z_high (picture pixels) are over all face vertices.
vertices (468,3) float32: x, y in picture pixels (centres at integers), z larger = nearer. box x1 y1 x2 y2; pose yaw
(+ to image right), pitch (+ up) and roll (+ clockwise) in degrees.
"""


@dataclass(frozen=True)
class Entry:
    """One written picture: key = its path in the dataset, code = CelebA-Spoof type (0 live), how = jsonl details."""

    key: str
    split: str
    code: int
    illumination: int
    environment: int
    how: Mapping[str, Any]

    @property
    def label(self) -> list[int]:
        """The 44 integers: 40 attributes (unknown: 0), type, illumination, environment, live 0 / spoof 1."""
        return [0] * 40 + [self.code, self.illumination, self.environment, int(self.code > 0)]


def picture_key(split: str, subject: int, spoof: bool, number: int, suffix: str) -> str:
    """`Data/<split>/<subject>/{live,spoof}/NNNNNN.<suffix>`."""
    return f"Data/{split}/{subject}/{'spoof' if spoof else 'live'}/{number:06d}.{suffix}"


def truth_path(root: Path, key: str) -> Path:
    """Where the truth of the picture `key` lies."""
    return (root / "truth" / key.removeprefix("Data/")).with_suffix(".npz")


def write_picture(
    root: Path, key: str, data: bytes, size: tuple[int, int], box: tuple[float, float, float, float], score: float
) -> None:
    """The encoded picture and its box file; `size` (w,h) px, `box` x1, y1, x2, y2 px."""
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    sx, sy = GRID / size[0], GRID / size[1]
    x, y = round(box[0] * sx), round(box[1] * sy)
    w, h = round((box[2] - box[0]) * sx), round((box[3] - box[1]) * sy)
    path.with_name(f"{path.stem}_BB.txt").write_text(f"{x} {y} {w} {h} {score:.7f}\n")


def write_truth(
    root: Path,
    key: str,
    depth: NDArray[np.float32],
    vertices: NDArray[np.float32],
    box: tuple[float, float, float, float],
    pose: tuple[float, float, float],
) -> None:
    """Truth of a live picture; `depth` in px above the farthest vertex plus one, 0 where no face is seen."""
    low, high = float(vertices[:, 2].min()), float(vertices[:, 2].max())
    scaled = np.where(depth > 0, 1.0 + 65534.0 * (depth - 1.0) / max(high - low, 1e-6), 0.0)
    path = truth_path(root, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        depth=np.rint(np.clip(scaled, 0, 65535)).astype(np.uint16),
        vertices=vertices,
        z_low=np.float32(low),
        z_high=np.float32(high),
        box=np.asarray(box, np.float32),
        pose=np.asarray(pose, np.float32),
    )


def write_metas(root: Path, entries: Sequence[Entry]) -> None:
    """Label files of both splits, the log of how pictures were made, and the README that says what this is."""
    metas = root / "metas" / "intra_test"
    metas.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        own = [e for e in entries if e.split == split]
        (metas / f"{split}_label.json").write_text(json.dumps({e.key: e.label for e in own}, indent=0) + "\n")
        (metas / f"{split}_label.txt").write_text("".join(f"{e.key} {e.label[43]}\n" for e in own))
    lines = (json.dumps({"picture": e.key, **e.how}, sort_keys=True) for e in entries)
    (root / "truth").mkdir(exist_ok=True)
    (root / "truth" / "pictures.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (root / "README.txt").write_text(README)
