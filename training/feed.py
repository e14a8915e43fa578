"""Rows of a store to batches of tensors: read into reused buffers, augmented as bytes, a few batches ahead."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from storage.batch import Batch as StoredBatch
from storage.dataset import DepthDataset
from storage.loader import ring_batches
from training.augment import AugmentConfig, apply, move_depth, recipe
from training.batch import Batch
from training.clips import clips_by_row
from training.errors import TrainingError
from training.methods import Targets
from training.recipe import Recipe
from training.splits import BalancedSampler, Rows

T = TypeVar("T")
AHEAD = 2  # batches prepared while one trains
UNKNOWN_KIND = -100  # what cross_entropy ignores


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
        if targets.mask and not data.mask:
            raise TrainingError("a method that needs masks needs a dataset opened with mask=True")
        self.data, self.input_size, self.targets, self.batch, self.device = data, input_size, targets, batch, device
        self.kinds = _kinds(data, targets) if targets.kinds else None
        self.clips = clips_by_row(data.table, targets) if targets.frames > 1 else None
        # a sample's own 64 bits: what it is given at random depends on them, not on where it stands
        self.keys = np.array([int(s, 16) for s in data.table.column("sample_id").to_pylist()], np.uint64)

    def train(
        self, sampler: BalancedSampler, numbers: Iterable[int], augment: AugmentConfig, seed: int
    ) -> Iterator[Batch]:
        """The full batches of these numbers (0, 1, ... of the sampler's sequence), augmented."""

        def prepared() -> Generator[Batch]:
            drawn: deque[tuple[Rows, NDArray[np.int64]]] = deque()

            def wanted() -> Iterator[Rows]:
                for number in numbers:
                    drawn.append(sampler.draw(number * self.batch, self.batch))
                    yield self._frames(drawn[-1][0])

            for raw in self._ring(wanted()):
                rows, passes = drawn.popleft()
                side = raw.image.shape[-1]
                plan = recipe(augment, seed, passes, self.keys[rows], raw.label.numpy()[:: self.targets.frames], side)
                yield self._batch(raw, rows, plan)

        return read_ahead(prepared())

    def plain(self, rows: Rows) -> Iterator[Batch]:
        """Each of `rows` once, in order, as stored."""
        parts = [rows[i : i + self.batch] for i in range(0, len(rows), self.batch)]
        return read_ahead(
            self._batch(raw, part, None)
            for part, raw in zip(parts, self._ring(self._frames(part) for part in parts), strict=True)
        )

    def _ring(self, rows: Iterator[Rows]) -> Iterator[StoredBatch]:
        return ring_batches(self.data, rows, self.batch * self.targets.frames)

    def _frames(self, rows: Rows) -> Rows:
        if self.clips is None:
            return rows
        clips = self.clips[rows]
        if (clips < 0).any():
            raise TrainingError(
                f"row {rows[(clips < 0).any(axis=1)][0]} ends no clip; take `ends_of_clips` of the rows"
            )
        return clips.reshape(-1)

    def _batch(self, raw: StoredBatch, rows: Rows, plan: Recipe | None) -> Batch:
        """Whatever is kept of `raw` is copied: its buffer is filled anew."""
        frames, size = self.targets.frames, self.targets.depth_size
        label = raw.label[::frames].to(self.device).float()
        kind = None if self.kinds is None else torch.from_numpy(self.kinds[rows]).to(self.device)
        whole = None if plan is None else plan.repeated(frames)
        image = raw.image.to(self.device)
        image = image.float().div_(255) if whole is None else apply(image, whole)
        if image.shape[-2:] != (self.input_size, self.input_size):
            image = functional.interpolate(image, (self.input_size,) * 2, mode="bilinear", antialias=True).clamp_(0, 1)
            image = image.contiguous(memory_format=torch.channels_last)
        depth = mask = None
        if size is not None:
            depth = raw.depth.to(self.device).float() / torch.iinfo(raw.depth.dtype).max
            depth = _reduced(depth if whole is None else move_depth(depth, whole), size)
        if self.targets.mask and raw.mask is not None:
            face = raw.mask.to(self.device).float()
            face = face if whole is None else move_depth(face, whole.without_turning())
            mask = _reduced(face, size or face.shape[-1]) > 0
        if plan is not None and plan.turned.any():
            turned = torch.from_numpy(plan.turned).to(self.device)
            label = label.masked_fill(turned, 1)
            kind = None if kind is None else kind.masked_fill(turned, UNKNOWN_KIND)
        batch = Batch(image, depth, label, rows, mask=mask, kind=kind)
        return batch if frames == 1 else batch.unflattened(frames)


def _reduced(maps: Tensor, size: int) -> Tensor:
    return maps if maps.shape[-1] == size else functional.interpolate(maps, (size, size), mode="area")


def _kinds(data: DepthDataset, targets: Targets) -> NDArray[np.int64]:
    number = {name: i for i, name in enumerate(targets.kinds, 1)}
    names, labels = (data.table.column(name).to_pylist() for name in (targets.kind_column, "label"))
    return np.array([number.get(n, UNKNOWN_KIND) if label else 0 for n, label in zip(names, labels, strict=True)])


def read_ahead(items: Generator[T]) -> Iterator[T]:
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
        with closing(items):
            produce()

    def produce() -> None:
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
