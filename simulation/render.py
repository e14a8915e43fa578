"""A portrait's surface, turned, deformed and lit, as the scene in front of a camera; with its exact depth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulation.head import Expression, Identity, draw_expression, draw_pose, expression_field, shape_field
from simulation.portrait import FACE_PX, Portrait, head_rotation
from simulation.skin import retone
from simulation.surface import smoothstep

Floats = NDArray[np.float64]
F32 = NDArray[np.float32]
SAMPLES = 2  # per pixel and direction: silhouettes would be jagged otherwise


@dataclass(frozen=True)
class Light:
    """kind: normal, strong, back or dark; key (3,) towards the light; strengths relative to an exposed picture."""

    kind: str
    key: Floats
    key_colour: Floats
    ambient_colour: Floats
    gloss: float


@dataclass(frozen=True)
class Scene:
    """One picture of one subject. size (w,h) px; zoom: picture px a texture px; centre (2,) texture px that the picture
    is centred on; pose yaw, pitch, roll in degrees; distance of the camera in face widths."""

    size: tuple[int, int]
    zoom: float
    centre: Floats
    pose: tuple[float, float, float]
    distance: float
    expression: Expression
    light: Light
    own_surroundings: bool


@dataclass(frozen=True)
class Subject:
    """A portrait in somebody's shape and colours: texture (h,w,5) float32 r, g, b, matte, skin; base (V,3) px."""

    portrait: Portrait
    identity: Identity
    texture: F32
    base: Floats


@dataclass(frozen=True)
class Rendered:
    """light (h,w,3) float32 linear; person (h,w) float32 coverage; vertices (468,3) float32 of the face in picture px
    (z in px, larger = nearer); box x1, y1, x2, y2 px of the face; depth (h,w) float32 or None."""

    light: F32
    person: F32
    vertices: F32
    box: tuple[float, float, float, float]
    depth: F32 | None


def make_subject(portrait: Portrait, identity: Identity) -> Subject:
    """Give the portrait the identity's head shape, skin, hair, clothes and skin grain."""
    from scipy.ndimage import gaussian_filter

    colour = portrait.colour
    matte = portrait.matte if portrait.matte is not None else np.ones(colour.shape[:2], np.float32)
    if identity.skin_strength > 0:
        colour = retone(colour, portrait.skin, identity.skin, identity.skin_strength, 0.9)
    if identity.hair_strength > 0:
        colour = retone(colour, portrait.hair, identity.hair, identity.hair_strength)
    if portrait.matte is not None and identity.clothes.any():
        clothes = np.clip(matte - 2.0 * portrait.skin - portrait.hair, 0.0, 1.0) * below_chin(portrait)
        mean = (colour * clothes[..., None]).sum(axis=(0, 1)) / max(float(clothes.sum()), 1.0)
        # another dye: sometimes the channels change places, always they shift a little
        dye = np.roll(mean, int(abs(identity.clothes[0]) * 2) % 3) * np.exp(0.3 * identity.clothes)
        colour = retone(colour, clothes, dye, 0.85)
    # a photograph of 100 px faces has lost its pores: a fine grain of 2 % gives the enlarged skin something to focus on
    noise = np.random.default_rng(identity.grain).normal(0.0, 1.0, colour.shape[:2]).astype(np.float32)
    grain = gaussian_filter(noise, 0.7) * 1.6 + gaussian_filter(noise, 2.0) * 3.0
    colour = colour * (1.0 + 0.022 * grain * (0.4 + 0.6 * portrait.skin))[..., None]
    texture = np.concatenate([colour, matte[..., None], portrait.skin[..., None]], axis=2)
    moved = shape_field(portrait.canonical, identity.shape)
    return Subject(portrait, identity, np.ascontiguousarray(texture, dtype=np.float32), _displaced(portrait, moved))


def below_chin(portrait: Portrait) -> F32:
    """1 below the jaw, 0 on the head (h,w) float32."""
    height, width = portrait.texture.shape[:2]
    up = portrait.rotation[:2, 1] / np.linalg.norm(portrait.rotation[:2, 1])
    chin = portrait.surface.vertices[152, :2]
    y, x = np.mgrid[:height, :width]
    down = -((x - chin[0]) * up[0] + (y - chin[1]) * up[1]) / FACE_PX
    return smoothstep(-0.05, 0.2, down).astype(np.float32)


def _displaced(portrait: Portrait, moved: Floats, base: Floats | None = None) -> Floats:
    """The surface with a canonical displacement (468,3) of the face; rings follow their part of the contour."""
    surface = portrait.surface
    shift = (portrait.scale * moved) @ portrait.rotation.T
    return (surface.vertices if base is None else base) + shift[surface.contour] * surface.carry[:, None]


def draw_light(rng: np.random.Generator, outdoor: bool) -> Light:
    """Where the light comes from, how hard and of what colour."""
    kind = str(rng.choice(["normal", "strong", "back", "dark"], p=[0.55, 0.2, 0.12, 0.13]))
    azimuth = rng.uniform(-75, 75) if kind != "normal" else rng.normal(0, 30)
    height = rng.uniform(5, 50)
    a, e = np.radians([azimuth, height])
    key = np.array([np.sin(a) * np.cos(e), -np.sin(e), np.cos(a) * np.cos(e)])
    share = {"normal": rng.uniform(0.25, 0.5), "strong": rng.uniform(0.6, 0.85), "back": 0.25, "dark": 0.5}[kind]
    exposure = {"normal": 1.0, "strong": 1.12, "back": 0.5, "dark": 0.32}[kind] * np.exp(rng.normal(0, 0.12))
    warm = rng.normal(0.0 if outdoor else 0.06, 0.07)
    other = rng.normal(-0.03 if outdoor else 0.02, 0.05)
    return Light(
        kind=kind,
        key=key,
        key_colour=exposure * share * np.array([1 + warm, 1.0, 1 - warm]),
        ambient_colour=exposure * (1 - share) * np.array([1 + other, 1.0, 1 - other]),
        gloss=float(exposure * share * rng.uniform(0.0, 0.10)),
    )


def draw_scene(
    rng: np.random.Generator, subject: Subject, outdoor: bool, share: tuple[float, float] = (0.35, 0.60)
) -> Scene:
    """Frame, pose, expression and light. The face takes `share` of the width as far as the photograph reaches."""
    portrait = subject.portrait
    x0, y0, x1, y1 = portrait.extent
    sizes = [(320, 320), (360, 360), (400, 400), (320, 400), (360, 440), (400, 480), (480, 400), (440, 360)]
    options = []
    for w, h in sizes:
        # how much of the picture the photograph can fill; a little more is taken from its repeated border
        needed = max(w / ((x1 - x0) * 1.05), h / ((y1 - y0) * 1.05)) * FACE_PX / w
        most = min(share[1], 0.62 * h / w)
        if needed <= most:
            options.append((w, h, max(needed, share[0]), most))
    if options:
        w, h, low, high = options[rng.integers(len(options))]
        fraction = rng.uniform(low, max(low, high))
    else:
        w, h = 360, 360
        fraction = share[1]
    zoom = fraction * w / FACE_PX
    oval = portrait.surface.vertices[: portrait.surface.faces, :2]
    middle = (oval.min(axis=0) + oval.max(axis=0)) / 2
    span = np.array([w, h]) / zoom
    centre = middle + rng.normal(0.0, [0.07, 0.05]) * span + [0.0, rng.uniform(-0.02, 0.08) * span[1]]
    low_c, high_c = np.array([x0, y0]) + span / 2, np.array([x1, y1]) - span / 2
    centre = np.where(low_c <= high_c, np.clip(centre, low_c, high_c), (low_c + high_c) / 2)
    scene = Scene(
        size=(w, h),
        zoom=float(zoom),
        centre=centre,
        pose=draw_pose(rng, portrait.angles),
        distance=float(rng.uniform(4.0, 10.0)),
        expression=draw_expression(rng, portrait.mouth),
        light=draw_light(rng, outdoor),
        own_surroundings=portrait.matte is None or rng.random() < 0.15,
    )
    return in_view(subject, scene)


def in_view(subject: Subject, scene: Scene) -> Scene:
    """The scene moved so that no part of the face is cut off: whoever holds the camera does the same.

    RetinaFace's box has some forehead more than the mesh covers, so there is a tenth of the width on top.
    """
    xy = pose_vertices(subject, scene)[0][: subject.portrait.surface.faces, :2]
    low, high = xy.min(axis=0) - [0.0, 0.1 * np.ptp(xy[:, 0])], xy.max(axis=0)
    out = np.minimum(low, 0.0) + np.maximum(high - np.array(scene.size) + 1, 0.0)
    return replace(scene, centre=scene.centre + out / scene.zoom)


def pose_vertices(subject: Subject, scene: Scene) -> tuple[Floats, Floats]:
    """Picture-space vertices (V,3) px and unit normals (V,3) of the whole surface in the scene's pose."""
    portrait, surface = subject.portrait, subject.portrait.surface
    points = _displaced(portrait, expression_field(portrait.canonical, scene.expression), subject.base)
    turn = head_rotation(*scene.pose) @ portrait.rotation.T
    # a part of a rotation is the same axis with a part of the angle
    angle = np.arccos(np.clip((np.trace(turn) - 1) / 2, -1.0, 1.0))
    if angle > 1e-6:
        axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
        axis /= 2 * np.sin(angle)
        part = (angle * surface.follow)[:, None]
        arm = points - surface.pivot
        cross = np.cross(axis, arm)
        along = (arm @ axis)[:, None] * axis
        points = surface.pivot + arm * np.cos(part) + cross * np.sin(part) + along * (1 - np.cos(part))
    normals = _normals(points, surface.triangles, surface.seam)
    # what stays flat behind the head takes the light of a wall
    flat = smoothstep(0.25, 0.75, surface.follow)[:, None]
    normals = normals * flat + np.array([0.0, 0.0, 1.0]) * (1 - flat)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    # weak perspective towards the middle of the face
    depth = points[:, 2] - surface.pivot[2]
    near = (scene.distance * FACE_PX) / (scene.distance * FACE_PX - depth * surface.follow)
    xy = (points[:, :2] - surface.pivot[:2]) * near[:, None] + surface.pivot[:2]
    middle = (np.array(scene.size) - 1) / 2
    picture = np.column_stack([(xy - scene.centre) * scene.zoom + middle, depth * scene.zoom])
    # the innermost ring stays exactly on the face's contour, or the background would shine through a crack
    ring, one, two = surface.seam.T
    picture[ring] = (picture[one] + picture[two]) / 2
    return picture, normals


def _normals(points: Floats, triangles: NDArray[np.int32], seam: NDArray[np.int64]) -> Floats:
    """Smooth vertex normals towards the viewer, also across the seam between face and rings."""
    a, b, c = (points[triangles[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)
    face *= np.where(face[:, 2:] < 0, -1.0, 1.0)  # whichever way round the triangle is listed
    total = np.stack(
        [np.bincount(triangles.ravel(), np.repeat(face[:, i], 3), minlength=len(points)) for i in range(3)], axis=1
    )
    ring, one, two = seam.T
    on_contour = one == two
    total[one[on_contour]] += total[ring[on_contour]]
    total[ring] = (total[one] + total[two]) / 2
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)


def render(subject: Subject, scene: Scene, background: F32, with_depth: bool = True) -> Rendered:
    """Draw the scene over `background` (h,w,3) linear light (unused where the photograph keeps its own)."""
    from prnet.rasterize import rasterize_attributes
    from simulation.kernels import shade

    w, h = scene.size
    portrait, surface = subject.portrait, subject.portrait.surface
    points, normals = pose_vertices(subject, scene)
    light = scene.light
    # wrapped Lambert: skin lets light around the corner
    key = np.clip((normals @ light.key + 0.25) / 1.25, 0.0, None)
    facing = np.clip((np.array([0.0, 0.0, 1.0]) @ light.key + 0.25) / 1.25, 0.35, None)
    shading = light.ambient_colour * (0.88 + 0.12 * -normals[:, 1:2]) + light.key_colour * (key / facing)[:, None]
    halfway = light.key + np.array([0.0, 0.0, 1.0])
    halfway /= np.linalg.norm(halfway)
    gloss = light.gloss * np.clip(normals @ halfway, 0.0, 1.0) ** 18
    opened = max(0.0, scene.expression.mouth - 0.12)
    dark = surface.inside * np.clip(opened * 1.3, 0.0, 0.82)
    attributes = np.column_stack([surface.vertices[:, :2], shading, gloss, dark]).astype(np.float32)
    fine = points.copy()
    fine[:, :2] = (fine[:, :2] + 0.5) * SAMPLES - 0.5
    drawn, _, covered = rasterize_attributes(fine, surface.triangles, attributes, (h * SAMPLES, w * SAMPLES))
    texture = subject.texture
    if scene.own_surroundings:
        texture = texture.copy()
        texture[..., 3] = 1.0
        if portrait.matte is not None:
            texture[..., :3] = _own(subject)
    out = np.empty((h, w, 4), np.float32)
    shade(drawn, covered, texture, np.ascontiguousarray(background, dtype=np.float32), SAMPLES, out)
    front = points[: surface.faces]
    depth = _truth(points, surface.triangles, surface.face_triangles, (h, w)) if with_depth else None
    low, high = front[:, :2].min(axis=0), front[:, :2].max(axis=0)
    return Rendered(
        light=np.ascontiguousarray(out[..., :3]),
        person=out[..., 3],
        vertices=front.astype(np.float32),
        box=(float(low[0]), float(low[1]), float(high[0]), float(high[1])),
        depth=depth,
    )


def _own(subject: Subject) -> F32:
    """The subject's colours in the photograph's own surroundings (which the spread colours have left)."""
    from simulation.portrait import to_linear

    matte = subject.texture[..., 3:4]
    return subject.texture[..., :3] * matte + to_linear(subject.portrait.texture) * (1 - matte)


def _truth(points: Floats, triangles: NDArray[np.int32], face_triangles: int, size: tuple[int, int]) -> F32:
    """Depth of the visible face in px above its farthest vertex, plus one; 0 where no face is seen."""
    from prnet.rasterize import rasterize

    lifted = points.copy()
    lifted[:, 2] -= points[:, 2].min() - 1.0
    whole = rasterize(lifted, triangles, size)
    face = rasterize(lifted, triangles[:face_triangles], size)
    visible = (face > 0) & (face >= whole - 1e-3)
    # the face's own zero: its farthest vertex
    low = float(lifted[np.unique(triangles[:face_triangles]), 2].min())
    return np.where(visible, face - low + 1.0, 0.0).astype(np.float32)
