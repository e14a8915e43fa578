"""A picture of what a store holds: samples of every kind, each crop above its depth map."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

from storage.snapshot import Snapshot

TILE, TEXT = 112, 14  # px


def contact_sheet(snapshot: Snapshot, columns: int = 12) -> Image.Image:
    """One row of up to `columns` plain crops a dataset, label and attack, spread evenly over the store.

    Depth is drawn grey, near = white; a spoof's is black.
    """
    table = snapshot.columns(["dataset", "split", "view", "label", "attack", "subject"])
    groups = list(_groups(table, columns))
    sheet = Image.new("RGB", (columns * TILE, len(groups) * (2 * TILE + TEXT)), "white")
    draw = ImageDraw.Draw(sheet)
    for line, (title, rows) in enumerate(groups):
        top = line * (2 * TILE + TEXT)
        draw.text((2, top + 1), title, fill="black")
        for place, row in enumerate(rows):
            image, depth = pixels_of(snapshot, int(row))
            grey = (depth >> 8).astype(np.uint8) if depth.dtype == np.uint16 else depth
            for offset, picture in ((TEXT, image), (TEXT + TILE, grey)):
                sheet.paste(
                    Image.fromarray(picture).resize((TILE, TILE), Image.Resampling.BOX), (place * TILE, top + offset)
                )
    return sheet


def _groups(table: pa.Table, columns: int) -> Iterator[tuple[str, np.ndarray]]:
    kinds: dict[tuple[str, int, str], list[int]] = {}
    names = zip(*(table[name].to_pylist() for name in ("dataset", "label", "attack", "view")), strict=True)
    for row, (dataset, label, attack, view) in enumerate(names):
        if view == 0:
            kinds.setdefault((dataset, label, attack), []).append(row)
    for (dataset, label, attack), rows in sorted(kinds.items()):
        spread = np.linspace(0, len(rows) - 1, min(columns, len(rows))).astype(int)
        yield f"{dataset}: {attack if label else 'live'}, {len(rows)} samples", np.asarray(rows)[spread]


def pixels_of(snapshot: Snapshot, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W, 3) uint8 and depth (H, W) uint8 or uint16 of a row of the snapshot."""
    ends = np.cumsum([shard.rows for shard in snapshot.shards])
    shard = int(np.searchsorted(ends, row, side="right"))
    start = int(ends[shard]) - snapshot.shards[shard].rows
    images, depths = snapshot.open(snapshot.shards[shard]).read([row - start])
    return images[0], depths[0]
