"""Pixels to bytes and back, one row at a time: images raw or JPEG; depth raw, packed or PNG; masks PNG."""

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import simplejpeg
from isal.isal_zlib import crc32
from PIL import Image, UnidentifiedImageError

from storage import depth_codec
from storage.config import StoreConfig
from storage.errors import Damaged

Buffer = bytes | memoryview


class Encoded(NamedTuple):
    """One row's pixels as they are stored; `depth` is None for a spoof, `mask` where none is kept: no bytes at all."""

    image: Buffer
    depth: Buffer | None
    image_crc32: int
    depth_crc32: int
    size: tuple[int, int]  # (H, W) px
    mask: Buffer | None = None
    mask_crc32: int = 0


def encode(image: np.ndarray, depth: np.ndarray | None, config: StoreConfig, mask: np.ndarray | None = None) -> Encoded:
    """Encode (H, W, 3) uint8 RGB, (H, W) uint8|uint16|None and (H, W) bool|None with the codecs of `config`."""
    image = np.ascontiguousarray(image)
    height, width, _ = image.shape
    if config.image_codec == "jpeg":
        quality = config.jpeg_quality
        pixels: Buffer = simplejpeg.encode_jpeg(image, quality=quality, colorspace="RGB", colorsubsampling="444")
    else:
        pixels = image.tobytes()  # a copy: the caller may reuse its array for the next batch
    packed = None if depth is None else _DEPTH_ENCODERS[config.depth_codec](depth)
    # 1 bit a pixel: 0.6 KB a face of 224x224
    bits = _encode_png(mask) if mask is not None and mask.any() else None
    sums = [0 if data is None else crc32(data) for data in (pixels, packed, bits)]
    return Encoded(pixels, packed, sums[0], sums[1], (height, width), bits, sums[2])


def _encode_png(depth: np.ndarray) -> bytes:
    file = io.BytesIO()
    # level 1: 8.4 KB in 0.5 ms a face; level 6 saves a fifth of the bytes for three times the time
    Image.fromarray(depth).save(file, "PNG", compress_level=9 if depth.dtype == bool else 1)
    return file.getvalue()


def _decode_raw(data: Buffer, out: np.ndarray) -> None:
    if len(data) != out.nbytes:
        raise Damaged(f"{len(data)} bytes of raw pixels, expected {out.nbytes}")
    out[...] = np.frombuffer(data, out.dtype.newbyteorder("<")).reshape(out.shape)


def _decode_jpeg(data: Buffer, out: np.ndarray) -> None:
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        if (height, width, 3) != out.shape:
            raise Damaged(f"JPEG of {height}x{width}, expected {out.shape[0]}x{out.shape[1]}")
        simplejpeg.decode_jpeg(data, colorspace="RGB", buffer=out)
    except ValueError as error:
        raise Damaged(f"JPEG does not decode: {error}") from error


def _decode_png(data: Buffer, out: np.ndarray) -> None:
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as png:
            if png.size != (out.shape[1], out.shape[0]):  # before decoding: a forged size would take the memory
                raise Damaged(f"PNG of {png.height}x{png.width}, expected {out.shape[0]}x{out.shape[1]}")
            pixels = np.asarray(png)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise Damaged(f"PNG does not decode: {error}") from error
    if pixels.dtype != out.dtype or pixels.shape != out.shape:
        raise Damaged(f"PNG holds {pixels.dtype} {pixels.shape}, expected {out.dtype} {out.shape}")
    out[...] = pixels


_DEPTH_ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    "raw": lambda depth: depth.astype(depth.dtype.newbyteorder("<"), order="C").tobytes(),
    "packed": depth_codec.encode,
    "png": _encode_png,
}

MASK_CODEC = "png"

# decode `data` into a preallocated array; raises Damaged
DECODERS: dict[str, Callable[[Buffer, np.ndarray], None]] = {
    "raw": _decode_raw,
    "jpeg": _decode_jpeg,
    "packed": depth_codec.decode,
    "png": _decode_png,
}
