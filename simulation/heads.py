"""Rendered heads without end, each with its exact mesh: what PRNet learns large poses and depth from.

A head's number decides everything about it: who, in which shape, colours, expression, pose, light, surroundings and
camera. So a stream can be cut anywhere and made by any number of processes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from prnet.train.faces import CROP, Face, face_square, window_affine, window_side
from simulation.backgrounds import draw_background
from simulation.camera import CAMERAS, compress, expose
from simulation.head import draw_identity
from simulation.portrait import fit_portrait
from simulation.render import Scene, Subject, draw_scene, make_subject, pose_vertices, render
from tasks.errors import MediumError
from tasks.warp import apply_affine, warp

# A head is turned this far at most, and this far from where its photograph faced. Looked at: within 60 degrees of the
# photograph the face is that of a turned head (its far half hides itself); beyond, the near cheek is drawn out of ever
# fewer pixels of the photograph, and past 80 degrees what should be the back of the head is missing.
MAX_YAW, MAX_TURN = 80.0, 60.0
MAX_NOD = 25.0
# a portrait is fitted for 0.5 s; then heads are 20 ms each
HEADS_A_SITTING = 8


SMALLEST_FRAME = 160  # px; the drawn surroundings need some room
# a person's heads are spread among those of this many sittings
MIXED = 32


@dataclass(frozen=True)
class Sitting:
    """The heads that are drawn of one fitted photograph: number in the stream, photograph, whose it is."""

    number: int
    photo: Path
    subject: str
    size: int
    seed: int


def heads(
    photos: Sequence[tuple[Path, str]],
    size: int,
    seed: int,
    start: int = 0,
    run: Callable[..., Iterator[list[Face]]] = map,
) -> Iterator[Face]:
    """Heads from number `start` on, without end, for crops of `size`; every photograph sits once a round.

    `photos`: each with its subject; they must have passed `check_portrait`. `run` maps `sit` over sittings in order:
    `map`, or that of a pool of processes; it changes nothing but the speed.
    """
    mixed = min(MIXED, len(photos))
    block, skip = divmod(start, mixed * HEADS_A_SITTING)
    while True:
        numbers = range(block * mixed, (block + 1) * mixed)
        drawn = [head for sat in run(sit, [_sitting(photos, size, seed, number) for number in numbers]) for head in sat]
        order = np.random.default_rng([seed, 7, block]).permutation(len(drawn))
        for index in order[skip:]:
            yield drawn[index]
        block, skip = block + 1, 0


def _sitting(photos: Sequence[tuple[Path, str]], size: int, seed: int, number: int) -> Sitting:
    turn, at = divmod(number, len(photos))
    order = np.random.default_rng([seed, 3, turn]).permutation(len(photos))
    photo, subject = photos[order[at]]
    return Sitting(number, photo, subject, size, seed)


def sit(sitting: Sitting) -> list[Face]:
    """The HEADS_A_SITTING heads of one sitting. MediumError if the photograph cannot be turned into a head."""
    rng = np.random.default_rng([sitting.seed, 4, sitting.number])
    mirrored = bool(rng.random() < 0.5)
    try:
        portrait = fit_portrait(sitting.photo, mirrored)
    except MediumError:
        if not mirrored:
            raise
        portrait = fit_portrait(sitting.photo)  # the detector may miss a face's mirror image
    subject = make_subject(portrait, draw_identity(rng, mirrored, plain=bool(rng.random() < 0.5)))
    return [replace(draw_head(rng, subject, sitting.size), subject=sitting.subject) for _ in range(HEADS_A_SITTING)]


def draw_head(rng: np.random.Generator, subject: Subject, size: int) -> Face:
    """One head in a window for crops of `size`."""
    outdoor = bool(rng.random() < 0.25)
    scene = draw_scene(rng, subject, outdoor)
    pose = draw_wide_pose(rng, subject.portrait.angles)
    side = window_side(size)
    low = max(side, SMALLEST_FRAME)
    frame = int(rng.integers(low, round(1.8 * low) + 1))
    scene = _framed(subject, replace(scene, pose=pose, size=(frame, frame)), size / side)
    behind = draw_background(rng, frame, frame, outdoor)
    level = float(np.mean(scene.light.ambient_colour + scene.light.key_colour))
    behind = behind * np.float32(level**0.5 if scene.light.kind != "back" else 1.15)
    seen = render(subject, scene, behind, with_depth=False)
    camera = CAMERAS[str(rng.choice(["phone", "dslr", "webcam"]))]
    picture = expose(rng, camera, seen.light)
    picture = _decoded(compress(picture, int(rng.integers(camera.quality[0], camera.quality[1] + 1))))
    affine = window_affine(seen.vertices, size)
    vertices = seen.vertices.astype(np.float64)
    vertices = np.column_stack([apply_affine(affine, vertices[:, :2]), vertices[:, 2] * affine[0, 0]])
    return Face(
        window=warp(picture, affine, side),
        vertices=vertices.astype(np.float32),
        subject=subject.portrait.name,
        source="rendered",
        yaw=pose[0],
    )


def draw_wide_pose(rng: np.random.Generator, own: tuple[float, float, float]) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees: yaw evenly over what the photograph's `own` pose allows, three times of four."""
    low, high = max(-MAX_YAW, own[0] - MAX_TURN), min(MAX_YAW, own[0] + MAX_TURN)
    yaw = rng.uniform(low, high) if rng.random() < 0.75 else np.clip(rng.normal(0.0, 12.0), low, high)
    pitch = np.clip(rng.normal(-6.0, 11.0), own[1] - MAX_NOD, own[1] + MAX_NOD)
    return float(yaw), float(pitch), float(rng.normal(0.0, 6.0))


def _framed(subject: Subject, scene: Scene, share: float) -> Scene:
    """The scene with the face in the middle, so large that a crop around it takes `share` of the frame."""
    faces = subject.portrait.surface.faces
    for _ in range(2):  # the shoulders stay still, so the face moves a little against what the scene is centred on
        picture = pose_vertices(subject, scene)[0][:faces]
        centre, side = face_square(picture)
        off = centre - (np.array(scene.size) - 1) / 2
        zoom = scene.zoom * share * scene.size[0] / (CROP * side)
        scene = replace(scene, centre=scene.centre + off / scene.zoom, zoom=zoom)
    return scene


def _decoded(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))
