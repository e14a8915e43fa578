"""Drawn surroundings: walls, rooms, windows, gardens and evening lights, out of focus."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

F32 = NDArray[np.float32]


def draw_background(rng: np.random.Generator, width: int, height: int, outdoor: bool = False) -> F32:
    """A background (height,width,3) float32, linear light. Frames and screens of its own hang in it now and then."""
    w, h = width // 2 + 8, height // 2 + 8  # drawn small: it is out of focus anyway
    kind = rng.choice(["garden", "garden", "evening"]) if outdoor else rng.choice(["wall", "room", "room", "room"])
    canvas = Image.new("RGB", (w, h))
    draw = ImageDraw.Draw(canvas)
    _gradient(canvas, _colour(rng, kind), _colour(rng, kind), rng)
    if kind == "room":
        _room(draw, rng, w, h)
    elif kind == "garden":
        _blobs(draw, rng, w, h, 90, base=np.array([70, 105, 55]), spread=38, low=h * 0.25)
    elif kind == "evening":
        _blobs(draw, rng, w, h, 26, base=np.array([60, 52, 50]), spread=22, low=0)
        _lights(draw, rng, w, h)
    blur = {"wall": rng.uniform(0.3, 2), "room": rng.uniform(0.8, 4.5), "garden": rng.uniform(2, 5)}.get(kind, 1.8)
    canvas = canvas.filter(ImageFilter.GaussianBlur(float(blur)))
    pixels = np.asarray(canvas.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32) / 255.0
    return (pixels**2.2) * _clouds(rng, width, height, 0.05)[..., None]


def _colour(rng: np.random.Generator, kind: str) -> NDArray[np.float64]:
    if kind == "evening":
        return rng.uniform(14, 55) + rng.normal(0, 8, 3)
    if kind == "garden":
        return np.array([150, 175, 190]) + rng.normal(0, 25, 3)
    return rng.uniform(70, 225) + rng.normal(0, 14, 3)


def _gradient(canvas: Image.Image, a: NDArray[np.float64], b: NDArray[np.float64], rng: np.random.Generator) -> None:
    w, h = canvas.size
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:h, :w]
    t = 0.5 + 0.5 * ((x / w - 0.5) * np.cos(angle) + (y / h - 0.5) * np.sin(angle))
    mixed = a + (0.5 * b + 0.5 * a - a) * t[..., None]
    canvas.paste(Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8)))


def _rgb(value: NDArray[np.float64]) -> tuple[int, int, int]:
    r, g, b = np.clip(value, 0, 255).astype(int)
    return int(r), int(g), int(b)


def _room(draw: ImageDraw.ImageDraw, rng: np.random.Generator, w: int, h: int) -> None:
    if rng.random() < 0.5:  # a corner: the other wall is darker
        x = rng.uniform(0, w)
        top = rng.uniform(-20, 20)
        tone = _rgb(rng.uniform(60, 200) + rng.normal(0, 12, 3))
        edge = (0, -1) if rng.random() < 0.5 else (w, w + 1)
        draw.polygon([(x, -1), (x + top, h), (edge[0], h + 1), (edge[0], -1)], fill=tone)
    if rng.random() < 0.35:  # curtains
        x0, span = rng.uniform(-0.1, 0.8) * w, rng.uniform(0.2, 0.5) * w
        base = rng.uniform(70, 210) + rng.normal(0, 18, 3)
        for i in range(24):
            shade = base * (0.78 + 0.22 * np.sin(i * 1.3 + rng.normal(0, 0.3)))
            x = x0 + span * i / 24
            draw.rectangle([x, 0, x + span / 22, h], fill=_rgb(shade))
    for _ in range(rng.integers(1, 5)):  # frames, windows, doors, screens
        bw, bh = rng.uniform(0.12, 0.5) * w, rng.uniform(0.12, 0.6) * h
        x, y = rng.uniform(-0.15, 0.95) * w, rng.uniform(-0.1, 0.7) * h
        inner = rng.uniform(25, 250) + rng.normal(0, 22, 3)
        border = rng.uniform(15, 240) + rng.normal(0, 15, 3)
        draw.rectangle([x, y, x + bw, y + bh], fill=_rgb(border))
        t = rng.uniform(1.5, 5)
        draw.rectangle([x + t, y + t, x + bw - t, y + bh - t], fill=_rgb(inner))
        if rng.random() < 0.5:
            for _ in range(rng.integers(2, 9)):
                px, py = x + rng.uniform(0.1, 0.9) * bw, y + rng.uniform(0.1, 0.9) * bh
                r = rng.uniform(0.03, 0.16) * bw
                draw.ellipse([px - r, py - r, px + r, py + r], fill=_rgb(inner + rng.normal(0, 40, 3)))
    if rng.random() < 0.45:  # a shelf with books
        y = rng.uniform(0.05, 0.8) * h
        x, end = rng.uniform(-0.3, 0.3) * w, rng.uniform(0.5, 1.2) * w
        while x < end:
            bw, bh = rng.uniform(0.015, 0.05) * w, rng.uniform(0.1, 0.18) * h
            draw.rectangle([x, y - bh, x + bw, y], fill=_rgb(rng.uniform(30, 200) + rng.normal(0, 40, 3)))
            x += bw
        draw.rectangle([-1, y, w + 1, y + 4], fill=_rgb(np.full(3, rng.uniform(40, 160)) * [1.1, 0.95, 0.8]))


def _blobs(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, w: int, h: int, n: int, base: NDArray, spread: float, low: float
) -> None:
    for _ in range(n):
        x, y, r = rng.uniform(-0.1, 1.1) * w, rng.uniform(low, h * 1.1), rng.uniform(0.03, 0.16) * w
        squash = rng.uniform(0.6, 1.4)
        tone = _rgb(base * rng.uniform(0.5, 1.4) + rng.normal(0, spread * 0.4, 3))
        draw.ellipse([x - r, y - r * squash, x + r, y + r * squash], fill=tone)


def _lights(draw: ImageDraw.ImageDraw, rng: np.random.Generator, w: int, h: int) -> None:
    for _ in range(rng.integers(6, 26)):
        x, y, r = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0.012, 0.05) * w
        warm = np.array([255, 205, 140]) * rng.uniform(0.55, 1.0) + rng.normal(0, 25, 3)
        draw.ellipse([x - r, y - r, x + r, y + r], fill=_rgb(warm))


def _clouds(rng: np.random.Generator, width: int, height: int, amount: float) -> F32:
    """Slow brightness changes around 1: no real wall is even."""
    coarse = rng.normal(0.0, 1.0, (7, 8)).astype(np.float32)
    field = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(1.0 + amount * np.asarray(field), 0.6, 1.5).astype(np.float32)
