"""Presentations: a live picture is printed, shown on a screen or cut out, and put in front of the same camera again.

Everything here happens in linear light before `camera.expose`, so that a spoof differs from a live picture by what the
medium does and by nothing else: the same lens, noise, tone curve and compression come last for both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from simulation.media import PAPERS, SCREENS, Kind, Paper, Screen, displayed, halftone, pixel_grid, printed
from simulation.portrait import to_linear

F32 = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Source:
    """The picture that is presented: sRGB uint8 (h,w,3); face (n,2) its contour, eyes (2,2) in px; person (h,w)."""

    picture: NDArray[np.uint8]
    face: Floats
    eyes: Floats
    person: F32


@dataclass(frozen=True)
class Presented:
    """light (h,w,3) float32 linear; box x1, y1, x2, y2 px of the presented face; code: CelebA-Spoof type; medium."""

    light: F32
    box: tuple[float, float, float, float]
    code: int
    medium: str


def present(
    rng: np.random.Generator,
    kind: Kind,
    medium: str,
    source: Source,
    behind: F32,
    place: tuple[float, float, float],
    exposure: F32,
    worn: bool = False,
) -> Presented:
    """Put the source's medium before `behind` (h,w,3) linear, so that its face is `place` = centre x, y and width px.

    `exposure` (3,) is the light that falls on paper. `worn`: a paper cut sits on the head that `behind` shows.
    """
    if kind == "replay":
        return _replay(rng, medium, source, behind, place, exposure)
    return _paper(rng, medium, source, behind, place, exposure, cut=kind == "papercut", worn=worn)


def _plane(
    rng: np.random.Generator, face: Floats, place: tuple[float, float, float], tilt: float
) -> tuple[Floats, tuple[float, float, float, float]]:
    """Homography medium -> picture of a tilted sheet, and the box of the face contour (n,2) in the picture."""
    low, high = face.min(axis=0), face.max(axis=0)
    middle = (low + high) / 2
    width = high[0] - low[0]
    a, b, c = np.radians(rng.normal(0.0, [tilt, tilt * 0.8, 5.0]).clip(-2.2 * tilt, 2.2 * tilt))
    turn_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    turn_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    turn = turn_z @ turn_x @ turn_y
    distance = rng.uniform(3.5, 7.0)
    to_unit = np.array([[1 / width, 0, -middle[0] / width], [0, 1 / width, -middle[1] / width], [0, 0, 1]])
    spread = np.column_stack([turn[:, 0], turn[:, 1], [0, 0, distance]])
    matrix = np.diag([distance, distance, 1.0]) @ spread @ to_unit
    box = _bounds(matrix, face)
    scale = place[2] / (box[2] - box[0])
    centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]) * scale
    final = np.array([[scale, 0, place[0] - centre[0]], [0, scale, place[1] - centre[1]], [0, 0, 1]]) @ matrix
    return final, _bounds(final, face)


def _bounds(matrix: Floats, points: Floats) -> tuple[float, float, float, float]:
    mapped = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    xy = mapped[:, :2] / mapped[:, 2:]
    (x1, y1), (x2, y2) = xy.min(axis=0), xy.max(axis=0)
    return float(x1), float(y1), float(x2), float(y2)


def _look(
    rng: np.random.Generator, matrix: Floats, size: tuple[int, int], sheet: F32, bend: float
) -> tuple[F32, F32, F32]:
    """The sheet (h,w,C) as the picture sees it, and u, v: picture px along the medium."""
    from simulation.kernels import look_up, medium_coordinates

    coordinates = np.empty((*size, 2), np.float32)
    half = sheet.shape[1] / 2
    medium_coordinates(
        np.linalg.inv(matrix).astype(np.float64), bend, float(rng.uniform(0.0, 0.03)), half, half, coordinates
    )
    seen = np.empty((*size, sheet.shape[2]), np.float32)
    look_up(np.ascontiguousarray(sheet, dtype=np.float32), coordinates, 2, seen)
    step = np.abs(np.median(np.diff(coordinates[size[0] // 2, :, 0])))
    return seen, coordinates[..., 0] / max(float(step), 1e-3), coordinates[..., 1] / max(float(step), 1e-3)


def _replay(
    rng: np.random.Generator, name: str, source: Source, behind: F32, place: tuple[float, float, float], exposure: F32
) -> Presented:
    screen = SCREENS[name]
    emitted = displayed(rng, screen, to_linear(source.picture))
    bezel, shift = _bezel(rng, screen, emitted)
    matrix, box = _plane(rng, source.face + shift, place, 9.0)
    size = behind.shape[:2]
    seen, u, v = _look(rng, matrix, size, bezel, 0.0)
    cover, lit = seen[..., 3:4], seen[..., 4:5]
    # a screen is set to be seen: about as bright as its surroundings, brighter in the dark
    level = np.float32(max(float(exposure.mean()), 0.35) * rng.uniform(0.75, 1.35))
    glow = pixel_grid(rng, screen, seen[..., :3] * level, u, v, 0.55)
    frame = np.float32(rng.uniform(0.008, 0.05)) * exposure * (cover - lit)
    glass = _reflection(rng, size, screen.glare) * exposure * cover
    return Presented(behind * (1 - cover) + glow + frame + glass, box, screen.code, name)


def _bezel(rng: np.random.Generator, screen: Screen, emitted: F32) -> tuple[F32, Floats]:
    """The panel with its frame: (h,w,5) r, g, b, covered, lit; and how far the picture moved inside it."""
    h, w = emitted.shape[:2]
    border = int(rng.uniform(*screen.bezel) * w) + 3
    bar_x, bar_y = 0, 0
    if rng.random() < 0.3:  # the picture does not fill the panel
        bar_x, bar_y = (
            (int(rng.uniform(0.05, 0.3) * w), 0) if rng.random() < 0.5 else (0, int(rng.uniform(0.05, 0.2) * h))
        )
    full = np.zeros((h + 2 * (bar_y + border), w + 2 * (bar_x + border), 5), np.float32)
    corner = Image.new("L", (full.shape[1], full.shape[0]), 0)
    radius = border * (2.0 if screen.code != 7 else 0.3)
    ImageDraw.Draw(corner).rounded_rectangle([1, 1, full.shape[1] - 2, full.shape[0] - 2], radius, fill=255)
    full[..., 3] = np.asarray(corner, np.float32) / 255.0
    full[border:-border, border:-border, :3] = np.float32(screen.black) * np.array(screen.cast, np.float32)
    full[border:-border, border:-border, 4] = 1.0
    y, x = border + bar_y, border + bar_x
    full[y : y + h, x : x + w, :3] = emitted
    return full, np.array([x, y], float)


def _reflection(rng: np.random.Generator, size: tuple[int, int], strength: float) -> F32:
    """What glass or gloss mirrors: a veil, and lamps or windows, out of focus. (h,w,1)."""
    h, w = size[0] // 4, size[1] // 4
    image = Image.new("F", (w, h), float(rng.uniform(0.0, 0.12)))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(0, 4)):
        x, y, r = rng.uniform(-0.1, 1.1) * w, rng.uniform(-0.1, 1.1) * h, rng.uniform(0.05, 0.3) * w
        if rng.random() < 0.5:
            draw.ellipse([x - r, y - r, x + r, y + r], fill=float(rng.uniform(0.2, 1.0)))
        else:
            lean = rng.uniform(-0.5, 0.5) * r
            draw.polygon(
                [(x - r, y - r), (x + r * 0.4, y - r), (x + r * 0.4 + lean, y + r), (x - r + lean, y + r)],
                fill=float(rng.uniform(0.15, 0.8)),
            )
    soft = np.asarray(image, np.float32)
    coarse = Image.fromarray((np.clip(soft, 0, 1) * 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(float(rng.uniform(1.5, 8)))
    )
    big = np.asarray(coarse.resize((size[1], size[0]), Image.Resampling.BICUBIC), np.float32) / 255.0
    return (np.float32(strength * rng.uniform(0.2, 1.3)) * big)[..., None]


def _paper(
    rng: np.random.Generator,
    name: str,
    source: Source,
    behind: F32,
    place: tuple[float, float, float],
    exposure: F32,
    cut: bool,
    worn: bool,
) -> Presented:
    paper = PAPERS[name]
    ink = printed(rng, paper, to_linear(source.picture))
    if cut:
        shape, code = _outline(rng, source, worn)
        sheet, shift = np.concatenate([ink, shape[..., None], shape[..., None]], axis=2), np.zeros(2)
        # scissors leave a rim of bare paper: its cut edge
        rim = Image.fromarray((shape * 255).astype(np.uint8)).filter(
            ImageFilter.MaxFilter(3 if rng.random() < 0.6 else 5)
        )
        sheet[..., 3] = np.asarray(rim, np.float32) / 255.0
        bare = (sheet[..., 3:4] - sheet[..., 4:5]).clip(0, 1)
        sheet[..., :3] = sheet[..., :3] * sheet[..., 4:5] + bare * np.array(paper.white, np.float32)
    else:
        code = paper.code
        sheet, shift = _margin(rng, paper, ink)
    matrix, box = _plane(rng, source.face + shift, place, 6.0 if worn else 10.0)
    bend = float(rng.uniform(0.35, 0.9)) if worn else float(max(0.0, rng.normal(0.15, 0.2)))
    size = behind.shape[:2]
    seen, u, v = _look(rng, matrix, size, sheet, min(bend, 1.1))
    cover = seen[..., 3:4]
    reflectance = halftone(rng, paper, seen[..., :3], u, v, 0.5)
    light = _falloff(rng, size, 0.16) * _curve(u, cover, bend, rng) * exposure
    gloss = _reflection(rng, size, paper.gloss) * exposure * cover
    ground = behind * (1 - _shadow(rng, cover[..., 0], worn))
    result = ground * (1 - cover) + reflectance * light + gloss
    if not worn and rng.random() < (0.8 if cut else 0.45):
        result = _fingers(rng, result, cover[..., 0], exposure)
    return Presented(result.astype(np.float32), box, code, name)


def _margin(rng: np.random.Generator, paper: Paper, ink: F32) -> tuple[F32, Floats]:
    h, w = ink.shape[:2]
    border = int(rng.uniform(*paper.border) * w) + 1
    white = np.array(paper.white, np.float32)
    sheet = np.empty((h + 2 * border, w + 2 * border, 4), np.float32)
    sheet[..., :3] = white
    sheet[..., 3] = 1.0
    sheet[border : border + h, border : border + w, :3] = ink
    if rng.random() < 0.3:  # a fold
        column = int(rng.uniform(0.2, 0.8) * sheet.shape[1])
        step = rng.uniform(0.03, 0.10)
        sheet[:, :column, :3] *= np.float32(1 - step)
        sheet[:, column - 1 : column + 1, :3] *= np.float32(1 + 2 * step)
    return sheet, np.array([border, border], float)


def _outline(rng: np.random.Generator, source: Source, worn: bool) -> tuple[F32, int]:
    """What the scissors left of the print (h,w) in [0,1], and its CelebA-Spoof type."""
    h, w = source.picture.shape[:2]
    code = int(rng.choice([4, 6], p=[0.65, 0.35]) if worn else rng.choice([4, 5], p=[0.5, 0.5]))
    centre = source.face.mean(axis=0)
    if code == 5 and source.person.min() > 0.5:
        code = 4  # no outline of the person is known
    scale = 2  # drawn larger: the edge gets soft pixels
    image = Image.new("L", (w * scale, h * scale), 0)
    draw = ImageDraw.Draw(image)
    wobble = 1.0 + 0.02 * np.sin(np.linspace(0, 2 * np.pi, len(source.face)) * rng.integers(3, 7) + rng.uniform(0, 6))
    contour = centre + (source.face - centre) * (rng.uniform(1.0, 1.10) * wobble)[:, None]
    if code == 5:
        grown = Image.fromarray((source.person * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(5))
        image = grown.point(lambda p: 255 if p > 70 else 0).resize((w * scale, h * scale), Image.Resampling.BICUBIC)
        image = image.point(lambda p: 255 if p > 127 else 0)
        draw = ImageDraw.Draw(image)
    elif code == 4:
        draw.polygon([tuple(p) for p in contour * scale], fill=255)
    else:
        low, high = contour.min(axis=0), contour.max(axis=0)
        draw.polygon([tuple(p) for p in contour * scale], fill=255)
        eye = source.eyes[:, 1].mean()
        if rng.random() < 0.5:  # from the eyes down, or from the nose up
            draw.rectangle([0, 0, w * scale, scale * (eye - rng.uniform(0.05, 0.12) * (high[1] - low[1]))], fill=0)
        else:
            draw.rectangle(
                [0, scale * (eye + rng.uniform(0.28, 0.40) * (high[1] - low[1])), w * scale, h * scale], fill=0
            )
    if code != 5 and rng.random() < (0.6 if worn else 0.25):
        radius = np.linalg.norm(source.eyes[1] - source.eyes[0]) * rng.uniform(0.17, 0.24)
        for x, y in source.eyes:
            box = [scale * (x - radius), scale * (y - radius * 0.6), scale * (x + radius), scale * (y + radius * 0.6)]
            draw.ellipse(box, fill=0)
    return np.asarray(image.resize((w, h), Image.Resampling.BOX), np.float32) / 255.0, code


def _falloff(rng: np.random.Generator, size: tuple[int, int], amount: float) -> F32:
    """Light on the sheet is never even: (h,w,1) around 1."""
    y = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, size[1], dtype=np.float32)[None]
    a, b = rng.normal(0.0, amount, 2)
    return (1.0 + np.float32(a) * x + np.float32(b) * y).clip(0.4, 1.6)[..., None].astype(np.float32)


def _curve(u: F32, cover: F32, bend: float, rng: np.random.Generator) -> F32:
    """Shading of a bent sheet (h,w,1)."""
    if bend < 0.05:
        return np.ones((1, 1, 1), np.float32)
    inside = cover[..., 0] > 0.5
    if not inside.any():
        return np.ones((1, 1, 1), np.float32)
    low, high = float(u[inside].min()), float(u[inside].max())
    phi = ((u - (low + high) / 2) / max((high - low) / 2, 1.0)).clip(-1, 1) * np.float32(bend)
    side = np.float32(rng.normal(0.0, 0.4))
    return (np.cos(phi) + side * np.sin(phi)).clip(0.35, 1.5)[..., None].astype(np.float32)


def _shadow(rng: np.random.Generator, cover: F32, worn: bool) -> F32:
    """The medium's shadow on what is behind it (h,w,1): close and dark when worn, wide and faint when held."""
    small = Image.fromarray((cover[::2, ::2].clip(0, 1) * 255).astype(np.uint8))
    blur, depth = (
        (rng.uniform(1.0, 2.5), rng.uniform(0.35, 0.65)) if worn else (rng.uniform(4, 10), rng.uniform(0.05, 0.3))
    )
    soft = np.asarray(
        small.filter(ImageFilter.GaussianBlur(float(blur))).resize((cover.shape[1], cover.shape[0])), np.float32
    )
    reach = 3 if worn else 9
    dx, dy = int(rng.integers(-reach, reach + 1)), int(rng.integers(0, reach + 1))
    return (np.roll(soft, (dy, dx), axis=(0, 1)) / 255.0 * np.float32(depth))[..., None]


def _fingers(rng: np.random.Generator, picture: F32, cover: F32, exposure: F32) -> F32:
    """A thumb on the sheet where its border crosses the picture; nothing if the border is out of sight."""
    h, w = cover.shape
    edge = np.abs(np.diff(cover > 0.5, axis=1)[:-1]) | np.abs(np.diff(cover > 0.5, axis=0)[:, :-1])
    y, x = np.nonzero(edge[h // 3 :])
    if len(y) < 20:
        return picture
    pick = rng.integers(len(y))
    tip = np.array([x[pick], y[pick] + h // 3], float)
    inwards = np.array([w / 2, h / 2]) - tip
    inwards /= max(float(np.linalg.norm(inwards)), 1e-6)
    size = w * rng.uniform(0.035, 0.055)
    tip += inwards * size * rng.uniform(1.0, 2.2)
    yy, xx = np.mgrid[:h, :w].astype(np.float32)
    along = (xx - tip[0]) * -inwards[0] + (yy - tip[1]) * -inwards[1]
    across = (xx - tip[0]) * inwards[1] - (yy - tip[1]) * inwards[0]
    width = size * (0.85 + 0.25 * np.clip(along / (4 * size), 0, 1))
    distance = np.where(along > 0, np.abs(across) / width, np.hypot(along, across) / width)
    cover_f = np.clip((1.0 - distance) * size * 0.5, 0.0, 1.0)[..., None]
    tone = rng.uniform(0.15, 0.75) * np.array([0.62, 0.36, 0.26]) * np.exp(rng.normal(0, 0.1, 3)) + 0.03
    round_shade = (0.45 + 0.65 * np.sqrt(np.clip(1 - distance**2, 0, 1)))[..., None]
    nail = np.exp(-(((along - size * 0.55) / (size * 0.5)) ** 2 + (across / (size * 0.5)) ** 2) * 1.5)[..., None]
    skin = tone.astype(np.float32) * round_shade * exposure * (1.0 + 0.25 * nail)
    dark = np.clip(1.35 - distance, 0, 1)[..., None] * 0.35 * (1 - cover_f)
    return picture * (1 - dark) * (1 - cover_f) + skin * cover_f
