"""Drawn surroundings: walls, rooms, windows, gardens and evening lights, out of focus."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

F32 = NDArray[np.float32]
Floats = NDArray[np.float64]


def draw_background(rng: np.random.Generator, width: int, height: int, outdoor: bool = False) -> F32:
    """A background (height,width,3) float32, linear light. Frames and screens of its own hang in it now and then."""
    w, h = width // 2 + 8, height // 2 + 8  # drawn small: it is out of focus anyway
    kind = rng.choice(["garden", "garden", "evening"]) if outdoor else rng.choice(["wall", "room", "room", "room"])
    if kind == "garden":
        canvas, blur = _garden(rng, w, h), rng.uniform(1.5, 4.0)
    elif kind == "evening":
        canvas, blur = _evening(rng, w, h), rng.uniform(1.0, 2.5)
    else:
        canvas = _gradient(_paint(rng, 60, 225), _paint(rng, 60, 225), rng, w, h)
        blur = rng.uniform(0.4, 2.0)
        if kind == "room":
            _room(ImageDraw.Draw(canvas), rng, w, h)
            blur = rng.uniform(1.0, 5.0)
    canvas = canvas.filter(ImageFilter.GaussianBlur(float(blur)))
    pixels = np.asarray(canvas.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32) / 255.0
    # no real wall is even
    clouds = np.clip(1.0 + 0.05 * _noise(rng, width, height, 7), 0.6, 1.5)
    return (pixels * pixels * clouds[..., None]).astype(np.float32)


def _paint(rng: np.random.Generator, low: float, high: float) -> Floats:
    """A colour of walls and furniture: mostly greyish, warm more often than cold, rarely loud."""
    level = rng.uniform(low, high)
    warm = rng.normal(0.04, 0.07)
    loud = rng.normal(0.0, 0.035 if rng.random() < 0.8 else 0.2, 3)
    return level * np.exp(np.array([warm, 0.0, -1.3 * warm]) + loud)


def _rgb(value: Floats) -> tuple[int, int, int]:
    r, g, b = np.clip(value, 0, 255).astype(int)
    return int(r), int(g), int(b)


def _noise(rng: np.random.Generator, width: int, height: int, cells: int) -> F32:
    coarse = rng.normal(0.0, 1.0, (cells, cells)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.float32)


def _gradient(a: Floats, b: Floats, rng: np.random.Generator, w: int, h: int) -> Image.Image:
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:h, :w]
    t = 0.25 + 0.25 * ((x / w - 0.5) * np.cos(angle) + (y / h - 0.5) * np.sin(angle))
    return Image.fromarray(np.clip(a + (b - a) * t[..., None], 0, 255).astype(np.uint8))


def _room(draw: ImageDraw.ImageDraw, rng: np.random.Generator, w: int, h: int) -> None:
    if rng.random() < 0.5:  # a corner: the other wall is darker
        x, lean = rng.uniform(0, w), rng.uniform(-20, 20)
        edge = -1 if rng.random() < 0.5 else w + 1
        draw.polygon([(x, -1), (x + lean, h + 1), (edge, h + 1), (edge, -1)], fill=_rgb(_paint(rng, 50, 200)))
    if rng.random() < 0.35:  # curtains
        x0, span = rng.uniform(-0.1, 0.8) * w, rng.uniform(0.2, 0.5) * w
        base = _paint(rng, 60, 215)
        for i in range(24):
            x = x0 + span * i / 24
            shade = base * (0.8 + 0.2 * np.sin(i * 1.3 + rng.normal(0, 0.3)))
            draw.rectangle([x, 0, x + span / 22, h], fill=_rgb(shade))
    for _ in range(rng.integers(1, 5)):  # frames, windows, doors, screens
        bw, bh = rng.uniform(0.12, 0.5) * w, rng.uniform(0.12, 0.6) * h
        x, y, t = rng.uniform(-0.15, 0.95) * w, rng.uniform(-0.1, 0.7) * h, rng.uniform(1.5, 5)
        inner = _paint(rng, 25, 250)
        draw.rectangle([x, y, x + bw, y + bh], fill=_rgb(_paint(rng, 15, 235)))
        draw.rectangle([x + t, y + t, x + bw - t, y + bh - t], fill=_rgb(inner))
        for _ in range(rng.integers(0, 9)):
            px, py, r = x + rng.uniform(0.1, 0.9) * bw, y + rng.uniform(0.1, 0.9) * bh, rng.uniform(0.02, 0.12) * bw
            draw.ellipse([px - r, py - r, px + r, py + r], fill=_rgb(inner * np.exp(rng.normal(0, 0.25, 3))))
    if rng.random() < 0.4:  # a shelf with books
        y, x, end = rng.uniform(0.05, 0.8) * h, rng.uniform(-0.3, 0.3) * w, rng.uniform(0.5, 1.2) * w
        while x < end:
            bw, bh = rng.uniform(0.015, 0.05) * w, rng.uniform(0.1, 0.18) * h
            book = rng.uniform(30, 170) * np.exp(rng.normal(0, 0.22, 3))
            draw.rectangle([x, y - bh, x + bw, y], fill=_rgb(book))
            x += bw
        draw.rectangle([-1, y, w + 1, y + 4], fill=_rgb(_paint(rng, 40, 160)))


def _garden(rng: np.random.Generator, w: int, h: int) -> Image.Image:
    """Leaves and sky as clouds of noise on four scales."""
    leaves = sum(_noise(rng, w, h, cells) * amount for cells, amount in ((4, 0.3), (9, 0.3), (22, 0.35), (50, 0.3)))
    hue = _noise(rng, w, h, 6)[..., None] * np.array([0.10, 0.0, -0.06])
    green = rng.uniform(45, 105) * np.array([0.92, 1.0, 0.62]) * np.exp(rng.normal(0, 0.08, 3))
    wood = green * np.exp(np.asarray(leaves)[..., None] * 0.75 + hue)
    sky = np.array([205, 218, 230]) * np.exp(rng.normal(0, 0.05, 3))
    line = rng.uniform(-0.4, 0.6) * h
    y = np.arange(h)[:, None]
    above = 1 / (1 + np.exp((y - line) / (0.04 * h) + np.asarray(leaves) * 2.2))
    return Image.fromarray(np.clip(wood + (sky - wood) * above[..., None], 0, 255).astype(np.uint8))


def _evening(rng: np.random.Generator, w: int, h: int) -> Image.Image:
    base = _paint(rng, 20, 55)
    dim = base * np.exp(0.35 * _noise(rng, w, h, 5) + 0.2 * _noise(rng, w, h, 14))[..., None]
    canvas = Image.fromarray(np.clip(dim, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(6, 26)):
        x, y, r = rng.uniform(0, w), rng.uniform(0, 0.8 * h), rng.uniform(0.012, 0.045) * w
        warm = np.array([255, 205, 140]) * rng.uniform(0.45, 0.95) * np.exp(rng.normal(0, 0.12, 3))
        draw.ellipse([x - r, y - r, x + r, y + r], fill=_rgb(warm))
    return canvas
