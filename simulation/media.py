"""Papers, printers and screens that carry a presented face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Paper:
    """black, white: linear reflectance of full ink (r,g,b) and of bare paper; saturation of its gamut; dots: halftone
    amplitude (0: none); grain: of ink and fibres; gloss: of the surface; border: share of the width left white; bands:
    amplitude of the print head's stripes; code: CelebA-Spoof type."""

    black: tuple[float, float, float]
    white: tuple[float, float, float]
    saturation: float
    dots: float
    pitch: tuple[float, float]
    grain: float
    gloss: float
    border: tuple[float, float]
    bands: float
    code: int


@dataclass(frozen=True)
class Screen:
    """gamma: of the panel against sRGB's; cast: white point (r,g,b); black: light leaking through black; pitch: pixel
    pitch in camera px; stripes: amplitude of the sub-pixel pattern; glare: strength of reflections; bezel: its colour
    and width share; flicker: amplitude of refresh bands; code: CelebA-Spoof type."""

    gamma: float
    cast: tuple[float, float, float]
    black: float
    pitch: tuple[float, float]
    stripes: float
    glare: float
    bezel: tuple[float, float]
    flicker: float
    code: int


PAPERS = {
    "laser-a4": Paper(
        (0.055, 0.052, 0.05), (0.80, 0.82, 0.84), 0.80, dots=0.55, pitch=(1.1, 2.6), grain=0.012, gloss=0.03,
        border=(0.03, 0.10), bands=0.0, code=3,
    ),
    "inkjet-a4": Paper(
        (0.085, 0.075, 0.09), (0.82, 0.81, 0.77), 0.68, dots=0.10, pitch=(0.9, 1.4), grain=0.040, gloss=0.0,
        border=(0.03, 0.10), bands=0.035, code=3,
    ),
    "photo-gloss": Paper(
        (0.025, 0.025, 0.028), (0.86, 0.85, 0.83), 0.95, dots=0.06, pitch=(0.8, 1.1), grain=0.008, gloss=0.22,
        border=(0.0, 0.04), bands=0.0, code=1,
    ),
    "poster-matte": Paper(
        (0.06, 0.055, 0.05), (0.74, 0.73, 0.69), 0.85, dots=0.42, pitch=(1.8, 3.4), grain=0.020, gloss=0.01,
        border=(0.0, 0.03), bands=0.012, code=2,
    ),
}  # fmt: skip
SCREENS = {
    "pc-lcd": Screen(1.08, (0.92, 0.98, 1.10), 0.018, (1.05, 2.3), 0.45, 0.06, (0.05, 0.06), 0.05, 7),
    "laptop-tn": Screen(0.92, (0.86, 0.98, 1.16), 0.035, (0.9, 1.8), 0.40, 0.10, (0.03, 0.04), 0.03, 7),
    "tablet-ips": Screen(1.0, (0.98, 1.0, 1.05), 0.010, (0.75, 1.5), 0.36, 0.20, (0.02, 0.06), 0.0, 8),
    "phone-oled": Screen(1.12, (1.0, 1.0, 1.07), 0.003, (0.7, 1.4), 0.34, 0.24, (0.015, 0.03), 0.08, 9),
}
ATTACK_DOMAINS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "all": (tuple(PAPERS), tuple(SCREENS)),
    "office": (("laser-a4", "inkjet-a4"), ("pc-lcd", "phone-oled")),
    "home": (("photo-gloss", "poster-matte"), ("laptop-tn", "tablet-ips")),
}
Kind = Literal["print", "replay", "papercut"]


def printed(rng: np.random.Generator, paper: Paper, picture: F32) -> F32:
    """Reflectance (h,w,3) of the print of a linear picture: a smaller gamut between full ink and bare paper."""
    grey = picture @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    ink = grey[..., None] + np.float32(paper.saturation * rng.uniform(0.9, 1.05)) * (picture - grey[..., None])
    ink = np.clip(ink, 0.0, 1.0) ** np.float32(rng.uniform(0.85, 1.12))
    black, white = np.array(paper.black, np.float32), np.array(paper.white, np.float32)
    drift = np.exp(rng.normal(0.0, 0.04, 3)).astype(np.float32)  # one cartridge is never quite right
    out = black + (white - black) * ink * drift
    if paper.bands > 0:
        rows = np.repeat(rng.normal(0.0, paper.bands, picture.shape[0] // 5 + 1), 5)[: picture.shape[0]]
        out *= (1.0 + rows.astype(np.float32))[:, None, None]
    fibres = rng.standard_normal(picture.shape[:2], dtype=np.float32)
    out *= (1.0 + np.float32(paper.grain) * (fibres + np.roll(fibres, 1, axis=1)))[..., None]
    return out


def halftone(rng: np.random.Generator, paper: Paper, reflectance: F32, u: F32, v: F32, blur: float) -> F32:
    """Printing dots (one screen angle an ink) as the camera's pixels sample them: too fine ones turn into moiré.

    `u`, `v` (h,w) are picture px measured along the medium; `blur` the lens's sigma px, which weakens the dots first.
    """
    if paper.dots == 0.0:
        return reflectance
    pitch = rng.uniform(*paper.pitch)
    seen = np.exp(-2 * (np.pi * blur / pitch) ** 2)
    out = reflectance.copy()
    span = np.array(paper.white, np.float32)
    for c, angle in enumerate(np.radians([15.0, 75.0, 0.0])):
        turned = np.float32(2 * np.pi / pitch)
        s = turned * (u * np.float32(np.cos(angle)) + v * np.float32(np.sin(angle)))
        t = turned * (v * np.float32(np.cos(angle)) - u * np.float32(np.sin(angle)))
        ink = np.clip(1.0 - reflectance[..., c] / span[c], 0.0, 1.0)
        out[..., c] += (
            np.float32(paper.dots * seen) * 4 * ink * (1 - ink) * np.cos(s) * np.cos(t) * span[c] * np.float32(0.5)
        )
    return np.maximum(out, 0.0)


def displayed(rng: np.random.Generator, screen: Screen, picture: F32) -> F32:
    """Emitted light (h,w,3) of a screen that shows a linear picture."""
    shown = np.clip(picture, 0.0, 1.0) ** np.float32(screen.gamma * rng.uniform(0.93, 1.07))
    cast = np.array(screen.cast, np.float32) * np.exp(rng.normal(0.0, 0.02, 3)).astype(np.float32)
    return (np.float32(screen.black) + (1 - np.float32(screen.black)) * shown) * cast


def pixel_grid(rng: np.random.Generator, screen: Screen, emitted: F32, u: F32, v: F32, blur: float) -> F32:
    """The sub-pixel stripes and rows as the camera's pixels sample them; the beat between both grids is the moiré."""
    pitch = rng.uniform(*screen.pitch)
    amplitude = screen.stripes * rng.uniform(0.5, 1.2)
    phase = rng.uniform(0, 2 * np.pi, 2)
    # sensor pixels integrate too, but on a mosaic red and blue are sampled only every second pixel
    first = np.float32(amplitude * np.exp(-2 * (np.pi * blur * 0.8 / pitch) ** 2))
    k = np.float32(2 * np.pi / pitch)
    rows = 1.0 + first * 0.7 * np.cos(k * v + np.float32(phase[1]))
    out = np.empty_like(emitted)
    for c in range(3):
        stripe = np.cos(k * u + np.float32(phase[0] + c * 2 * np.pi / 3))
        out[..., c] = emitted[..., c] * (1.0 + first * stripe) * rows
    if screen.flicker > 0:
        line = np.arange(emitted.shape[0], dtype=np.float32)[:, None, None]
        wave = np.sin(line * np.float32(2 * np.pi * rng.uniform(0.6, 3.0) / emitted.shape[0]) + np.float32(phase[0]))
        out *= 1.0 + np.float32(screen.flicker * rng.uniform(0, 1)) * np.clip(wave * 3, -1, 1)
    return np.maximum(out, 0.0)
