"""One picture at a time: who is in front of the camera, what is presented, what file comes out."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from simulation.attacks import Presented, Source, present
from simulation.backgrounds import draw_background
from simulation.camera import CAMERAS, compress, expose
from simulation.head import draw_identity
from simulation.layout import ILLUMINATION, Entry, picture_key, write_picture, write_truth
from simulation.media import Kind
from simulation.portrait import Portrait, fit_portrait
from simulation.render import Rendered, Scene, Subject, draw_scene, in_view, make_subject, pose_vertices, render

F32 = NDArray[np.float32]
_STAGES = {"identity": 1, "picture": 2}


@dataclass(frozen=True)
class Role:
    """One subject of the dataset: folder number, split, photograph; plain: it keeps the photograph's person."""

    subject: int
    split: str
    photo: Path
    mirrored: bool
    plain: bool


@dataclass(frozen=True)
class Shot:
    """One picture to take: number in the dataset, index in its subject, kind ("" for live), medium, wearer or None."""

    role: Role
    number: int
    index: int
    kind: str
    medium: str
    camera: str
    suffix: str
    wearer: Role | None


@lru_cache(maxsize=6)
def _portrait(photo: Path, mirrored: bool) -> Portrait:
    return fit_portrait(photo, mirrored)


@lru_cache(maxsize=6)
def _subject(role: Role, seed: int) -> Subject:
    rng = np.random.default_rng([seed, _STAGES["identity"], role.subject])
    return make_subject(_portrait(role.photo, role.mirrored), draw_identity(rng, role.mirrored, role.plain))


def take(root: Path, shot: Shot, seed: int) -> Entry:
    """Render the shot and write picture, box and (live) truth below `root`. The same arguments give the same bytes."""
    rng = np.random.default_rng([seed, _STAGES["picture"], shot.role.subject, shot.index])
    subject = _subject(shot.role, seed)
    outdoor = bool(rng.random() < 0.25)
    scene = draw_scene(rng, subject, outdoor)
    behind = _surroundings(rng, scene, outdoor)
    key = picture_key(shot.role.split, shot.role.subject, bool(shot.kind), shot.number, shot.suffix)
    how: dict[str, Any] = {
        "camera": shot.camera,
        "light": scene.light.kind,
        "outdoor": outdoor,
        "photo": shot.role.photo.name,
    }
    if shot.kind:
        shown = _present(rng, shot, seed, subject, scene, behind)
        light, box, code = shown.light, shown.box, shown.code
        how |= {"attack": shot.kind, "medium": shown.medium, "worn": shot.wearer is not None}
    else:
        seen = render(subject, scene, behind)
        light, box, code = seen.light, seen.box, 0
        assert seen.depth is not None
        write_truth(root, key, seen.depth, seen.vertices, seen.box, scene.pose)
        how |= {"attack": "", "pose": [round(v, 2) for v in scene.pose]}
    camera = CAMERAS[shot.camera]
    picture = expose(rng, camera, light)
    data = compress(picture, int(rng.integers(camera.quality[0], camera.quality[1] + 1)))
    if shot.suffix == "png":  # the camera wrote a JPEG, somebody else kept it as PNG
        stream = io.BytesIO()
        Image.open(io.BytesIO(data)).save(stream, "PNG", compress_level=1)
        data = stream.getvalue()
    score = float(np.clip(0.999 - rng.exponential(0.004), 0.9, 0.9999))
    write_picture(root, key, data, scene.size, _loose(rng, box), score)
    illumination, environment = (ILLUMINATION[scene.light.kind], 1 + int(outdoor)) if shot.kind else (0, 0)
    return Entry(key, shot.role.split, code, illumination, environment, how)


def _surroundings(rng: np.random.Generator, scene: Scene, outdoor: bool) -> F32:
    level = float(np.mean(scene.light.ambient_colour + scene.light.key_colour))
    # against the light it is the surroundings that are bright
    level = level**0.5 if scene.light.kind != "back" else 1.15
    return draw_background(rng, *scene.size, outdoor) * np.float32(level)


def _present(rng: np.random.Generator, shot: Shot, seed: int, subject: Subject, scene: Scene, behind: F32) -> Presented:
    """Take the picture that is presented, then put its medium where the scene's face would have been."""
    outdoor = bool(rng.random() < 0.25)
    first = draw_scene(rng, subject, outdoor, share=(0.42, 0.60))
    seen = render(subject, first, _surroundings(rng, first, outdoor), with_depth=False)
    original = expose(rng, CAMERAS[str(rng.choice(["phone", "dslr"]))], seen.light)
    source = Source(original, oval(seen), eyes(seen), seen.person)
    if shot.wearer is not None:
        wearer = _subject(shot.wearer, seed)
        scene_worn = draw_scene(rng, wearer, outdoor)
        head = render(wearer, in_view(wearer, _at_size(scene_worn, scene)), behind, with_depth=False)
        behind, box = head.light, head.box
        grow = rng.uniform(1.0, 1.08)
    else:
        xy = pose_vertices(subject, scene)[0][: subject.portrait.surface.faces, :2]
        box = (*xy.min(axis=0), *xy.max(axis=0))
        grow = 1.0
    place = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, (box[2] - box[0]) * grow)
    exposure = (scene.light.ambient_colour + scene.light.key_colour).astype(np.float32)
    kind = cast(Kind, shot.kind)
    return present(rng, kind, shot.medium, source, behind, place, exposure, worn=shot.wearer is not None)


def _at_size(worn: Scene, scene: Scene) -> Scene:
    """The wearer's scene in the picture's size and light, turned little: a paper mask hides a face from the front."""
    zoom = worn.zoom * scene.size[0] / worn.size[0]
    pose = (worn.pose[0] * 0.35, worn.pose[1] * 0.5 - 3.0, worn.pose[2])
    return replace(worn, size=scene.size, zoom=zoom, light=scene.light, pose=pose)


def oval(seen: Rendered) -> NDArray[np.float64]:
    """The face's contour (n, 2) px."""
    from tasks.aligners.facemesh import FACE_OVAL

    return seen.vertices[list(FACE_OVAL), :2].astype(np.float64)


def eyes(seen: Rendered) -> NDArray[np.float64]:
    """The middles of both eyes (2, 2) px."""
    corners = seen.vertices[[33, 133, 362, 263], :2].astype(np.float64)
    return np.stack([corners[:2].mean(axis=0), corners[2:].mean(axis=0)])


def _loose(rng: np.random.Generator, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The box as RetinaFace would give it: a little of the forehead more than the mesh covers, 1.5 % of scatter.

    Measured on 68 live pictures: its upper edge lies 8.5 % of the width above the mesh's, the others within 1.2 %.
    """
    x1, y1, x2, y2 = box
    a, b, c, d = rng.normal(0.0, 0.015, 4)
    w, h = x2 - x1, y2 - y1
    return x1 + a * w, y1 - 0.085 * w + b * h, x2 + c * w, y2 + d * h
