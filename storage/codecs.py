"""Pixels to bytes and back, one row at a time: images raw, PNG or JPEG; depth raw, LZ4, packed or PNG; masks PNG."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import simplejpeg
from isal.isal_zlib import crc32

from storage import depth_codec, lz4_codec, png
from storage.config import StoreConfig
from storage.errors import Damaged

Buffer = bytes | memoryview
Decoder = Callable[[int, Buffer], None]


class Encoded(NamedTuple):
    """One row's pixels as they are stored; `depth` is None for a spoof, `mask` where none is kept: no bytes at all.

    `image` may be a view of the sample's array.
    """

    image: Buffer
    depth: Buffer | None
    image_crc32: int
    depth_crc32: int
    size: tuple[int, int]  # (H, W) px
    mask: Buffer | None = None
    mask_crc32: int = 0


def encode(image: np.ndarray, depth: np.ndarray | None, config: StoreConfig, mask: np.ndarray | None = None) -> Encoded:
    """Encode (H, W, 3) uint8 RGB, (H, W) uint8|uint16|None and (H, W) bool|None with the codecs of `config`."""
    height, width, _ = image.shape
    pixels = encode_image(image, config)
    packed = None if depth is None else encode_depth(depth, config)
    # 1 bit a pixel: 0.6 KB a face of 224x224
    bits = png.encode(mask) if mask is not None and mask.any() else None
    sums = [0 if data is None else crc32(data) for data in (pixels, packed, bits)]
    return Encoded(pixels, packed, sums[0], sums[1], (height, width), bits, sums[2])


def encode_image(image: np.ndarray, config: StoreConfig) -> Buffer:
    """Encode (H, W, 3) uint8 RGB with the image codec of `config`; raw, it is a view of the image's own memory."""
    if config.image_codec == "raw":
        return np.ascontiguousarray(image).data.cast("B")
    if config.image_codec == "png":
        return png.encode(image)
    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(image),
        quality=config.jpeg_quality,
        colorspace="RGB",
        colorsubsampling=config.jpeg_subsampling.replace(":", ""),
    )


def encode_depth(depth: np.ndarray, config: StoreConfig) -> bytes:
    """Encode (H, W) uint8 or uint16 with the depth codec of `config`."""
    return _DEPTH_ENCODERS[config.depth_codec](depth)


def _raw_decoder(rows: np.ndarray) -> Decoder:
    # once a batch: 1 us less a row than by an array of each, of 8 us that a picture takes
    flat = rows.data.cast("B") if rows.size else memoryview(b"")
    size, swap = len(flat) // max(len(rows), 1), sys.byteorder == "big"

    def decode(k: int, data: Buffer) -> None:
        start = k * size
        try:
            flat[start : start + size] = data
        except ValueError as error:
            raise Damaged(f"{len(data)} bytes of raw pixels, expected {size}") from error
        if swap:
            rows[k].byteswap(inplace=True)

    return decode


def _row_by_row(decode: Callable[[Buffer, np.ndarray], None]) -> Callable[[np.ndarray], Decoder]:
    return lambda rows: lambda k, data: decode(data, rows[k])


def _decode_jpeg(data: Buffer, out: np.ndarray) -> None:
    try:
        found = simplejpeg.decode_jpeg(data, colorspace="RGB", buffer=out)  # refuses one that needs more room
    except ValueError as error:
        raise Damaged(f"JPEG does not decode to {out.shape}: {error}") from error
    if found.shape != out.shape:
        raise Damaged(f"JPEG of {found.shape[0]}x{found.shape[1]}, expected {out.shape[0]}x{out.shape[1]}")


_DEPTH_ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    "raw": lambda depth: depth.astype(depth.dtype.newbyteorder("<"), order="C").tobytes(),
    "lz4": lz4_codec.encode,
    "packed": depth_codec.encode,
    "png": png.encode,
}

MASK_CODEC = "png"

# for an array of rows, C-contiguous: what decodes bytes into its row k, or raises Damaged
DECODERS: dict[str, Callable[[np.ndarray], Decoder]] = {
    "raw": _raw_decoder,
    "jpeg": _row_by_row(_decode_jpeg),
    "lz4": _row_by_row(lz4_codec.decode),
    "packed": _row_by_row(depth_codec.decode),
    "png": _row_by_row(png.decode),
}
