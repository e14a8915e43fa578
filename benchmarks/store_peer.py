"""What a store of benchmarks/store.py does, and what is the same for all peers.

A store writes the samples into a folder, opens it, and reads samples by number into a batch of arrays (images, depths,
labels) that is used again and again. Peers hold a depth map for every sample, zeros too, because that is what their
users do: raw beside raw pixels, PNG beside JPEG. "LMDB, live depth only" is given our codecs and no zero maps, to
tell what is the container's doing. Raw pixels are copied, JPEGs decoded into the batch, PNGs decoded by Pillow; all
JPEGs are of one encoder (simplejpeg, quality 95, 4:4:4).
"""

import importlib
import importlib.machinery
import io

import numpy as np
import simplejpeg
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.store_samples import SIZE
from storage.schema import LIVE

BATCH, WORKERS, SHARD = 64, 2, 2000
IMAGE, DEPTH = (SIZE, SIZE, 3), (SIZE, SIZE)


class Absent(Exception):
    """A peer that is not installed or does not work here; says why."""


def need(name):
    try:
        return importlib.import_module(name)
    except Exception as error:  # a broken wheel raises anything
        raise Absent(f"{type(error).__name__}: {error}".splitlines()[0]) from error


def encode(image):
    return simplejpeg.encode_jpeg(image, quality=95, colorspace="RGB", colorsubsampling="444")


def png(depth):
    file = io.BytesIO()
    Image.fromarray(depth).save(file, "PNG", compress_level=1)
    return file.getvalue()


class Peer:
    """Base of the peers: `pack` and `unpack` are what their users write around them."""

    random = "each sample by its number"

    def __init__(self, kind):
        self.kind = kind

    def rows(self, images, depths, labels):
        """(number, image bytes, depth bytes, label) of every sample."""
        zero = np.zeros(DEPTH, np.uint8)
        for i, label in enumerate(labels.tolist()):
            depth = depths[i // 3] if label == LIVE else zero
            yield i, *self.pack(images[i], depth), label

    def pack(self, image, depth):
        if self.kind == "raw":
            return image.tobytes(), depth.tobytes()
        return encode(image), png(depth)

    def unpack(self, image, depth, image_out, depth_out):
        if self.kind == "raw":
            image_out[...] = np.frombuffer(image, np.uint8).reshape(IMAGE)
            depth_out[...] = np.frombuffer(depth, np.uint8).reshape(DEPTH)
        else:
            simplejpeg.decode_jpeg(image, colorspace="RGB", buffer=image_out)
            depth_out[...] = np.asarray(Image.open(io.BytesIO(depth), formats=["PNG"]))

    def read(self, numbers, batch):
        for k, (image, depth, label) in enumerate(self.get(numbers)):
            self.unpack(image, depth, batch[0][k], batch[1][k])
            batch[2][k] = label

    def item(self, image, depth, label):
        out = np.empty(IMAGE, np.uint8), np.empty(DEPTH, np.uint8)
        self.unpack(image, depth, *out)
        return torch.from_numpy(out[0]), torch.from_numpy(out[1]), label

    def sequential(self, n, batch):
        yield from self.by_number(np.arange(n), batch)

    def shuffled(self, n, batch, seed):
        yield from self.by_number(np.random.default_rng(seed).permutation(n), batch)

    def by_number(self, numbers, batch):
        for start in range(0, len(numbers), BATCH):
            some = numbers[start : start + BATCH]
            self.read(some, batch)
            yield len(some)

    def loader(self, n, seed):
        torch.manual_seed(seed)
        loader = DataLoader(Items(self), BATCH, shuffle=True, num_workers=WORKERS, multiprocessing_context="fork")
        for _, _, label in loader:
            yield len(label)


class Items(Dataset):
    """A peer as a map-style dataset of image, depth and label."""

    def __init__(self, store):
        self.store = store

    def __len__(self):
        return self.store.n

    def __getitems__(self, numbers):
        return [self.store.item(*row) for row in self.store.get(np.array(numbers))]
