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
    balance; contrast: of the tone curve; sharpen: unsharp amount; vignette: darkening of the corners; quality: JPEG.
    """

    blur: tuple[float, float]
    noise: tuple[float, float]
    shot: tuple[float, float]
    balance: float
    contrast: tuple[float, float]
    sharpen: tuple[float, float]
    vignette: tuple[float, float]
    quality: tuple[int, int]


CAMERAS = {
    "phone": Camera((0.45, 0.9), (0.001, 0.004), (0.004, 0.014), 0.05, (0.95, 1.15), (0.3, 0.9), (0.0, 0.15), (80, 95)),
    "webcam": Camera((0.7, 1.4), (0.004, 0.012), (0.012, 0.035), 0.09, (0.9, 1.1), (0.0, 0.5), (0.05, 0.3), (60, 85)),
    "dslr": Camera((0.35, 0.6), (0.0005, 0.002), (0.002, 0.006), 0.03, (1.0, 1.1), (0.1, 0.4), (0.0, 0.1), (88, 97)),
    "doorbell": Camera((0.8, 1.5), (0.003, 0.010), (0.010, 0.03), 0.07, (1.1, 1.35), (0.5, 1.3), (0.2, 0.5), (55, 80)),
}


def expose(rng: np.random.Generator, camera: Camera, light: F32) -> NDArray[np.uint8]:
    """Linear light (h,w,3) float32 -> the sRGB picture (h,w,3) uint8 before compression."""
    h, w = light.shape[:2]
    pixels = _blur(light, rng.uniform(*camera.blur))
    # the meter aims at an average grey, but not all the way: dark scenes stay darker
    mean = float(pixels.mean())
    gain = (0.20 / max(mean, 0.005)) ** 0.55 * np.exp(rng.normal(0.0, 0.10))
    balance = np.exp(rng.normal(0.0, camera.balance, 3) * [1.0, 0.4, 1.0])
    pixels = pixels * (gain * balance).astype(np.float32)
    vignette = rng.uniform(*camera.vignette)
    if vignette > 0.01:
        y = np.linspace(-1, 1, h, dtype=np.float32)[:, None]
        x = np.linspace(-1, 1, w, dtype=np.float32)[None]
        pixels *= (1.0 - np.float32(vignette) * (x * x + y * y) / 2)[..., None]
    # noise grows with the gain, as with a real amplifier; half of it is shared by the channels after demosaicking
    level = min(gain, 4.0)
    noise = rng.standard_normal((h, w, 3), dtype=np.float32)
    shared = rng.standard_normal((h, w, 1), dtype=np.float32)
    sigma = np.sqrt((rng.uniform(*camera.noise) * level) ** 2 + (rng.uniform(*camera.shot) ** 2) * level * np.abs(pixels))
    pixels += sigma * (0.6 * noise + 0.7 * shared)
    # soft shoulder instead of a hard clip, then the sRGB curve and the maker's contrast
    pixels = np.maximum(pixels, 0.0)
    pixels = np.where(pixels > 0.7, 0.7 + 0.3 * np.tanh((pixels - 0.7) / 0.3), pixels)
    encoded = np.where(pixels <= 0.0031308, pixels * 12.92, 1.055 * np.power(pixels, 1 / 2.4) - 0.055)
    encoded = (encoded - 0.5) * rng.uniform(*camera.contrast) + 0.5
    sharpen = np.float32(rng.uniform(*camera.sharpen))
    encoded += sharpen * (encoded - _blur(encoded.astype(np.float32), 1.0))
    return np.clip(encoded * 255.0 + 0.5, 0, 255).astype(np.uint8)


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

    return convolve(pixels, taps)
