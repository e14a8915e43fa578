"""Where each row's pixels lie in a shard file: all that a reader needs besides the memory map."""

from dataclasses import dataclass

import numpy as np

from storage.codecs import DECODERS
from storage.errors import Damaged


@dataclass(frozen=True)
class PixelIndex:
    """Byte spans, checksums and codecs of n rows, whatever the format of the file around them.

    image_start, image_nbytes: (n,) int64. depth_start, depth_nbytes: (n,) int64, start -1 = all zero, nothing stored.
    mask_start, mask_nbytes: the same for masks, -1 = no mask stored.
    image_crc32, depth_crc32, mask_crc32: (n,) uint32 of the stored pixel bytes. image_subsampling: colour resolution,
    "4:4:4" unless it is a JPEG that the store declares otherwise. size: (H, W) px. meta: the writer's JSON.
    """

    image_start: np.ndarray
    image_nbytes: np.ndarray
    image_crc32: np.ndarray
    depth_start: np.ndarray
    depth_nbytes: np.ndarray
    depth_crc32: np.ndarray
    mask_start: np.ndarray
    mask_nbytes: np.ndarray
    mask_crc32: np.ndarray
    image_codec: str
    image_subsampling: str
    depth_codec: str
    depth_dtype: np.dtype
    size: tuple[int, int]
    meta: str

    def __len__(self) -> int:
        return len(self.image_start)

    def check(self, file_bytes: int) -> None:
        """Raise Damaged unless every span lies inside the file."""
        if {self.image_codec, self.depth_codec} - DECODERS.keys():
            raise Damaged(f"unknown codecs {self.image_codec!r} and {self.depth_codec!r}")
        n = len(self)
        arrays = [self.image_start, self.image_nbytes, self.image_crc32, self.depth_start, self.depth_nbytes]
        arrays += [self.depth_crc32, self.mask_start, self.mask_nbytes, self.mask_crc32]
        if any(a.shape != (n,) for a in arrays):
            raise Damaged("the row index has columns of different lengths")
        depth, mask = self.depth_start >= 0, self.mask_start >= 0
        starts = np.concatenate([self.image_start, self.depth_start[depth], self.mask_start[mask]])
        sizes = np.concatenate([self.image_nbytes, self.depth_nbytes[depth], self.mask_nbytes[mask]])
        # sizes are compared first, so that a forged huge one cannot overflow the sum
        if (starts < 0).any() or (sizes < 0).any() or (sizes > file_bytes).any() or (starts > file_bytes - sizes).any():
            raise Damaged("the row index points outside the file")
