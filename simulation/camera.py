"""The camera that takes every picture, live or spoof alike: lens, exposure, white balance, noise, tone curve, JPEG."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Camera:
    """Ranges a picture's settings are drawn from.

    blur: sigma px; noise: of the darkest signal, linear; shot: photon noise factor; balance: sd of the log white
    balance; contrast: of the tone curve; sharpen: unsharp amount; vignette: darkening of the corners; quality: JPEG;
    saturation: 1 keeps it.
    """

    blur: tuple[float, float]
    noise: tuple[float, float]
    shot: tuple[float, float]
    balance: float
    contrast: tuple[float, float]
    sharpen: tuple[float, float]
    vignette: tuple[float, float]
    quality: tuple[int, int]
    saturation: tuple[float, float]


CAMERAS = {
    "phone": Camera(
        (0.45, 0.9), (0.001, 0.004), (0.004, 0.014), 0.05, (0.95, 1.15), (0.3, 0.9), (0.0, 0.15), (80, 95), (0.8, 1.2)
    ),
    "webcam": Camera(
        (0.7, 1.4), (0.004, 0.012), (0.012, 0.035), 0.09, (0.9, 1.1), (0.0, 0.5), (0.05, 0.3), (60, 85), (0.65, 1.1)
    ),
    "dslr": Camera(
        (0.35, 0.6), (0.0005, 0.002), (0.002, 0.006), 0.03, (1.0, 1.1), (0.1, 0.4), (0.0, 0.1), (88, 97), (0.85, 1.15)
    ),
    "doorbell": Camera(
        (0.8, 1.5), (0.003, 0.010), (0.010, 0.03), 0.07, (1.1, 1.35), (0.5, 1.3), (0.2, 0.5), (55, 80), (0.5, 0.95)
    ),
}


def expose(
    rng: np.random.Generator, camera: Camera, light: F32, noise: np.random.Generator | None = None
) -> NDArray[np.uint8]:
    """Linear light (h,w,3) float32 -> the sRGB picture (h,w,3) uint8 before compression.

    noise: what the sensor's noise is drawn from where the settings of `rng` stay the same, in a film; None: `rng`.
    """
    from simulation.kernels import develop

    h, w = light.shape[:2]
    pixels = _blur(light, rng.uniform(*camera.blur))
    # the meter aims at an average grey, but not all the way: dark scenes stay darker
    gain = float((0.20 / max(float(pixels.mean()), 0.005)) ** 0.55 * np.exp(rng.normal(0.0, 0.10)))
    balance = np.exp(rng.normal(0.0, camera.balance, 3) * [1.0, 0.4, 1.0])
    level = min(gain, 4.0)  # noise grows with the gain, as with a real amplifier
    encoded = np.empty((h, w, 3), np.float32)
    # stray light in the lens, and the maker's (or an old sensor's) saturation
    haze = (rng.uniform(0.0, 0.10) * pixels.mean(axis=(0, 1))).astype(np.float32)
    develop(
        pixels,
        haze,
        rng.uniform(*camera.saturation),
        (gain * balance).astype(np.float32),
        rng.uniform(*camera.vignette),
        rng.uniform(*camera.noise) * level,
        rng.uniform(*camera.shot) * level**0.5,
        (noise or rng).standard_normal((h, w, 3), dtype=np.float32),
        (noise or rng).standard_normal((h, w), dtype=np.float32),
        _tone_curve(rng.uniform(*camera.contrast)),
        encoded,
    )
    sharpen = np.float32(rng.uniform(*camera.sharpen))
    encoded += sharpen * (encoded - _blur(encoded, 1.0))
    return np.clip(encoded * 255.0 + 0.5, 0, 255).astype(np.uint8)


def _tone_curve(contrast: float) -> F32:
    """sRGB with a soft shoulder instead of a hard clip and the maker's contrast, over linear 0..4."""
    linear = np.linspace(0.0, 4.0, 8192)
    linear = np.where(linear > 0.7, 0.7 + 0.3 * np.tanh((linear - 0.7) / 0.3), linear)
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return ((encoded - 0.5) * contrast + 0.5).astype(np.float32)


def compress(picture: NDArray[np.uint8], quality: int) -> bytes:
    """The camera's JPEG file (4:2:0, as nearly every camera writes)."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _blur(pixels: F32, sigma: float) -> F32:
    """Gaussian blur of (h,w,3), five to nine taps a direction."""
    radius = max(1, int(np.ceil(2.5 * sigma)))
    taps = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    taps = (taps / taps.sum()).astype(np.float32)
    from simulation.kernels import convolve

    return convolve(np.ascontiguousarray(pixels, dtype=np.float32), taps)
