"""PNG, made to be read fast: every row filtered `Up`, deflated and inflated by ISA-L.

Any PNG reader opens these files. Of the demo's crops, 224x224, on one busy core (benchmarks/codecs.py; Pillow's own PNG
at level 1 in brackets): RGB 72 KB (70), 0.40 ms to write (2.9), 0.25 ms to read (1.3), where a JPEG 4:4:4 takes 0.21;
depth uint8 7.4 KB (8.3), 0.07 ms (0.49), 0.05 ms (0.26). WebP, smaller and lossless, takes 49 KB, 1.5 and 0.8 ms.
"""

import functools
import io
import math
import struct
import zlib
from typing import Any

import numpy as np
from isal import isal_zlib
from isal.isal_zlib import crc32
from PIL import Image, UnidentifiedImageError

from storage.errors import Damaged
from storage.row_difference import accumulate, difference

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP = 2
_INFLATE_ERROR: Any = isal_zlib.error  # its stub says it is an instance
# level 2 costs what level 1 does and 0 is a fifth larger; 3 takes three times as long for nothing
_LEVEL = 2
_SMALL = 1 << 14  # bytes: a mask of 224x224 has 6.5 KB, where speed buys nothing
# (bits a channel, colour type) of what a store holds: depth 8 and 16 bit grey, masks 1 bit grey, images RGB
_KINDS = {("|u1", 2): (8, 0), ("<u2", 2): (16, 0), ("|b1", 2): (1, 0), ("|u1", 3): (8, 2)}


def encode(pixels: np.ndarray) -> bytes:
    """A PNG of (H, W) uint8, uint16 or bool, or (H, W, 3) uint8 RGB."""
    rows = _to_bytes(pixels)
    lines = np.empty((len(rows), rows.shape[1] + 1), np.uint8)  # (H, 1 + bytes a row)
    lines[:, 0] = _UP
    difference(rows, lines[:, 1:])
    return b"".join(
        [
            _head(pixels.dtype, pixels.shape),
            _chunk(b"IDAT", _deflate(lines)),
            _chunk(b"IEND", b""),
        ]
    )


def _deflate(lines: np.ndarray) -> bytes:
    # of masks, ISA-L was seen to give other bytes for the same input in another process, and equal shards must be equal
    return zlib.compress(lines.tobytes(), 6) if lines.nbytes <= _SMALL else isal_zlib.compress(lines, _LEVEL)


def decode(data: bytes | memoryview, out: np.ndarray) -> None:
    """Decode into `out`, which has the type and shape that are expected; raises Damaged if the PNG has others.

    A PNG that somebody else wrote is read by Pillow. Memory is bounded by `out` whatever the file claims.
    """
    if not _decode_ours(data, out):
        _decode_any(data, out)


def _decode_ours(data: bytes | memoryview, out: np.ndarray) -> bool:
    """Whether the file is one that `encode` made of such an array; `out` is filled then."""
    head = _head(out.dtype, out.shape)
    start = len(head) + 4
    end = start + 4 + int.from_bytes(data[len(head) : start])
    chunk = data[start:end]
    if data[: len(head)] != head or chunk[:4] != b"IDAT" or crc32(chunk) != int.from_bytes(data[end : end + 4]):
        return False
    height, width = len(out), _row_bytes(out)
    # without zlib's head and its sum of all pixels, a tenth of the time: the chunk's own sum fits
    inflate = isal_zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        lines = inflate.decompress(chunk[6:-4], height * (width + 1) + 1)
    except _INFLATE_ERROR:
        return False
    if not inflate.eof or len(lines) != height * (width + 1):
        return False
    if lines[:: width + 1] != bytes([_UP]) * height:
        return False
    delta = np.frombuffer(lines, np.uint8).reshape(height, width + 1)
    if out.dtype == np.uint8 and out.flags.c_contiguous:
        accumulate(delta[:, 1:], out.reshape(height, width))
    else:
        rows = np.empty((height, width), np.uint8)
        accumulate(delta[:, 1:], rows)
        _from_bytes(rows, out)
    return True


def _decode_any(data: bytes | memoryview, out: np.ndarray) -> None:
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as png:
            png.verify()  # the chunks' checksums, which decoding does not look at
        with Image.open(io.BytesIO(data), formats=["PNG"]) as png:
            if png.size != (out.shape[1], out.shape[0]):  # before decoding: a forged size would take the memory
                raise Damaged(f"PNG of {png.height}x{png.width}, expected {out.shape[0]}x{out.shape[1]}")
            pixels = np.asarray(png)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise Damaged(f"PNG does not decode: {error}") from error
    if pixels.dtype != out.dtype or pixels.shape != out.shape:
        raise Damaged(f"PNG holds {pixels.dtype} {pixels.shape}, expected {out.dtype} {out.shape}")
    out[...] = pixels


@functools.lru_cache(64)
def _head(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """All that comes before the pixels, which is the same for all maps of a shard."""
    depth, colour = _KINDS[dtype.newbyteorder("<").str, len(shape)]
    return _SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", shape[1], shape[0], depth, colour, 0, 0, 0))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc32(name + content))


def _row_bytes(pixels: np.ndarray) -> int:
    row = math.prod(pixels.shape[1:])
    return (row + 7) // 8 if pixels.dtype == bool else row * pixels.itemsize


def _to_bytes(pixels: np.ndarray) -> np.ndarray:
    """(H, bytes a row) uint8, big-endian, as PNG wants them."""
    if pixels.dtype == bool:
        return np.packbits(pixels, axis=1)
    big = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">"))
    return big.view(np.uint8).reshape(len(pixels), -1)


def _from_bytes(rows: np.ndarray, out: np.ndarray) -> None:
    """Undo `_to_bytes` into `out`."""
    if out.dtype == bool:
        out[...] = np.unpackbits(rows, axis=1, count=out.shape[1])
    else:
        out[...] = rows.view(out.dtype.newbyteorder(">")).reshape(out.shape)
