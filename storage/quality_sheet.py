"""A picture for judging the quality gate: how its parts are distributed, and the worst samples with depth lines."""

from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

from storage.contact_sheet import pixels_of
from storage.snapshot import Snapshot

PARTS = ("quality", "quality_landmarks", "quality_inside", "confidence", "quality_agreement")
TILE, TEXT, COLUMNS = 150, 42, 10  # px, px, tiles a line
_BINS, _PLOT = 20, 130  # bars a plot; its height, px
_CONTOURS = 6  # lines of equal depth


def quality_table(snapshot: Snapshot) -> pa.Table:
    """PARTS, `row` (of the snapshot), dataset, path, points, crop of every judged live frame (view 0), worst first."""
    table = snapshot.columns(["label", "view", "dataset", "path", "points", "crop", *PARTS])
    table = table.append_column("row", pa.array(np.arange(len(table))))
    quality = table["quality"].to_numpy()
    rows = np.flatnonzero((table["view"].to_numpy() == 0) & (table["label"].to_numpy() == 0) & np.isfinite(quality))
    return table.take(pa.array(rows[np.argsort(quality[rows], kind="stable")]))


def quality_sheet(snapshot: Snapshot, worst: int = 50) -> Image.Image:
    """Histograms of the PARTS (rejected faces in red, in the first), above the `worst` samples that the store keeps.

    On every crop: the outline of its depth and lines of equal depth in green, the detector's points in red; under it
    the path and the parts.
    """
    table = quality_table(snapshot)
    count = min(worst, len(table))
    sheet = Image.new("RGB", (COLUMNS * TILE, _PLOT + 30 - (-count // COLUMNS) * (TILE + TEXT)), "white")
    draw = ImageDraw.Draw(sheet)
    rejected = snapshot.rejects()["quality"].to_numpy()
    for number, name in enumerate(PARTS):
        extra = rejected[np.isfinite(rejected)] if name == "quality" else np.zeros(0)
        width = COLUMNS * TILE // len(PARTS)
        _histogram(draw, number * width, width - 20, name, table[name].to_numpy(), extra)
    chosen = table.slice(0, count)
    for number, row in enumerate(chosen.to_pylist()):
        left, top = number % COLUMNS * TILE, _PLOT + 30 + number // COLUMNS * (TILE + TEXT)
        sheet.paste(_overlay(*pixels_of(snapshot, row["row"]), row), (left, top))
        parts = [f"{name[:4]} {row[f'quality_{name}']:.2f}" for name in _named(row)]
        said = [row["path"][-24:], f"{row['quality']:.2f}: conf {row['confidence']:.2f}", " ".join(parts)]
        for line, text in enumerate(said):
            draw.text((left + 2, top + TILE + 13 * line), text, fill="black")
    return sheet


def _named(row: dict[str, Any]) -> list[str]:
    return [name for name in ("landmarks", "inside", "agreement") if row[f"quality_{name}"] is not None]


def _overlay(image: np.ndarray, depth: np.ndarray, row: dict[str, Any]) -> Image.Image:
    """The crop (H, W, 3), (TILE, TILE) large, with the contours of its depth (H, W) and the detector's points."""
    tile = Image.fromarray(depth_lines(image, depth)).resize((TILE, TILE), Image.Resampling.BOX)
    if row["points"] is not None:
        affine = np.reshape(row["crop"], (2, 3))
        points = np.reshape(row["points"], (5, 2)) @ affine[:, :2].T + affine[:, 2]
        draw = ImageDraw.Draw(tile)
        for x, y in (points + 0.5) * (TILE / len(image)):
            draw.ellipse([x - 2, y - 2, x + 2, y + 2], fill=(255, 0, 0))
    return tile


def depth_lines(image: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """A copy of `image` (H, W, 3) with the outline of `depth` (H, W) and lines of equal depth in green."""
    levels = np.ceil(depth / (np.iinfo(depth.dtype).max / _CONTOURS)).astype(np.int16)  # 0 = background
    edge = np.zeros(depth.shape, bool)
    edge[:-1] |= levels[:-1] != levels[1:]
    edge[:, :-1] |= levels[:, :-1] != levels[:, 1:]
    marked = image.copy()
    marked[edge] = (0, 255, 0)
    return marked


def _histogram(
    draw: ImageDraw.ImageDraw, left: int, width: int, name: str, values: np.ndarray, rejected: np.ndarray
) -> None:
    """Bars over [0, 1], rejected ones stacked on top; heights by the square root, so that a few bad ones are seen."""
    known = values[np.isfinite(values)]
    kept, _ = np.histogram(known, _BINS, (0, 1))
    out, _ = np.histogram(rejected, _BINS, (0, 1))
    title = f"{name}: {len(known):,} kept" + (f", {len(rejected):,} rejected" if len(rejected) else "")
    draw.text((left + 4, 2), title, fill="black")
    scale = (_PLOT - 20) / np.sqrt(max(1, (kept + out).max()))
    for i in range(_BINS):
        x0, x1 = left + 4 + i * width // _BINS, left + 2 + (i + 1) * width // _BINS
        whole, part = (round(float(np.sqrt(n)) * scale) for n in (kept[i] + out[i], kept[i]))
        if whole:
            draw.rectangle([x0, _PLOT - whole, x1, _PLOT], fill=(200, 60, 60))
        if part:
            draw.rectangle([x0, _PLOT - part, x1, _PLOT], fill=(70, 110, 180))
    draw.line([left + 4, _PLOT + 1, left + 2 + width, _PLOT + 1], fill="black")
    for x, text in ((left + 4, "0"), (left + width // 2, "0.5"), (left + width - 8, "1")):
        draw.text((x, _PLOT + 3), text, fill="black")
