"""A store as a torch map-style Dataset: the same samples from either format."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch.utils.data import Dataset

from storage.errors import StoreError
from storage.reader import ShardReader, known_columns
from storage.snapshot import Snapshot, open_snapshot

# every map holds a file descriptor; 1,024 is the usual limit of a process
_MAX_OPEN = 256


def area_mean(depth: torch.Tensor, size: int) -> torch.Tensor:
    """Maps (n, 1, H, W) float as (n, 1, size, size): the mean over the area that each pixel covers.

    A pixel is > 0 wherever the map is > 0 in any part of it, so `mask = depth > 0` still holds.
    """
    return torch.nn.functional.interpolate(depth, (size, size), mode="area")


class DepthDataset(Dataset[dict[str, Any]]):
    """Rows of one snapshot that satisfy `where`, in store order (or in the order of `rows`).

    where: column -> value or list of values, e.g. `{"split": "train", "view": 0}`. rows: row numbers of the snapshot to
    choose from. `table` holds the COLUMNS of the chosen rows, so that `table[i]` describes item i. Items are

        image  (3, H, W) uint8 RGB tensor        depth  (1, H, W) float32 in [0, 1], zero for a spoof
        label  int64 scalar, live = 0, spoof = 1    index  int64 scalar, the item's own number

    With `depth_size` the depth is (1, depth_size, depth_size), the area mean of the stored map. With `mask=True` there
    is also `mask`, bool and of the depth's size: where the face is, or for a reduced map any part of it. It is depth >
    0 of a live sample; of a spoof it is what a build with `depth.spoof_mask` stored, and nowhere otherwise.

    It may be used before and after a fork, be pickled to spawned workers, and be read by several threads.
    """

    def __init__(
        self,
        store: str | Path | Snapshot,
        *,
        where: Mapping[str, Any] | None = None,
        rows: np.ndarray | Sequence[int] | None = None,
        depth_size: int | None = None,
        mask: bool = False,
    ) -> None:
        """`store`: a path, `path@12`, or a Snapshot; raises StoreError if it cannot be opened."""
        if depth_size is not None and depth_size < 1:
            raise StoreError(f"depth_size {depth_size}: expected the side of the map in pixels, or None as stored")
        self._depth_size, self._mask = depth_size, mask
        self.snapshot = store if isinstance(store, Snapshot) else open_snapshot(store)
        table = self.snapshot.columns()
        chosen = np.arange(len(table)) if rows is None else np.asarray(rows, dtype=np.int64)
        for name in known_columns(list(where or ())):
            values = (where or {})[name]
            wanted = list(values) if isinstance(values, list | tuple | set | frozenset | np.ndarray) else [values]
            fits = pc.is_in(table.column(name), pa.array(wanted, table.schema.field(name).type))
            chosen = chosen[fits.to_numpy()[chosen]]
        self.table: pa.Table = table.take(pa.array(chosen))
        ends = np.cumsum([shard.rows for shard in self.snapshot.shards])
        self._shard = np.searchsorted(ends, chosen, side="right")
        self._row = chosen - np.concatenate([[0], ends])[self._shard]
        self._labels = self.table.column("label").to_numpy().astype(np.int64)
        self._open: OrderedDict[int, ShardReader] = OrderedDict()

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """A batch in one call, read shard by shard; raises IndexError, or Damaged that names file and row."""
        numbers = np.array([range(len(self))[i] for i in indices], dtype=np.int64)
        items: list[dict[str, Any]] = [{}] * len(numbers)
        for shard in np.unique(self._shard[numbers]):
            places = np.flatnonzero(self._shard[numbers] == shard)
            reader, rows = self._reader(int(shard)), self._row[numbers[places]]
            images, depths = reader.read(rows)
            scale = np.float32(np.iinfo(depths.dtype).max)
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()  # (n, 3, H, W) uint8
            depth = torch.from_numpy(depths.astype(np.float32) / scale).unsqueeze(1)  # (n, 1, H, W) float32 [0, 1]
            mask = torch.from_numpy(reader.read_masks(rows)).unsqueeze(1) if self._mask else None  # (n, 1, H, W) bool
            if self._depth_size is not None:
                depth = area_mean(depth, self._depth_size)
                mask = None if mask is None else area_mean(mask.float(), self._depth_size) > 0
            for k, place in enumerate(places):
                i = int(numbers[place])
                label = torch.tensor(self._labels[i])
                items[place] = {"image": pixels[k], "depth": depth[k], "label": label, "index": torch.tensor(i)}
                if mask is not None:
                    items[place]["mask"] = mask[k]
        return items

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    def _reader(self, shard: int) -> ShardReader:
        # pop and put back = least recently used last out; both are atomic, so threads at worst open a shard twice
        reader = self._open.pop(shard, None) or self.snapshot.open(self.snapshot.shards[shard])
        self._open[shard] = reader
        while len(self._open) > _MAX_OPEN:
            self._open.popitem(last=False)
        return reader
