"""Lossless depth maps in less than a third of the bytes that unpack as fast as they can be read: one LZ4 block a map.

Of the demo's faces, 224x224 uint8: 14.7 KB, 48 us to pack, 10 to unpack (benchmarks/codecs.py; row differences + zstd,
storage/depth_codec.py: 6.5 KB, 41 us to unpack). Packed by LZ4's own library, which can be told to look less far
(acceleration); unpacked by cramjam, which can do so where the caller wants it: a buffer of the library's own, and its
copy, would cost as much again.
"""

import sys

import lz4.block
import numpy as np
from cramjam import DecompressionError
from cramjam import lz4 as unpacking

from storage.errors import Damaged


def encode(depth: np.ndarray) -> bytes:
    """One map, (H, W) uint8 or uint16 -> an LZ4 block of its bytes, little-endian, row by row."""
    little = np.ascontiguousarray(depth, dtype=depth.dtype.newbyteorder("<"))
    packed: bytes = lz4.block.compress(little.data.cast("B"), mode="fast", acceleration=2, store_size=False)
    return packed


def decode(packed: bytes | memoryview, out: np.ndarray) -> None:
    """Unpack one map into `out`, (H, W) uint8 or uint16; raises Damaged. The store's checksum vouches for the rest."""
    try:
        found = unpacking.decompress_block_into(packed, out.data.cast("B"), output_len=out.nbytes)
    except DecompressionError as error:
        raise Damaged(f"LZ4 depth is not of {out.shape} {out.dtype}: {error}") from error
    if found != out.nbytes:
        raise Damaged(f"LZ4 depth of {found} bytes, expected {out.shape} {out.dtype}")
    if sys.byteorder == "big":
        out.byteswap(inplace=True)
