"""Threads that fill a ring of reused batches: what reaches a trainer costs little more than the copy of its bytes.

DataLoader's workers put every batch into fresh shared memory, whose page faults cost ~200 us a sample of 200 KB: ten
times the read. Copies, checksums and the decoders of JPEG and zstd release the interpreter lock, so threads suffice.
"""

from collections import deque
from collections.abc import Iterable, Iterator
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
    threads: int = 2,
    pin: bool | None = None,
) -> Iterator[Batch]:
    """Batches of the given item numbers, each at most `batch_size` long, in the given order.

    They live in `ring` buffers, which are all the memory that is ever taken. A batch is valid until `keep` more have
    been asked for, then its buffer is filled anew: copy what is to last longer, and keep 2 where a copy to a device
    runs on beside the next request. The other `ring - keep` buffers are read ahead by `threads`.
    pin: page-locked buffers; by default where there is a CUDA device.

    An error of a thread is raised in place of its batch, after all batches before it. Closing the iterator (or leaving
    its loop) ends the threads. Raises StoreError for options that make no sense.
    """
    if not 1 <= keep < ring or threads < 1:
        raise StoreError(f"ring {ring}, keep {keep}, threads {threads}: expected ring > keep >= 1 and a thread or more")
    pin = torch.cuda.is_available() if pin is None else pin
    return _fill(data, iter(batches), batch_size, ring, keep, threads, pin)


def _fill(
    data: DepthDataset, batches: Iterator[np.ndarray], batch_size: int, ring: int, keep: int, threads: int, pin: bool
) -> Iterator[Batch]:
    free = [data.empty_batch(batch_size, pin=pin) for _ in range(ring)]
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

    Iterating moves the stream: its epoch, `state_dict` and `load_state_dict` are those of the batches handed over, not
    of those read ahead.
    """

    def __init__(
        self, stream: DepthStream, *, ring: int = 4, keep: int = 1, threads: int = 2, pin: bool | None = None
    ) -> None:
        self.stream = stream
        self._options: dict[str, Any] = {"ring": ring, "keep": keep, "threads": threads, "pin": pin}

    def __len__(self) -> int:
        """Batches that are left of this epoch, for this rank."""
        return len(self.stream)

    def __iter__(self) -> Iterator[Batch]:
        stream = self.stream
        for batch in ring_batches(stream.data, stream.batches(), stream.order.batch_size, **self._options):
            stream.advance()
            yield batch
        stream.finish()

    def state_dict(self) -> dict[str, Any]:
        """The stream's state."""
        return self.stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Move the stream there; raises StoreError if it is the state of another order."""
        self.stream.load_state_dict(state)
