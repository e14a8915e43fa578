"""Rows of a store to batches of tensors: bytes until the last moment, read ahead on one thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from storage.dataset import DepthDataset
from training.augment import ColourConfig, colour, colour_matrices, uniforms
from training.batch import Batch
from training.methods import Targets
from training.splits import BalancedSampler, Rows

T = TypeVar("T")
AHEAD = 3  # batches read while one trains


class Feed:
    """Batches of one dataset for one network: its input size, its targets, its device."""

    def __init__(
        self,
        data: DepthDataset,
        *,
        input_size: int,
        batch: int,
        device: torch.device,
        targets: Targets = Targets(),  # noqa: B008 - frozen
    ) -> None:
        self.data, self.input_size, self.targets, self.batch, self.device = data, input_size, targets, batch, device
        self.kinds = self._kinds() if targets.kinds else None
        # a sample's own 64 bits: what it is given at random depends on them, not on where it stands
        self.keys = np.array([int(s, 16) for s in data.table.column("sample_id").to_pylist()], np.uint64)

    def train(
        self, sampler: BalancedSampler, numbers: Iterable[int], tint: ColourConfig | None, seed: int
    ) -> Iterator[Batch]:
        """The full batches of these numbers (0, 1, ... of the sampler's sequence), augmented unless `tint` is None."""

        def read() -> Iterator[tuple[dict[str, Tensor], Rows, NDArray[np.int64]]]:
            for number in numbers:
                rows, passes = sampler.draw(number * self.batch, self.batch)
                yield _read(self.data, rows), rows, passes

        for raw, rows, passes in read_ahead(read()):
            batch = self._batch(raw, rows)
            if tint is not None:
                numbers = uniforms(seed, passes, self.keys[rows], 4)
                batch.image = colour(batch.image, colour_matrices(numbers, tint))
            batch.image = batch.image.to(memory_format=torch.channels_last)
            yield batch

    def plain(self, rows: Rows) -> Iterator[Batch]:
        """Each of `rows` once, in order, as stored."""
        parts = [rows[i : i + self.batch] for i in range(0, len(rows), self.batch)]
        for raw, part in read_ahead((_read(self.data, part), part) for part in parts):
            batch = self._batch(raw, part)
            batch.image = batch.image.to(memory_format=torch.channels_last)
            yield batch

    def _batch(self, raw: dict[str, Tensor], rows: Rows) -> Batch:
        image = raw["image"].to(self.device).float().div_(255)
        size, depth, kind = self.targets.depth_size, None, None
        if image.shape[-2:] != (self.input_size, self.input_size):
            image = functional.interpolate(image, (self.input_size,) * 2, mode="bilinear", antialias=True).clamp_(0, 1)
        if size is not None:
            depth = raw["depth"].to(self.device)
            if depth.shape[-2:] != (size, size):
                depth = functional.interpolate(depth, (size, size), mode="area")
        if self.kinds is not None:
            kind = torch.from_numpy(self.kinds[rows]).to(self.device)
        return Batch(image, depth, raw["label"].to(self.device).float(), rows, kind=kind)

    def _kinds(self) -> NDArray[np.int64]:
        number = {name: i for i, name in enumerate(self.targets.kinds, 1)}
        names = self.data.table.column(self.targets.kind_column).to_pylist()
        labels = self.data.table.column("label").to_pylist()
        # -1 is ignored by nobody: it stands only where no training sample is (types are those of the training side)
        return np.array([number.get(name, -1) if label else 0 for name, label in zip(names, labels, strict=True)])


def _read(data: DepthDataset, rows: Rows) -> dict[str, Tensor]:
    items: list[dict[str, Any]] = data.__getitems__(rows.tolist())
    return {
        "image": torch.stack([i["image"] for i in items]),  # (B, 3, H, W) uint8
        "depth": torch.stack([i["depth"] for i in items]),  # (B, 1, H, W) float32
        "label": torch.tensor([int(i["label"]) for i in items]),
    }


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, produced on a thread that stays at most AHEAD in front; its errors are raised here."""
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(AHEAD)
    stop = threading.Event()

    def put(kind: str, value: Any) -> bool:  # noqa: ANN401 - an item or an error
        while not stop.is_set():
            try:
                ready.put((kind, value), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:  # handed over, not swallowed: the reader of the queue raises it
            put("error", error)

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stop.set()
        thread.join()
