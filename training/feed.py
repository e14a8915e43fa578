"""Rows of a store to batches of tensors: read into reused buffers, augmented as bytes, a few batches ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TypeVar

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
AHEAD = 2  # batches that are made, by a thread each, while one is trained on
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

        drawn: deque[tuple[Rows, NDArray[np.int64]]] = deque()

        def wanted() -> Iterator[Rows]:
            for number in numbers:
                drawn.append(sampler.draw(number * self.batch, self.batch))
                yield self._frames(drawn[-1][0])

        def jobs() -> Generator[Callable[[], Batch]]:
            with closing(self._ring(wanted())) as ring:
                for raw in ring:
                    yield partial(self._augmented, raw, *drawn.popleft(), augment, seed)

        return in_turn(jobs())

    def plain(self, rows: Rows) -> Iterator[Batch]:
        """Each of `rows` once, in order, as stored."""
        parts = [rows[i : i + self.batch] for i in range(0, len(rows), self.batch)]

        def jobs() -> Generator[Callable[[], Batch]]:
            with closing(self._ring(self._frames(part) for part in parts)) as ring:
                for part, raw in zip(parts, ring, strict=True):
                    yield partial(self._batch, raw, part, None)

        return in_turn(jobs())

    def _ring(self, rows: Iterator[Rows]) -> Generator[StoredBatch]:
        # a buffer is in use until its batch is made, and two more are being read meanwhile
        return ring_batches(self.data, rows, self.batch * self.targets.frames, keep=AHEAD + 1, ring=AHEAD + 3)

    def _augmented(
        self, raw: StoredBatch, rows: Rows, passes: NDArray[np.int64], augment: AugmentConfig, seed: int
    ) -> Batch:
        label = raw.label.numpy()[:: self.targets.frames]
        return self._batch(raw, rows, recipe(augment, seed, passes, self.keys[rows], label, raw.image.shape[-1]))

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


def in_turn(jobs: Generator[Callable[[], T]]) -> Iterator[T]:
    """What the jobs return, in their order, made by threads that stay AHEAD jobs in front.

    An error is raised in its job's place. A job is asked for when all but AHEAD of those before it are done. Closing
    the iterator (or leaving its loop) ends the threads.
    """
    made: deque[Future[T]] = deque()
    ended = False
    with closing(jobs), ThreadPoolExecutor(AHEAD, thread_name_prefix="feed") as pool:
        try:
            while True:
                while not ended and len(made) <= AHEAD:
                    try:
                        made.append(pool.submit(next(jobs)))
                    except StopIteration:
                        ended = True
                    except Exception as error:  # raised where its job would be, after those before it
                        ended = True
                        made.append(Future())
                        made[-1].set_exception(error)
                if not made:
                    return
                yield made.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
