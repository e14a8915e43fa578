"""Threads that fill a ring of reused batches: what reaches a trainer costs little more than the copy of its bytes.

DataLoader's workers put every batch into fresh shared memory, whose page faults cost ~200 us a sample of 200 KB: ten
times the read. Checksums and the decoders of JPEG and zstd release the interpreter lock, so threads suffice.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from storage.batch import Batch
from storage.dataset import DepthDataset
from storage.errors import StoreError
from storage.stream import DepthStream


def ring_batches(
    data: DepthDataset,
    batches: Iterable[np.ndarray],
    batch_size: int,
    *,
    ring: int = 4,
    keep: int = 1,
    threads: int | None = None,
    pin: bool | None = None,
) -> Generator[Batch]:
    """Batches of the given item numbers, each at most `batch_size` long, in the given order.

    They live in `ring` buffers, which are all the memory that is ever taken. A batch is valid until `keep` more have
    been asked for, then its buffer is filled anew: copy what is to last longer, and keep 2 where a copy to a device
    runs on beside the next request. The other `ring - keep` buffers are read ahead by `threads`.
    threads: by default two, or one for raw images, whose copy is bound by memory: a second thread only waits for the
    interpreter lock (27 us of CPU a sample become 36). pin: page-locked buffers; by default where there is CUDA.

    An error of a thread is raised in place of its batch, after all batches before it. Closing the iterator (or leaving
    its loop) ends the threads. Raises StoreError for options that make no sense.
    """
    buffers, threads = _ring(data, batch_size, ring, keep, threads, pin)
    return _fill(data, iter(batches), buffers, keep, threads)


def _ring(
    data: DepthDataset, batch_size: int, ring: int, keep: int, threads: int | None, pin: bool | None
) -> tuple[list[Batch], int]:
    """The buffers and the number of threads."""
    threads = (1 if data.image_codec == "raw" else 2) if threads is None else threads
    if not 1 <= keep < ring or threads < 1:
        raise StoreError(f"ring {ring}, keep {keep}, threads {threads}: expected ring > keep >= 1 and a thread or more")
    pin = torch.cuda.is_available() if pin is None else pin
    return [data.empty_batch(batch_size, pin=pin) for _ in range(ring)], threads


def _fill(
    data: DepthDataset, batches: Iterator[np.ndarray], ring: list[Batch], keep: int, threads: int
) -> Generator[Batch]:
    free = list(ring)
    ahead: deque[tuple[Future[Batch], Batch]] = deque()
    lent: deque[Batch] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="depth-loader") as pool:
        try:
            while True:
                if len(lent) == keep:
                    free.append(lent.popleft())
                while free and (numbers := next(batches, None)) is not None:
                    buffer = free.pop()
                    ahead.append((pool.submit(data.read, numbers, buffer), buffer))
                if not ahead:
                    return
                future, buffer = ahead.popleft()
                lent.append(buffer)
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


class DepthLoader:
    """The batches of a stream by `ring_batches`, which says how long a batch is valid; the options are the same.

    The ring is kept from epoch to epoch (to touch fresh memory costs as much as to read a raw store), so the beginning
    of an epoch ends the last batches of the one before. Iterating moves the stream: its epoch, `state_dict` and
    `load_state_dict` are those of the batches handed over, not of those read ahead.
    """

    def __init__(
        self, stream: DepthStream, *, ring: int = 4, keep: int = 1, threads: int | None = None, pin: bool | None = None
    ) -> None:
        """Raises StoreError for options that make no sense."""
        self.stream, self._keep = stream, keep
        self._ring, self._threads = _ring(stream.data, stream.order.batch_size, ring, keep, threads, pin)
        self._busy = False

    def __len__(self) -> int:
        """Batches that are left of this epoch, for this rank."""
        return len(self.stream)

    def __iter__(self) -> Iterator[Batch]:
        if self._busy:
            raise StoreError("this loader is being iterated over already; close that iterator, or make another loader")
        stream, self._busy = self.stream, True
        try:
            for batch in _fill(stream.data, iter(stream.batches()), self._ring, self._keep, self._threads):
                stream.advance()
                yield batch
            stream.finish()
        finally:
            self._busy = False

    def state_dict(self) -> dict[str, Any]:
        """The stream's state."""
        return self.stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Move the stream there; raises StoreError if it is the state of another order."""
        self.stream.load_state_dict(state)
