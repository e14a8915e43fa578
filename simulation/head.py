"""Drawn people: head shape, colouring, expression and pose, all independent of what an aligner sees.

Displacements are fields over the canonical face (x right, y up, z towards the viewer, about centimetres; nose tip at
(0, -1.1, 7.5), eyes at (+-3, 2.6, 3.5), mouth at (0, -4.3, 5), chin at (0, -9.4, 4.3)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulation.surface import smoothstep

Floats = NDArray[np.float64]

# linear-light colours from light to dark skin; the draw walks along this line and jitters around it
_SKIN = np.array(
    [[0.64, 0.41, 0.32], [0.56, 0.35, 0.25], [0.46, 0.26, 0.165], [0.26, 0.135, 0.080], [0.12, 0.062, 0.040]]
)
_HAIR = np.array(
    [[0.016, 0.013, 0.012], [0.045, 0.024, 0.015], [0.11, 0.058, 0.030], [0.36, 0.22, 0.10], [0.22, 0.06, 0.02],
     [0.33, 0.31, 0.29]]
)  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """What stays the same over all pictures of a subject. shape: canonical units (see `shape_field`)."""

    mirrored: bool
    shape: Floats
    skin: Floats
    skin_strength: float
    hair: Floats
    hair_strength: float
    clothes: Floats
    grain: int


@dataclass(frozen=True)
class Expression:
    """mouth: opening in canonical units; smile and brows: about -1..1."""

    mouth: float
    smile: float
    brows: float


def draw_identity(rng: np.random.Generator, mirrored: bool, plain: bool = False) -> Identity:
    """A person. `plain` keeps the photograph's own colours (one portrait a subject: it is a person already)."""
    place = rng.uniform(0.0, len(_SKIN) - 1.0)
    low = min(int(place), len(_SKIN) - 2)
    skin = _SKIN[low] + (place - low) * (_SKIN[low + 1] - _SKIN[low])
    skin = skin * np.exp(rng.normal(0.0, [0.05, 0.07, 0.09]))
    hair = _HAIR[rng.integers(len(_HAIR))] * np.exp(rng.normal(0.0, 0.15))
    return Identity(
        mirrored=mirrored,
        shape=rng.normal(0.0, 1.0, _SHAPES),
        skin=skin,
        skin_strength=0.0 if plain else float(rng.uniform(0.7, 1.0)),
        hair=hair,
        hair_strength=0.0 if plain else float(rng.uniform(0.0, 0.85)),
        clothes=np.zeros(3) if plain else rng.normal(0.0, 1.0, 3),
        grain=int(rng.integers(1 << 30)),
    )


def draw_expression(rng: np.random.Generator, already_open: float = 0.0) -> Expression:
    """Mostly at rest, sometimes speaking, smiling or frowning.

    `already_open`: the photograph's own mouth opening, canonical units. Where teeth show there is little room for more.
    """
    speaking = rng.random() < 0.35 and already_open < 0.8
    return Expression(
        mouth=float(rng.uniform(0.15, 1.1)) if speaking else float(rng.uniform(0.0, 0.12)),
        smile=float(np.clip(rng.normal(0.0, 0.5), -0.8, 1.0)),
        brows=float(np.clip(rng.normal(0.0, 0.5), -1.0, 1.0)),
    )


def draw_pose(rng: np.random.Generator, own: tuple[float, float, float]) -> tuple[float, float, float]:
    """Yaw within +-35, pitch within +-20 and some roll, degrees, not too far from the photograph's `own` three.

    A photograph shows only the sides of the head that faced the camera: more than 38 degrees of turning would show skin
    that is not in it. Pitch is counted from -6: the average face, looking straight ahead, measures so.
    """
    yaw = rng.uniform(-35.0, 35.0) if rng.random() < 0.6 else rng.normal(0.0, 9.0)
    pitch = rng.uniform(-20.0, 20.0) if rng.random() < 0.4 else rng.normal(0.0, 6.0)
    yaw = float(np.clip(yaw, max(-35.0, own[0] - 38.0), min(35.0, own[0] + 38.0)))
    pitch = float(np.clip(np.clip(pitch, -20.0, 20.0) - 6.0, own[1] - 20.0, own[1] + 20.0))
    roll = float(np.clip(own[2] * 0.7 + rng.normal(0.0, 4.5), -14.0, 14.0))
    return yaw, pitch, roll


def _bump(points: Floats, centre: tuple[float, float, float], size: float) -> Floats:
    """Gaussian weight around a point and around its mirror image."""
    x, y, z = centre
    weight = np.zeros(len(points))
    for side in (x, -x) if x else (x,):
        weight = np.maximum(weight, np.exp(-((points - (side, y, z)) ** 2).sum(axis=1) / (2 * size**2)))
    return weight


def _modes(points: Floats) -> list[Floats]:
    """Displacement (n,3) of one standard deviation of every way in which heads differ."""
    x, y, z = points.T
    zero = np.zeros_like(x)
    field = lambda dx, dy, dz: np.column_stack([dx + zero, dy + zero, dz + zero])  # noqa: E731 - a local notation
    nose = _bump(points, (0, -1.0, 7.0), 1.7)
    bridge = _bump(points, (0, 2.0, 5.5), 1.5)
    wings = _bump(points, (1.6, -1.6, 5.5), 1.0)
    cheeks = _bump(points, (4.8, -0.5, 2.8), 2.2)
    jowls = _bump(points, (4.5, -5.5, 1.5), 2.4)
    chin = _bump(points, (0, -9.0, 4.3), 2.2)
    lips = _bump(points, (0, -4.3, 5.2), 1.6)
    eyes = _bump(points, (3.0, 2.6, 3.5), 1.7)
    brow = _bump(points, (2.5, 4.6, 4.6), 1.8)
    forehead = smoothstep(3.5, 8.0, y)
    jaw = 1.0 - smoothstep(-8.0, -2.0, y)
    side = np.sign(x)
    return [
        field(0.035 * x, 0, 0),  # wide
        field(0, 0.03 * y, 0),  # long
        field(0, 0, 0.10 * (z - 1.0)),  # deep
        field(0, -0.12 * nose, 0.55 * nose),  # long nose
        field(0, 0, 0.40 * bridge),  # high bridge
        field(0.16 * wings * side, 0, 0.08 * wings),  # broad nose
        field(0.20 * cheeks * side, 0, 0.40 * cheeks),  # cheekbones
        field(0.22 * jowls * side, 0, 0.30 * jowls),  # full cheeks
        field(0, -0.25 * chin, 0.45 * chin),  # strong chin
        field(0.05 * jaw * x, 0, 0),  # wide jaw
        field(0, 0.05 * (y + 4.3) * lips, 0.30 * lips),  # full lips
        field(0.10 * eyes * side, 0, -0.22 * eyes),  # deep-set, wide eyes
        field(0, 0, 0.28 * brow),  # brow ridge
        field(0, 0.15 * forehead, 0.40 * forehead * (1 - (x / 9.0) ** 2)),  # high, round forehead
        field(0, 0, 0.22 * np.sin(0.45 * y) * np.cos(0.22 * x)),  # two slow waves: what the names above do not cover
        field(0, 0, 0.22 * np.cos(0.30 * y + 0.5) * np.cos(0.35 * x)),
    ]


_SHAPES = 16


def shape_field(points: Floats, shape: Floats) -> Floats:
    """Displacement (n,3) of canonical points (n,3) for the coefficients (16,), standard normal, cut at 2.2."""
    modes = _modes(points)
    return np.sum([c * mode for c, mode in zip(np.clip(shape, -2.2, 2.2), modes, strict=True)], axis=0)


def expression_field(points: Floats, expression: Expression) -> Floats:
    """Displacement (n,3) of canonical points (n,3): the jaw drops, mouth corners and brows move."""
    x, y, _ = points.T
    moved = np.zeros_like(points)
    below = (y < -4.28).astype(float)
    skin = smoothstep(0.2, 1.8, -4.28 - y)
    lips = np.sqrt(np.clip(1.0 - (x / 2.5) ** 2, 0.0, 1.0))
    jaw = below * ((1 - skin) * lips + skin * np.exp(-((x / 5.5) ** 2)))
    moved[:, 1] -= expression.mouth * jaw
    moved[:, 2] -= 0.35 * expression.mouth * jaw
    corners = _bump(points, (2.5, -4.3, 4.3), 1.1)
    cheeks = _bump(points, (3.6, -1.6, 4.0), 1.5)
    moved[:, 0] += np.sign(x) * 0.28 * expression.smile * corners
    moved[:, 1] += 0.30 * expression.smile * corners + 0.12 * max(expression.smile, 0.0) * cheeks
    moved[:, 2] += 0.15 * max(expression.smile, 0.0) * cheeks - 0.12 * expression.smile * corners
    moved[:, 1] += 0.35 * expression.brows * _bump(points, (2.6, 4.7, 4.6), 1.3)
    return moved
