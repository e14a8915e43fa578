"""What each codec of a store costs on faces: KB a sample, and CPU us to write and to read one, on one core.

    python benchmarks/codecs.py STORE [--samples 200]

The crops and live depth maps of a store with raw pixels, such as the demo's. A figure is the least of several passes
over all samples; reading is into an array that is used again. Pillow's PNG (level 1) and lossless WebP stand beside.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

# before this folder, whose prnet.py would hide the package
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from PIL import Image

from storage.codecs import DECODERS, encode_depth, encode_image
from storage.config import StoreConfig
from storage.dataset import DepthDataset

PASSES = 5
# name -> encoder, decoder into an array
Codec = tuple[Callable[[np.ndarray], bytes], Callable[[bytes, np.ndarray], object]]


def images() -> dict[str, Codec]:
    ours = {name: StoreConfig(image=name) for name in ("raw", "png", "jpeg")}
    return {name: (partial(encode_image, config=config), decoder(name)) for name, config in ours.items()} | pillow()


def depths() -> dict[str, Codec]:
    ours = {name: StoreConfig(depth=name) for name in ("raw", "lz4", "packed")} | {"png": StoreConfig(format="parquet")}
    return {name: (partial(encode_depth, config=config), decoder(name)) for name, config in ours.items()} | pillow()


def decoder(name: str) -> Callable[[bytes, np.ndarray], object]:
    return lambda data, out: DECODERS[name](out[None])(0, data)


def pillow() -> dict[str, Codec]:
    def encode(pixels: np.ndarray, **options: object) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, **options)
        return file.getvalue()

    def decode(data: bytes, out: np.ndarray) -> None:
        read = np.asarray(Image.open(io.BytesIO(data)))
        out[...] = read if read.ndim == out.ndim else read[..., 0]  # WebP knows no grey

    png, webp = (
        partial(encode, format="png", compress_level=1),
        partial(encode, format="webp", lossless=True, method=0, quality=0),
    )
    return {"Pillow's PNG": (png, decode), "Pillow's WebP": (webp, decode)}


def measure(pixels: list[np.ndarray], encode: Callable, decode: Callable) -> tuple[float, float, float, bool]:
    """KB, us to write, us to read, and whether all came back as they were."""
    out = np.empty_like(pixels[0])
    packed = [encode(one) for one in pixels]
    same = []
    for one, data in zip(pixels, packed, strict=True):
        decode(data, out)
        same.append(np.array_equal(out, one))
    write = least(lambda: [encode(one) for one in pixels])
    read = least(lambda: [decode(data, out) for data in packed])
    return sum(map(len, packed)) / len(packed) / 1e3, write / len(pixels), read / len(pixels), all(same)


def least(work: Callable[[], object]) -> float:
    """CPU us of one pass."""
    spent = []
    for _ in range(PASSES):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return 1e6 * min(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--samples", type=int, default=200)
    options = parser.parse_args()
    data = DepthDataset(options.store)
    batch = data.read(np.linspace(0, len(data) - 1, min(options.samples, len(data))).astype(int))
    crops = [np.ascontiguousarray(image) for image in batch.image.permute(0, 2, 3, 1).numpy()]
    maps = [depth for depth in batch.depth[:, 0].numpy() if depth.any()]
    for title, pixels, codecs in (("images", crops, images()), ("live depth maps", maps, depths())):
        print(f"\n{len(pixels)} {title}, {pixels[0].shape} {pixels[0].dtype}")
        print(f"{'':<16}{'KB':>8}{'write us':>10}{'read us':>10}")
        for name, (encode, decode) in codecs.items():
            size, write, read, same = measure(pixels, encode, decode)
            print(f"{name:<16}{size:>8.1f}{write:>10.0f}{read:>10.0f}  {'lossless' if same else 'lossy'}")


if __name__ == "__main__":
    main()
