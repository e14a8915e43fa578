"""Colour augmentation of RGB batches; depth is geometry and is never touched (PDGAN, arXiv 2101.00200, 3.3).

Brightness, hue, saturation and colour temperature are all linear in RGB, so one 3 x 3 matrix a sample does the whole
of it in one multiplication. The paper gives no ranges; the defaults are ours.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

# RGB <-> YIQ (NTSC): luma, and a chroma plane in which hue is a rotation and saturation a scale
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
_TO_RGB = np.linalg.inv(_TO_YIQ)


class ColourConfig(BaseModel):
    """Half-widths of the uniform ranges; 0 switches one off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    brightness: float = Field(default=0.25, ge=0, lt=1, description="exposure gain in [1 - x, 1 + x]")
    hue: float = Field(default=10.0, ge=0, le=180, description="rotation of hue in degrees, [-x, x]")
    saturation: float = Field(default=0.3, ge=0, le=1, description="chroma gain in [1 - x, 1 + x]")
    temperature: float = Field(
        default=0.12, ge=0, lt=1, description="red gain 1 + x against blue gain 1 - x, either way"
    )


def uniforms(seed: int, turn: ArrayLike, keys: ArrayLike, n: int) -> NDArray[np.float64]:
    """(len(keys), n) numbers in [0, 1) that depend only on seed, turn (int or one a key) and each key (uint64).

    Neither batch size nor order nor the number of workers changes what one sample gets.
    """
    with np.errstate(over="ignore"):
        base = _mix(np.asarray(keys, np.uint64) + _mix(np.array([seed], np.uint64)) + _mix(np.asarray(turn, np.uint64)))
        bits = _mix(base[:, None] + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: neighbouring integers to unrelated ones."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def colour_matrices(uniform: NDArray[np.float64], config: ColourConfig) -> NDArray[np.float32]:
    """(B, 4) numbers in [0, 1) -> (B, 3, 3) float32, to be multiplied with RGB columns."""
    brightness, hue, saturation, temperature = (uniform * 2 - 1).T
    gain = 1 + config.brightness * brightness
    angle = np.deg2rad(config.hue * hue)
    chroma = 1 + config.saturation * saturation
    zero = np.zeros_like(gain)
    rows = [
        [zero + 1, zero, zero],
        [zero, chroma * np.cos(angle), -chroma * np.sin(angle)],
        [zero, chroma * np.sin(angle), chroma * np.cos(angle)],
    ]
    turn = np.moveaxis(np.array(rows), 2, 0)  # (B, 3, 3)
    warm = config.temperature * temperature
    balance = np.stack([1 + warm, zero + 1, 1 - warm], axis=1) * gain[:, None]
    return (balance[:, :, None] * (_TO_RGB @ turn @ _TO_YIQ)).astype(np.float32)


def colour(images: torch.Tensor, matrices: NDArray[np.float32]) -> torch.Tensor:
    """(B, 3, H, W) float RGB in [0, 1] and (B, 3, 3) -> the same shape and range."""
    m = torch.from_numpy(matrices).to(images.device, images.dtype)
    b, c, h, w = images.shape
    return torch.bmm(m, images.reshape(b, c, h * w)).clamp_(0, 1).reshape(b, c, h, w)
