"""A batch as a loader hands it over: the bytes as they are stored, floats only where the network wants them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B rows of a store.

    image: (B, 3, H, W) uint8 RGB, channels last in memory as on disk (a copy into planes would cost more than the read)
    depth: (B, 1, H, W) uint8 or uint16 as stored, zero for a spoof
    label: (B,) int64, live = 0, spoof = 1
    index: (B,) int64, the items' own numbers in the dataset
    mask:  (B, 1, H, W) bool if the dataset was opened with `mask=True`, else None
    """

    image: Tensor
    depth: Tensor
    label: Tensor
    index: Tensor
    mask: Tensor | None

    @classmethod
    def empty(cls, n: int, size: tuple[int, int], depth_dtype: np.dtype, *, mask: bool, pin: bool = False) -> "Batch":
        """Room for n rows of (H, W) px; `pin`: page-locked, so that a copy to a CUDA device need not wait."""
        height, width = size

        def room(*shape: int, dtype: DTypeLike) -> Tensor:
            # numpy asks for huge pages and torch does not: a JPEG is decoded into them in 9 % less time
            memory = torch.from_numpy(np.empty(shape, dtype))
            return memory.pin_memory() if pin else memory

        return cls(
            image=room(n, height, width, 3, dtype=np.uint8).permute(0, 3, 1, 2),
            depth=room(n, 1, height, width, dtype=depth_dtype),
            label=room(n, dtype=np.int64),
            index=room(n, dtype=np.int64),
            mask=room(n, 1, height, width, dtype=bool) if mask else None,
        )

    def first(self, n: int) -> "Batch":
        """The first n rows, sharing memory."""
        return self if n == len(self.label) else self._each(lambda part: part[:n])

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on a device; from pinned memory the copy runs beside what follows."""
        return self._each(lambda part: part.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """A page-locked copy; `DataLoader(pin_memory=True)` asks for it."""
        return self._each(Tensor.pin_memory)

    def floats(self) -> tuple[Tensor, Tensor]:
        """image (B, 3, H, W) and depth (B, 1, H, W) as new float32 tensors in [0, 1], where the batch is."""
        top = torch.iinfo(self.depth.dtype).max
        return self.image.float().div_(255), self.depth.float().div_(top)

    def _each(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        mask = None if self.mask is None else function(self.mask)
        return Batch(function(self.image), function(self.depth), function(self.label), function(self.index), mask)
