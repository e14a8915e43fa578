"""What happens to a training sample before the network sees it, decided for a whole batch at once as a `Recipe`.

Colour (brightness, hue, saturation, temperature) changes RGB alone; geometry moves RGB and depth in lock-step (PDGAN,
arXiv 2101.00200, 3.3, gives no ranges: the defaults are ours). Spoof simulation turns some live samples into attacks.
Every number follows from (seed, sample, pass): neither order, batch size nor workers change what a sample gets.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from training.recipe import Floats, Recipe

# RGB <-> YIQ (NTSC): luma, and a chroma plane in which hue is a rotation and saturation a scale
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
_TO_RGB = np.linalg.inv(_TO_YIQ)


class _Ranges(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ColourConfig(_Ranges):
    """Half-widths of the uniform ranges; 0 switches one off."""

    brightness: float = Field(default=0.25, ge=0, lt=1, description="exposure gain in [1 - x, 1 + x]")
    hue: float = Field(default=10.0, ge=0, le=180, description="rotation of hue in degrees, [-x, x]")
    saturation: float = Field(default=0.3, ge=0, le=1, description="chroma gain in [1 - x, 1 + x]")
    temperature: float = Field(
        default=0.12, ge=0, lt=1, description="red gain 1 + x against blue gain 1 - x, either way"
    )
    contrast: float = Field(default=0.0, ge=0, lt=1, description="gain about mid-grey in [1 - x, 1 + x]")


class GeometryConfig(_Ranges):
    """Half-widths of an affine of the crop, image and depth alike; the defaults are mild."""

    rotation: float = Field(default=10.0, ge=0, le=180, description="degrees, [-x, x]")
    scale: float = Field(default=0.1, ge=0, lt=1, description="zoom in [1 - x, 1 + x]")
    shift: float = Field(default=0.04, ge=0, le=0.5, description="share of the side, [-x, x] in x and in y")
    flip: float = Field(default=0.5, ge=0, le=1, description="probability of a mirror image")


class SpoofConfig(_Ranges):
    """Live samples turned into attacks: labelled spoof, depth zero."""

    share: float = Field(default=0.15, gt=0, le=1, description="of the live samples")
    replay: float = Field(default=0.5, ge=0, le=1, description="share of them with moire (a screen); the rest: print")
    colour: ColourConfig = Field(
        default=ColourConfig(brightness=0.4, hue=10, saturation=0.4, temperature=0.2, contrast=0.4),
        description="the print's colour shift",
    )
    moire: float = Field(default=0.12, gt=0, le=1, description="largest amplitude of the moire")


class AugmentConfig(_Ranges):
    """What is done to training samples; None switches a part off."""

    colour: ColourConfig | None = ColourConfig()
    geometry: GeometryConfig | None = None
    spoof: SpoofConfig | None = None


def recipe(
    config: AugmentConfig, seed: int, passes: ArrayLike, keys: NDArray[np.uint64], label: NDArray[np.int64], side: int
) -> Recipe:
    """The recipe of samples with these keys (64 bits each), labels and passes over the data."""
    u = uniforms(seed, passes, keys, 18)
    n = len(keys)
    colour = np.tile(np.eye(3, 4, dtype=np.float32), (n, 1, 1))
    if config.colour is not None:
        colour = colour_affines(u[:, :5], config.colour)
    turned, moire = np.zeros(n, np.bool_), None
    if config.spoof is not None:
        turned = (label == 0) & (u[:, 5] < config.spoof.share)
        screen = turned & (u[:, 6] < config.spoof.replay)
        printed = colour_affines(u[:, 7:12], config.spoof.colour)
        colour = np.where((turned & ~screen)[:, None, None], _after(printed, colour), colour)
        moire = _moire(u[:, 12:16], config.spoof.moire) * screen[:, None].astype(np.float32)
    source = _sources(uniforms(seed + 1, passes, keys, 5), config.geometry, side) if config.geometry else None
    return Recipe(colour, source, moire, turned)


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


def colour_affines(uniform: NDArray[np.float64], config: ColourConfig) -> Floats:
    """(B, 5) numbers in [0, 1) -> (B, 3, 4) float32: all of it is linear in RGB, so one product does it."""
    brightness, hue, saturation, temperature, contrast = (uniform * 2 - 1).T
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
    steep = 1 + config.contrast * contrast
    balance = np.stack([1 + warm, zero + 1, 1 - warm], axis=1) * (gain * steep)[:, None]
    linear = balance[:, :, None] * (_TO_RGB @ turn @ _TO_YIQ)
    offset = np.repeat((0.5 * (1 - steep))[:, None, None], 3, axis=1)
    return np.concatenate([linear, offset], axis=2).astype(np.float32)


def _after(second: Floats, first: Floats) -> Floats:
    """The affine that does `first`, then `second`."""
    linear = second[:, :, :3] @ first[:, :, :3]
    offset = second[:, :, :3] @ first[:, :, 3:] + second[:, :, 3:]
    return np.concatenate([linear, offset], axis=2)


def _sources(uniform: NDArray[np.float64], config: GeometryConfig, side: int) -> NDArray[np.float64]:
    centred = uniform[:, :4] * 2 - 1
    angle, zoom = np.deg2rad(config.rotation * centred[:, 0]), 1 + config.scale * centred[:, 1]
    shift = config.shift * side * centred[:, 2:4]
    mirror = np.where(uniform[:, 4] < config.flip, -1.0, 1.0)
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    linear = np.stack([np.stack([mirror * cos, mirror * sin], 1), np.stack([-sin, cos], 1)], axis=1)
    middle = (side - 1) / 2  # pixel centres are at integers
    offset = middle - (linear @ (middle + shift)[:, :, None])[:, :, 0]
    return np.concatenate([linear, offset[:, :, None]], axis=2)


def _moire(uniform: NDArray[np.float64], largest: float) -> Floats:
    """Two gratings whose periods (2.2 to 6 px) and directions nearly agree: their product beats, as screens do."""
    period = 2.2 + 3.8 * uniform[:, 0]
    direction = np.pi * uniform[:, 1]
    amplitude = largest * (0.4 + 0.6 * uniform[:, 2])
    waves = [
        (2 * np.pi / (period * stretch))[:, None] * np.stack([np.cos(direction + turn), np.sin(direction + turn)], 1)
        for stretch, turn in ((1.0, 0.0), (1.06, 0.05))
    ]
    phase = 2 * np.pi * uniform[:, 3]
    return np.concatenate([amplitude[:, None], *waves, phase[:, None]], axis=1).astype(np.float32)


def apply(images: Tensor, plan: Recipe) -> Tensor:
    """(B, 3, S, S) uint8 RGB -> float32 in [0, 1], channels last: the compiled kernel on a CPU, torch elsewhere.

    The kernel takes 75 us a sample for colour, torch's operators 510 (224 px, one thread).
    """
    if images.device.type == "cpu":
        from training.kernels import render

        pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
        return torch.from_numpy(render(pixels, plan)).permute(0, 3, 1, 2)
    return apply_torch(images, plan)


def apply_torch(images: Tensor, plan: Recipe) -> Tensor:
    """The same by torch's operators, on any device."""
    x = images.float().div_(255)
    b, c, h, w = x.shape
    if plan.source is not None:
        x = functional.grid_sample(x, _grid(plan.source, h, w, x.device), padding_mode="border", align_corners=True)
    colour = torch.from_numpy(plan.colour).to(x.device)
    x = torch.baddbmm(colour[:, :, 3:], colour[:, :, :3], x.reshape(b, c, h * w)).reshape(b, c, h, w).clamp_(0, 1)
    if plan.moire is not None:
        amplitude, ax, ay, bx, by, phase = torch.from_numpy(plan.moire).to(x.device).T[:, :, None, None]
        across = torch.arange(w, device=x.device, dtype=torch.float32)
        down = torch.arange(h, device=x.device, dtype=torch.float32)[:, None]
        waves = torch.sin(ax * across + ay * down + phase) * torch.sin(bx * across + by * down)
        x = (x * (1 + amplitude * waves)[:, None]).clamp_(max=1)
    return x.contiguous(memory_format=torch.channels_last)


def move_depth(depth: Tensor, plan: Recipe) -> Tensor:
    """(B, 1, S, S) float maps by the recipe's geometry, 0 from outside; all zero where a live sample was turned."""
    turned = torch.from_numpy(plan.turned).to(depth.device)
    if plan.source is not None and depth.device.type == "cpu":
        from training.kernels import move

        depth = torch.from_numpy(move(depth[:, 0].numpy(), plan))[:, None]
    elif plan.source is not None:
        grid = _grid(plan.source, depth.shape[-2], depth.shape[-1], depth.device)
        depth = functional.grid_sample(depth, grid, padding_mode="zeros", align_corners=True)
    return depth.masked_fill(turned[:, None, None, None], 0)


def _grid(source: NDArray[np.float64], h: int, w: int, device: torch.device) -> Tensor:
    """grid_sample's coordinates (-1 and 1 are the centres of the outer pixels) of a recipe's `source`."""
    into = np.array([[2 / (w - 1), 0, -1], [0, 2 / (h - 1), -1], [0, 0, 1]])
    full = np.concatenate([source, np.tile([[[0.0, 0, 1]]], (len(source), 1, 1))], axis=1)
    theta = (into @ full @ np.linalg.inv(into))[:, :2]
    affine = torch.from_numpy(theta).float().to(device)
    return functional.affine_grid(affine, [len(source), 1, h, w], align_corners=True)
