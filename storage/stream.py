"""A store as a torch iterable dataset: shuffled batches that can be stopped and continued anywhere."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from storage.batch import Batch
from storage.dataset import DepthDataset
from storage.errors import StoreError
from storage.order import EpochOrder, Remainder, fingerprint

_STATE_VERSION = 1


class DepthStream(IterableDataset[Batch]):
    """Batches of a dataset, epoch by epoch, in an order that depends on (seed, epoch) alone; see EpochOrder.

    It yields whole batches, so give it to a loader as `DataLoader(stream, batch_size=None, num_workers=...)`: any
    number of workers then yields the batches of one process in the same order. `DepthLoader` reads it with threads
    instead, for a tenth of the price.

    Iterating goes on from the current position and ends with the epoch; the next iteration is the next epoch. What
    worker processes iterate over does not move the stream of the parent: there, call `set_epoch` before each epoch and
    pass the number of batches taken to `state_dict`.
    """

    def __init__(
        self,
        data: DepthDataset,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        buffer: int | None = None,
        rank: int = 0,
        world: int = 1,
        remainder: Remainder = "exact",
    ) -> None:
        """Raises StoreError for options that make no sense."""
        if data.depth_size is not None:
            raise StoreError("batches hold whole depth maps: open the dataset without depth_size, then use area_mean")
        self.data = data
        self.order = EpochOrder(batch_size, seed, shuffle, buffer, rank, world, remainder)
        # shared memory, so that workers that live through several epochs see what the parent sets
        self._place = torch.zeros(2, dtype=torch.int64).share_memory_()  # epoch, position
        self._kept: tuple[int, np.ndarray] | None = None

    @property
    def epoch(self) -> int:
        """The epoch that is being gone through, from 0."""
        return int(self._place[0])

    @property
    def position(self) -> int:
        """How many samples of this epoch all ranks together have had."""
        return int(self._place[1])

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch."""
        self._place[:] = torch.tensor([epoch, 0])

    def batches(self) -> list[np.ndarray]:
        """The batches of item numbers that this rank still has to come in this epoch."""
        return self.order.batches(self._sequence(), self.position)

    def advance(self, batches: int = 1) -> None:
        """Count batches as taken; at the end of the epoch, `finish` it."""
        self._place[1] = min(self.position + batches * self.order.step, len(self.data))

    def finish(self) -> None:
        """Go on to the next epoch."""
        self.set_epoch(self.epoch + 1)

    def __len__(self) -> int:
        """Batches that are left of this epoch, for this rank."""
        return len(self.batches())

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        if worker is not None:
            # batch k comes from worker k mod n, which is the order in which DataLoader asks them
            for numbers in self.batches()[worker.id :: worker.num_workers]:
                yield self.data.read(numbers)
            return
        for numbers in self.batches():
            batch = self.data.read(numbers)
            self.advance()
            yield batch
        self.finish()

    def state_dict(self, batches: int = 0) -> dict[str, Any]:
        """Where the stream is, as plain JSON; `batches`: how many more were taken through worker processes."""
        return {
            "version": _STATE_VERSION,
            "seed": self.order.seed,
            "epoch": self.epoch,
            "position": min(self.position + batches * self.order.step, len(self.data)),
            "samples": len(self.data),
            "order": fingerprint(self._sequence()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where a stream of the same data and order was, with any batch size and number of ranks.

        Raises StoreError if this stream would go through other samples or in another order.
        """
        try:
            version, epoch, position = (int(state[name]) for name in ("version", "epoch", "position"))
            mine = {"version": _STATE_VERSION, "seed": self.order.seed, "samples": len(self.data)}
            other = {name: state[name] for name in mine}
            order = int(state["order"])
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"not the state of a DepthStream: {error!r}; expected what state_dict() gave") from error
        if other != mine or order != fingerprint(self.order.sequence(self.data.shard_numbers, epoch)):
            raise StoreError(
                f"the state was taken from {other}, this stream has {mine}, or its order differs (shuffle, buffer, "
                "where, another snapshot): open the same store@number with the same options, or begin a new epoch"
            )
        if version != _STATE_VERSION or epoch < 0 or not 0 <= position <= len(self.data):
            raise StoreError(f"epoch {epoch}, position {position} of {len(self.data)} samples: not a place in a stream")
        self._place[:] = torch.tensor([epoch, position])

    def _sequence(self) -> np.ndarray:
        kept, epoch = self._kept, self.epoch
        if kept is None or kept[0] != epoch:
            kept = self._kept = (epoch, self.order.sequence(self.data.shard_numbers, epoch))
        return kept[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}  # a worker can count for itself
