"""In which order an epoch visits a dataset, and which part of it each rank takes: plain arithmetic on numbers."""

import zlib
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from storage.errors import StoreError

Remainder = Literal["exact", "pad", "drop"]


@dataclass(frozen=True)
class EpochOrder:
    """An order that depends on (seed, epoch) alone, so that any number of ranks and workers goes through the same one.

    Shards are shuffled; then samples within a buffer: each moves by less than `buffer` places, so only the shards
    within that reach are being read at a time. buffer None = one shuffle of all samples; 0 = shards only.
    Without `shuffle`, store order.

    A step takes the next `batch_size * world` samples, of which rank r gets every world-th from the r-th on. What is
    left at the end, fewer than that, is the `remainder`:

        exact  is handed out as it is: every sample once an epoch; the last batch is short, and of some ranks missing
        pad    is filled up with the epoch's first samples: full batches, as many on every rank, some samples twice
        drop   is left out: full batches, as many on every rank, other samples left out in every epoch

    Ranks that average their gradients need as many batches each: `pad` or `drop`.
    """

    batch_size: int
    seed: int = 0
    shuffle: bool = True
    buffer: int | None = None
    rank: int = 0
    world: int = 1
    remainder: Remainder = "exact"

    def __post_init__(self) -> None:
        wrong = [name for name, least in (("batch_size", 1), ("world", 1), ("seed", 0)) if getattr(self, name) < least]
        if wrong or (self.buffer is not None and self.buffer < 0):
            raise StoreError(f"{self}: {wrong[0] if wrong else 'buffer'} is too small")
        if not 0 <= self.rank < self.world:
            raise StoreError(f"rank {self.rank} of {self.world}: expected 0 to {self.world - 1}")
        if self.remainder not in get_args(Remainder):
            raise StoreError(f"remainder {self.remainder!r}: expected one of {get_args(Remainder)}")

    @property
    def step(self) -> int:
        """Samples that all ranks together take at a time."""
        return self.batch_size * self.world

    def sequence(self, shards: np.ndarray, epoch: int) -> np.ndarray:
        """Every item once in the epoch's order, (n,) int64. shards: (n,) the shard number of each item."""
        n = len(shards)
        if not self.shuffle:
            return np.arange(n)
        rng = np.random.default_rng([self.seed, epoch])
        if self.buffer is None:
            return rng.permutation(n)
        names, which = np.unique(shards, return_inverse=True)
        by_shard = np.argsort(rng.permutation(len(names))[which], kind="stable")
        # Sorting by place + noise is a shuffle buffer without its loop: neither can overtake by `buffer` or more.
        return by_shard[np.argsort(np.arange(n) + self.buffer * rng.random(n), kind="stable")]

    def batches(self, sequence: np.ndarray, position: int) -> list[np.ndarray]:
        """This rank's batches of item numbers from `position` (samples that all ranks together have had) on."""
        left = sequence[position:]
        short = len(left) % self.step
        if short and self.remainder == "drop":
            left = left[:-short]
        elif short and self.remainder == "pad":
            left = np.concatenate([left, np.resize(sequence, self.step - short)])
        steps = (left[i : i + self.step] for i in range(0, len(left), self.step))
        return [mine for taken in steps if len(mine := taken[self.rank :: self.world])]


def fingerprint(sequence: np.ndarray) -> int:
    """A checksum by which a saved position knows the order that it was taken in."""
    return zlib.crc32(np.ascontiguousarray(sequence, "<i8").tobytes())
