"""Where each row's pixels lie in a shard file: all that a reader needs besides the memory map."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from storage.codecs import DECODERS
from storage.errors import Damaged


class Spans:
    """The bytes of one kind of pixels of n rows: `start` (-1 = none stored), `nbytes`, `crc32`, (n,) int64 each."""

    def __init__(self, start: np.ndarray, nbytes: np.ndarray, crc32: np.ndarray) -> None:
        """Raises ValueError unless all have one length."""
        # side by side: a look-up costs a third of a picture's copy, so it is one of a batch, not three of a row
        self._table = np.stack([start, nbytes, crc32], axis=1).astype(np.int64)
        self.start, self.nbytes, self.crc32 = self._table.T

    def __len__(self) -> int:
        return len(self._table)

    @property
    def stored(self) -> np.ndarray:
        """(n,) bool: whether a row has any."""
        return self.start >= 0

    def of(self, rows: Sequence[int] | np.ndarray) -> list[list[int]]:
        """start, nbytes and crc32 of each of these rows; raises IndexError."""
        found: list[list[int]] = self._table.take(np.asarray(rows, np.int64), axis=0).tolist()
        return found

    def inside(self, file_bytes: int) -> bool:
        """Whether all that is stored lies within a file of that size."""
        start, nbytes = self.start[self.stored], self.nbytes[self.stored]
        # sizes are compared first, so that a forged huge one cannot overflow the difference
        return bool(((nbytes >= 0) & (nbytes <= file_bytes)).all() and (start <= file_bytes - nbytes).all())


@dataclass(frozen=True)
class PixelIndex:
    """Byte spans, checksums and codecs of n rows, whatever the format of the file around them.

    image: where each picture lies. depth: where each map lies, nowhere if it is all zero. mask: nowhere if none is
    stored. image_subsampling: colour resolution, "4:4:4" unless it is a JPEG that the store declares otherwise.
    size: (H, W) px. meta: the writer's JSON.
    """

    image: Spans
    depth: Spans
    mask: Spans
    image_codec: str
    image_subsampling: str
    depth_codec: str
    depth_dtype: np.dtype
    size: tuple[int, int]
    meta: str

    def __len__(self) -> int:
        return len(self.image)

    def check(self, file_bytes: int) -> None:
        """Raise Damaged unless every span lies inside the file."""
        if {self.image_codec, self.depth_codec} - DECODERS.keys():
            raise Damaged(f"unknown codecs {self.image_codec!r} and {self.depth_codec!r}")
        spans = (self.image, self.depth, self.mask)
        if {len(span) for span in spans} != {len(self)}:
            raise Damaged("the row index has columns of different lengths")
        if not self.image.stored.all() or not all(span.inside(file_bytes) for span in spans):
            raise Damaged("the row index points outside the file")
