"""One photograph of a person becomes a surface with a texture that can be turned and lit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from simulation.matte import person_matte
from simulation.packaged import HINTS, Polygon
from simulation.skin import skin_matte
from simulation.surface import EYES, FACE_WIDTH, INNER_LIPS, Surface, build_surface
from tasks.align import AlignConfig, Aligner, align
from tasks.aligners import load_aligner
from tasks.detect import DetectConfig, Detector, choose_face
from tasks.detectors import load_detector
from tasks.errors import MediumError
from tasks.read import ReadConfig, read_frames

Floats = NDArray[np.float64]

FACE_PX = 160.0  # every texture shows the face this wide
_ABOVE, _BELOW, _BESIDE = 1.65, 1.95, 1.8  # texture around the face, in face widths
_MATTE_TRUST = 0.55
_MAX_YAW, _MAX_PITCH = 28.0, 24.0
_MIN_FACE = 56.0


@dataclass(frozen=True)
class Portrait:
    """A fitted photograph. All geometry in texture px (x right, y down, z towards the viewer).

    name: of the file; texture (h,w,3) uint8 sRGB; colour (h,w,3) float32 linear light with the person's colours drawn
    out over the edge of the matte; matte (h,w) float32 in [0,1] or None where the photograph cannot be taken apart;
    trust in it; skin (h,w), hair (h,w) float32 in [0,1]; extent x0, y0, x1, y1 (exclusive) of the photograph inside the
    texture; surface: its mesh in the photograph's pose; canonical (468,3) the average face; rotation (3,3) from it to
    texture axes; scale: px a canonical unit; mouth: how far it is open in the photograph, canonical units.
    """

    name: str
    texture: NDArray[np.uint8]
    colour: NDArray[np.float32]
    matte: NDArray[np.float32] | None
    trust: float
    skin: NDArray[np.float32]
    hair: NDArray[np.float32]
    extent: tuple[int, int, int, int]
    surface: Surface
    canonical: Floats
    rotation: Floats
    scale: float
    mouth: float

    @property
    def angles(self) -> tuple[float, float, float]:
        """Yaw, pitch and roll of the photographed head in degrees; see `head_angles`."""
        return head_angles(self.rotation)


def head_angles(rotation: Floats) -> tuple[float, float, float]:
    """Yaw (+ towards image right), pitch (+ up), roll (+ clockwise) in degrees of a canonical -> image rotation."""
    forward = rotation[:, 2]
    yaw = np.degrees(np.arctan2(forward[0], forward[2]))
    pitch = np.degrees(np.arcsin(np.clip(-forward[1], -1.0, 1.0)))
    roll = np.degrees(np.arctan2(rotation[1, 0], -rotation[1, 1]))
    return float(yaw), float(pitch), float(roll)


def head_rotation(yaw: float, pitch: float, roll: float) -> Floats:
    """The canonical -> image rotation (3,3) with these angles in degrees."""
    a, b, c = np.radians([yaw, pitch, roll])
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    nod = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    tilt = np.array([[np.cos(c), np.sin(c), 0], [-np.sin(c), np.cos(c), 0], [0, 0, 1]])
    flip = np.diag([1.0, -1.0, 1.0])  # image y points down
    return flip @ turn @ nod @ tilt


def fit_portrait(path: Path, mirrored: bool = False) -> Portrait:
    """Fit the face mesh to the main face of the photograph (or of its mirror image) and continue it over the picture.

    Raises MediumError: what `tasks.read` raises for files that are no pictures, `no-face`, `too-small` (a face under
    56 px wide, or cut too close), `align-failed` (no mesh fits, or the head is turned too far to show both sides).
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

    # how many threads share a sum decides its last bits, and with them the bytes of every picture
    with threadpool_limits(1):
        return _fit(path, mirrored)


def _fit(path: Path, mirrored: bool) -> Portrait:
    from tasks.aligners.facemesh import FACE_OVAL, canonical_face

    image, vertices, width = _locate(path, mirrored)
    canonical = canonical_face()
    average = np.asarray(canonical.vertices, np.float64)
    # normalise: the face FACE_PX wide, its middle at a fixed place, the photograph's own level kept
    oval_index = np.asarray(FACE_OVAL, np.int64)
    zoom = FACE_PX / width
    middle = (vertices[oval_index, :2].min(axis=0) + vertices[oval_index, :2].max(axis=0)) / 2
    corner = middle - np.array([_BESIDE, _ABOVE]) * width
    texture, extent = _cut(image, corner, zoom)
    xy = (vertices[:, :2] - corner) * zoom - 0.5 + 0.5 * zoom  # pixel centres are integers
    rotation, scale, origin = fit_pose(average, xy.astype(np.float64))
    # depth is the average face's, not the aligner's: the truth must not depend on what it predicts
    face = np.column_stack([xy, (scale * average @ rotation.T)[:, 2]])
    up = rotation[:2, 1] / np.linalg.norm(rotation[:2, 1])
    oval = face[oval_index, :2]
    hints = [
        (person, (_hint(outline, image.shape[1], mirrored) - corner) * zoom)
        for person, outline in HINTS.get((path.name, image.shape[1], image.shape[0]), ())
    ]
    matte, trust = person_matte(texture, extent, oval, up, hints)
    usable = matte if trust >= _MATTE_TRUST else None
    surface = build_surface(face, canonical.triangles, oval_index, rotation, np.append(origin, 0.0), scale, usable)
    holes = [(INNER_LIPS, 0.1), (EYES[0], 0.45), (EYES[1], 0.45)]
    skin = skin_matte(texture, matte, oval, [(xy[list(hole)], share) for hole, share in holes])
    return Portrait(
        name=path.name,
        texture=texture,
        colour=_spread(texture, usable),
        matte=usable,
        trust=trust,
        skin=skin,
        hair=_hair(matte, skin, oval, up),
        extent=extent,
        surface=surface,
        canonical=average,
        rotation=rotation,
        scale=scale,
        mouth=float(np.linalg.norm(face[14] - face[13]) / scale),
    )


def check_portrait(path: Path) -> None:
    """Raise what `fit_portrait` would raise, without its slow part."""
    _locate(path, False)


def _locate(path: Path, mirrored: bool) -> tuple[NDArray[np.uint8], NDArray[np.float32], float]:
    """The photograph, its face's vertices in photograph px and the face's width px."""
    from tasks.aligners.facemesh import canonical_face

    image = _read(path)
    if mirrored:
        image = np.ascontiguousarray(image[:, ::-1])
    detector, aligner, config = _models()
    faces = detector([image])[0]
    chosen = choose_face(faces, None, config)
    if chosen is None:
        raise MediumError("no-face", f"{path}: no face was found in the photograph")
    found = align([image], faces.boxes[chosen : chosen + 1], [faces.points[chosen]], aligner)[0]
    if found.confidence < 0.5:
        raise MediumError("align-failed", f"{path}: the face mesh did not fit (confidence {found.confidence:.2f})")
    average = np.asarray(canonical_face().vertices, np.float64)
    rotation, scale, _ = fit_pose(average, found.vertices[:, :2].astype(np.float64))
    width = FACE_WIDTH * scale
    if width < _MIN_FACE:
        raise MediumError("too-small", f"{path}: the face is {width:.0f} px wide, {_MIN_FACE:.0f} are needed")
    xy = found.vertices[:, :2]
    edge = 0.08 * width  # hair, ears and neck need some room
    if (xy.min(axis=0) < edge).any() or (xy.max(axis=0) > np.array([image.shape[1], image.shape[0]]) - edge).any():
        raise MediumError("too-small", f"{path}: the photograph is cut too close around the face")
    yaw, pitch, _ = head_angles(rotation)
    if abs(yaw) > _MAX_YAW or abs(pitch) > _MAX_PITCH:
        raise MediumError(
            "align-failed",
            f"{path}: the head is turned by {yaw:.0f}° and nods by {pitch:.0f}°; "
            f"up to {_MAX_YAW:.0f}° and {_MAX_PITCH:.0f}° work",
        )
    return image, found.vertices, width


def fit_pose(model: Floats, points: Floats) -> tuple[Floats, float, Floats]:
    """Weak perspective by least squares: points (n,2) ~ scale * (rotation @ model)[:2] + origin; these three."""
    design = np.column_stack([model, np.ones(len(model))])
    solution = np.linalg.lstsq(design, points, rcond=None)[0]  # (4, 2)
    u, s, vt = np.linalg.svd(solution[:3].T, full_matrices=False)
    rows = u @ vt
    rotation = np.vstack([rows, -np.cross(rows[0], rows[1])])
    return rotation, float(s.mean()), solution[3]


def _hint(outline: Polygon, width: int, mirrored: bool) -> Floats:
    points = np.asarray(outline, np.float64)
    return np.column_stack([width - points[:, 0], points[:, 1]]) if mirrored else points


@lru_cache(maxsize=1)
def _models() -> tuple[Detector, Aligner, DetectConfig]:
    config = DetectConfig.model_validate({})
    return load_detector(config), load_aligner(AlignConfig.model_validate({"aligner": "facemesh"})), config


def _read(path: Path) -> NDArray[np.uint8]:
    return next(read_frames(path, "image", ReadConfig.model_validate({})))[1]


def _cut(image: NDArray[np.uint8], corner: Floats, zoom: float) -> tuple[NDArray[np.uint8], tuple[int, int, int, int]]:
    """The texture window, resampled; beyond the photograph its border pixels are repeated."""
    width, height = round(2 * _BESIDE * FACE_PX), round((_ABOVE + _BELOW) * FACE_PX)
    low = np.maximum(np.ceil(-corner * zoom), 0).astype(int)
    size = np.array([image.shape[1], image.shape[0]])
    high = np.minimum(np.floor((size - corner) * zoom), [width, height]).astype(int)
    edges = np.clip(np.concatenate([corner + low / zoom, corner + high / zoom]), 0, np.tile(size, 2))
    x0, y0, x1, y1 = (float(v) for v in edges)
    part = Image.fromarray(image).resize(
        (int(high[0] - low[0]), int(high[1] - low[1])),
        Image.Resampling.LANCZOS,
        box=(x0, y0, x1, y1),
    )
    pad = ((low[1], height - high[1]), (low[0], width - high[0]), (0, 0))
    extent = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
    return np.pad(np.asarray(part), pad, mode="edge"), extent


def to_linear(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """sRGB bytes to linear light in [0,1]."""
    return _LINEAR[image]


_values = np.arange(256) / 255.0
_LINEAR = np.where(_values <= 0.04045, _values / 12.92, ((_values + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _spread(texture: NDArray[np.uint8], matte: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Linear colours; over the soft edge of the matte the person's own, so that no old background shines through."""
    from scipy.ndimage import gaussian_filter

    linear = to_linear(texture)
    if matte is None:
        return linear
    solid = (matte > 0.97).astype(np.float32)
    grown, weight = np.zeros_like(linear), np.zeros_like(solid)
    for sigma in (2.0, 6.0, 20.0):
        share = gaussian_filter(solid, sigma)
        near = np.stack([gaussian_filter(linear[..., c] * solid, sigma) for c in range(3)], axis=2)
        use = (share > 0.02) & (weight == 0)
        grown[use] = near[use] / share[use][:, None]
        weight[use] = 1.0
    keep = np.where(weight > 0, matte**2, 1.0)[..., None]
    return (linear * keep + grown * (1 - keep)).astype(np.float32)


def _hair(matte: NDArray[np.float32], skin: NDArray[np.float32], oval: Floats, up: Floats) -> NDArray[np.float32]:
    """The person above the shoulders that is no skin: hair, hats."""
    from scipy.ndimage import gaussian_filter
    from skimage.draw import polygon2mask

    y, x = np.mgrid[: matte.shape[0], : matte.shape[1]].astype(float)
    centre = oval.mean(axis=0)
    down = -((x - centre[0]) * up[0] + (y - centre[1]) * up[1]) / FACE_PX
    face = polygon2mask(matte.shape, (centre + (oval - centre) * 0.9)[:, ::-1])
    above = np.clip((0.55 - down) / 0.3, 0.0, 1.0)
    hair = matte * (1.0 - skin) * above * ~face
    return gaussian_filter(hair, 1.5).astype(np.float32)
