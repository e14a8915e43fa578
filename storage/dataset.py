"""A store as a torch map-style Dataset: the same samples from either format."""

import itertools
import resource
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch.utils.data import Dataset

from storage.batch import Batch
from storage.errors import Damaged, StoreError
from storage.reader import ShardReader, known_columns
from storage.snapshot import Snapshot, open_snapshot

# Every map holds a file descriptor, so half of what the process may have: with the usual limit of 1,024 a store of a
# million samples (500 shards of 2,000) stays open, and to open a shard costs as much as to read a hundred samples.
_MAX_OPEN = max(64, min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 1 << 16) // 2)


class _Shard(NamedTuple):
    reader: ShardReader
    labels: np.ndarray  # (rows,) int64


def area_mean(depth: torch.Tensor, size: int) -> torch.Tensor:
    """Maps (n, 1, H, W) float as (n, 1, size, size): the mean over the area that each pixel covers.

    A pixel is > 0 wherever the map is > 0 in any part of it, so `mask = depth > 0` still holds.
    """
    return torch.nn.functional.interpolate(depth, (size, size), mode="area")


class DepthDataset(Dataset[dict[str, Any]]):
    """Rows of one snapshot that satisfy `where`, in store order (or in the order of `rows`).

    where: column -> value or list of values, e.g. `{"split": "train", "view": 0}`. rows: row numbers of the snapshot to
    choose from. Opening reads the snapshot and the columns that `where` names, nothing else. Items are

        image  (3, H, W) uint8 RGB tensor, channels last in memory as stored
        depth  (1, H, W) float32 in [0, 1], zero for a spoof
        label  int64 scalar, live = 0, spoof = 1    index  int64 scalar, the item's own number

    With `depth_size` the depth is (1, depth_size, depth_size), the area mean of the stored map. With `mask=True` there
    is also `mask`, bool and of the depth's size: where the face is, or for a reduced map any part of it. It is depth >
    0 of a live sample; of a spoof it is what a build with `depth.spoof_mask` stored, and nowhere otherwise.

    It may be used before and after a fork, be pickled to spawned workers, and be read by several threads: each process
    holds one map a shard and no handle of a library.
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
        self.depth_size, self.mask = depth_size, mask
        self.snapshot = store if isinstance(store, Snapshot) else open_snapshot(store)
        ends = np.cumsum([0, *(shard.rows for shard in self.snapshot.shards)], dtype=np.int64)
        chosen = np.arange(ends[-1]) if rows is None else np.asarray(rows, dtype=np.int64)
        if chosen.size and not 0 <= chosen.min() <= chosen.max() < ends[-1]:
            raise StoreError(f"rows {chosen.min()} to {chosen.max()}: snapshot {self.snapshot.number} has {ends[-1]}")
        if where:
            table = self._whole_columns(known_columns(list(where)))
            for name, values in where.items():
                wanted = list(values) if isinstance(values, list | tuple | set | frozenset | np.ndarray) else [values]
                fits = pc.is_in(table.column(name), pa.array(wanted, table.schema.field(name).type))
                chosen = chosen[fits.to_numpy()[chosen]]
        self._chosen = chosen
        self._shard = np.searchsorted(ends[1:], chosen, side="right")
        self._row = chosen - ends[self._shard]
        self._open: OrderedDict[int, _Shard] = OrderedDict()

    def __len__(self) -> int:
        return len(self._row)

    @cached_property
    def table(self) -> pa.Table:
        """All COLUMNS of the items, so that `table[i]` describes item i; read when it is first asked for."""
        return self.columns()

    def columns(self, names: Sequence[str] | None = None) -> pa.Table:
        """The named columns of the items (all by default), in their order; raises Damaged, or StoreError for a name."""
        return self._whole_columns(known_columns(names)).take(pa.array(self._chosen))

    @property
    def shard_numbers(self) -> np.ndarray:
        """(len(self),) int64: the shard that each item lies in, counted in the snapshot's order."""
        return self._shard

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """A batch in one call, read shard by shard; raises IndexError, or Damaged that names file and row."""
        batch = self.read(indices)
        scale = np.float32(torch.iinfo(batch.depth.dtype).max)
        depth = torch.from_numpy(batch.depth.numpy().astype(np.float32) / scale)  # (n, 1, H, W) in [0, 1]
        mask = batch.mask
        if self.depth_size is not None:
            depth = area_mean(depth, self.depth_size)
            mask = None if mask is None else area_mean(mask.float(), self.depth_size) > 0
        parts = {"image": batch.image, "depth": depth, "label": batch.label, "index": batch.index}
        if mask is not None:
            parts["mask"] = mask
        return [dict(zip(parts, item, strict=True)) for item in zip(*parts.values(), strict=True)]

    @property
    def image_codec(self) -> str:
        """How the first item's image is stored: raw, png or jpeg; raw if there is no item."""
        return self._opened(int(self._shard[0])).reader.index.image_codec if len(self) else "raw"

    def empty_batch(self, n: int, *, pin: bool = False) -> Batch:
        """Room for n items, to be filled by `read`."""
        if not len(self):
            return Batch.empty(n, (0, 0), np.dtype(np.uint8), mask=self.mask, pin=pin)
        index = self._opened(int(self._shard[0])).reader.index
        return Batch.empty(n, index.size, index.depth_dtype, mask=self.mask, pin=pin)

    def read(self, indices: Sequence[int] | np.ndarray, into: Batch | None = None) -> Batch:
        """Items as one Batch, whole maps as stored; into the first places of a batch of `empty_batch` if one is given.

        Reused batches save the page faults of fresh memory, which cost ten times the read. Raises IndexError, or
        Damaged that names file and row.
        """
        numbers = np.asarray(indices, dtype=np.int64).reshape(-1)
        try:
            shards, rows = self._shard.take(numbers), self._row.take(numbers)
        except IndexError as error:
            raise IndexError(f"items {numbers.min()} to {numbers.max()} of a dataset of {len(self)}") from error
        if into is not None and len(numbers) > len(into.label):
            raise StoreError(f"{len(numbers)} items into a batch of {len(into.label)}; give fewer or a larger one")
        batch = (self.empty_batch(len(numbers)) if into is None else into).first(len(numbers))
        images, depths = batch.image.permute(0, 2, 3, 1).numpy(), batch.depth.numpy()[:, 0]  # share memory
        labels = batch.label.numpy()
        batch.index.numpy()[:] = np.where(numbers < 0, numbers + len(self), numbers)
        order, end = np.argsort(shards, kind="stable"), 0
        # np.unique, or np.split, takes as long as the copy of a picture
        for shard, group in itertools.groupby(shards.take(order).tolist()):
            start, end = end, end + len(list(group))
            places = order[start:end]
            reader, known = self._opened(shard)
            if (reader.index.size, reader.index.depth_dtype) != (images.shape[1:3], depths.dtype):
                raise StoreError(
                    f"{reader.file}: {reader.index.size} {reader.index.depth_dtype} in a batch of {images.shape[1:3]} "
                    f"{depths.dtype}; choose samples of one size by `where` or `rows`"
                )
            here = rows.take(places)
            reader.read(here, images, depths, places.tolist())
            labels[places] = known.take(here)
            if batch.mask is not None:
                batch.mask.numpy()[places, 0] = reader.read_masks(here)
        return batch

    def __getstate__(self) -> dict[str, Any]:
        # a worker maps the shards itself, and asks for the table if it needs one
        return {**{k: v for k, v in self.__dict__.items() if k != "table"}, "_open": OrderedDict()}

    def _whole_columns(self, names: list[str]) -> pa.Table:
        """The named columns of every row of the snapshot."""
        table = self.snapshot.columns(names)
        if len(table) != self.snapshot.counts["rows"]:
            raise Damaged(
                f"{self.snapshot.root}: {len(table)} rows in the shards, snapshot {self.snapshot.number} lists "
                f"{self.snapshot.counts['rows']}; run `pseudodepth verify`"
            )
        return table

    def _opened(self, number: int) -> _Shard:
        # pop and put back = least recently used last out; both are atomic, so threads at worst open a shard twice
        shard = self._open.pop(number, None)
        if shard is None:
            info = self.snapshot.shards[number]
            reader = self.snapshot.open(info)
            if len(reader) != info.rows:
                raise Damaged(f"{reader.file}: {len(reader)} rows, the snapshot lists {info.rows}; build again")
            shard = _Shard(reader, reader.columns(["label"]).column(0).to_numpy().astype(np.int64))
        self._open[number] = shard
        while len(self._open) > _MAX_OPEN:
            self._open.popitem(last=False)
        return shard
