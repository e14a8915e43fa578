"""The stores of benchmarks/store.py, ours and the peers', behind one interface.

A store writes the samples into a folder, opens it, and reads samples by number into a batch of arrays (images, depths,
labels) that is used again and again. Peers hold a depth map for every sample, zeros too, because that is what their
users do: raw beside raw pixels, PNG beside JPEG. "LMDB, live depth only" is given our codecs and no zero maps, to
tell what is the container's doing. Raw pixels are copied, JPEGs decoded into the batch, PNGs decoded by Pillow; all
JPEGs are of one encoder (simplejpeg, quality 95, 4:4:4).
"""

import importlib
import importlib.machinery
import io
import json
import sys
import types

import numpy as np
import simplejpeg
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.store_samples import SIZE, samples
from storage import depth_codec
from storage.config import StoreConfig
from storage.dataset import DepthDataset
from storage.loader import DepthLoader
from storage.schema import LIVE
from storage.snapshot import Store
from storage.stream import DepthStream
from storage.writer import shard_writer

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


class Loose(Peer):
    name = "loose files"

    def write(self, folder, data):
        endings = (".rgb", ".depth") if self.kind == "raw" else (".jpg", ".png")
        for i, image, depth, _ in self.rows(*data):
            for content, ending in zip((image, depth), endings, strict=True):
                (folder / f"{i:06d}{ending}").write_bytes(content)
        (folder / "labels.json").write_text(json.dumps(data[2].tolist()))

    def open(self, folder):
        self.folder, self.labels = folder, json.loads((folder / "labels.json").read_text())
        self.n = len(self.labels)
        self.endings = (".rgb", ".depth") if self.kind == "raw" else (".jpg", ".png")

    def get(self, numbers):
        for i in numbers.tolist():
            yield *((self.folder / f"{i:06d}{ending}").read_bytes() for ending in self.endings), self.labels[i]


class WebDataset(Peer):
    name = "WebDataset"
    random = "a shuffle buffer of 1,000"

    def write(self, folder, data):
        wds = need("webdataset")
        rows = min(SHARD, len(data[2]) // WORKERS)  # a worker needs a shard of its own
        with wds.ShardWriter(str(folder / "%04d.tar"), maxcount=rows, verbose=0) as sink:
            for i, image, depth, label in self.rows(*data):
                sink.write({"__key__": f"{i:06d}", "image.bin": image, "depth.bin": depth, "cls": label})

    def open(self, folder):
        self.wds, self.tars = need("webdataset"), sorted(map(str, folder.glob("*.tar")))

    def stream(self, buffer, seed):
        stream = self.wds.WebDataset(self.tars, shardshuffle=len(self.tars) if buffer else False, seed=seed)
        stream = stream.shuffle(buffer, initial=buffer, seed=seed) if buffer else stream
        return stream.map(lambda row: (row["image.bin"], row["depth.bin"], int(row["cls"])))

    def sequential(self, n, batch, rows=None):
        k = 0
        for image, depth, label in rows or self.stream(0, 0):
            self.unpack(image, depth, batch[0][k], batch[1][k])
            batch[2][k] = label
            k += 1
            if k == BATCH:
                yield k
                k = 0
        yield k

    def shuffled(self, n, batch, seed):
        yield from self.sequential(n, batch, self.stream(1000, seed))

    def loader(self, n, seed):
        rows = self.stream(1000, seed).map(lambda row: self.item(*row)).batched(BATCH)
        for _, _, label in DataLoader(rows, batch_size=None, num_workers=WORKERS, multiprocessing_context="fork"):
            yield len(label)


class Mds(Peer):
    name = "mosaicml-streaming MDS"

    def write(self, folder, data):
        streaming = need_streaming()
        images = f"ndarray:uint8:{SIZE},{SIZE},3", f"ndarray:uint8:{SIZE},{SIZE}"
        kinds = images if self.kind == "raw" else ("bytes", "bytes")
        columns = dict(zip(("image", "depth", "label"), (*kinds, "int"), strict=True))
        with streaming.MDSWriter(out=str(folder / "mds"), columns=columns, size_limit=1 << 28) as sink:
            for _, image, depth, label in self.rows(*data):
                sink.write({"image": image, "depth": depth, "label": label})

    def pack(self, image, depth):
        return (image, depth) if self.kind == "raw" else super().pack(image, depth)

    def unpack(self, image, depth, image_out, depth_out):
        if self.kind == "raw":
            image_out[...], depth_out[...] = image, depth
        else:
            super().unpack(image, depth, image_out, depth_out)

    def open(self, folder):
        streaming = need_streaming()
        streaming.base.util.clean_stale_shared_memory()
        self.data = streaming.StreamingDataset(local=str(folder / "mds"), batch_size=BATCH)
        self.n = len(self.data)

    def get(self, numbers):
        for i in numbers.tolist():
            row = self.data[i]
            yield row["image"], row["depth"], row["label"]


class HuggingFace(Peer):
    name = "Hugging Face datasets"

    def write(self, folder, data):
        datasets = need("datasets")
        features = {"image": datasets.Value("binary"), "depth": datasets.Value("binary")}
        features = datasets.Features({**features, "label": datasets.Value("int64")})
        writer = need("datasets.arrow_writer").ArrowWriter(features=features, path=str(folder / "data.arrow"))
        for _, image, depth, label in self.rows(*data):
            writer.write({"image": image, "depth": depth, "label": label})
        writer.finalize()

    def open(self, folder):
        self.data = need("datasets").Dataset.from_file(str(folder / "data.arrow"))
        self.n = len(self.data)

    def get(self, numbers):
        rows = self.data[numbers.tolist()]
        return zip(rows["image"], rows["depth"], rows["label"], strict=True)


class Lmdb(Peer):
    name = "LMDB"

    def write(self, folder, data):
        with (
            need("lmdb").open(str(folder), map_size=1 << 36) as base,
            base.begin(write=True) as transaction,
        ):
            for i, image, depth, label in self.rows(*data):
                transaction.put(b"i%d" % i, image)
                if depth:
                    transaction.put(b"d%d" % i, depth)
                transaction.put(b"l%d" % i, b"%d" % label)
            transaction.put(b"n", b"%d" % len(data[2]))

    def open(self, folder):
        self.folder, self.base = folder, None
        self.n = int(self.view().get(b"n"))

    def view(self):
        if self.base is None:
            self.base = need("lmdb").open(str(self.folder), readonly=True, lock=False, readahead=False)
        return self.base.begin(buffers=True)

    def loader(self, n, seed):
        # LMDB forbids to carry an environment across a fork
        if self.base is not None:
            self.base.close()
            self.base = None
        yield from super().loader(n, seed)

    def get(self, numbers):
        with self.view() as view:
            for i in numbers.tolist():
                yield view.get(b"i%d" % i), view.get(b"d%d" % i), int(bytes(view.get(b"l%d" % i)))


class LmdbControl(Lmdb):
    name = "LMDB, our codecs, live depth only"

    def pack(self, image, depth):
        packed = b"" if not depth.any() else depth.tobytes() if self.kind == "raw" else depth_codec.encode(depth)
        return (image.tobytes() if self.kind == "raw" else encode(image)), packed

    def unpack(self, image, depth, image_out, depth_out):
        if self.kind == "raw":
            image_out[...] = np.frombuffer(image, np.uint8).reshape(IMAGE)
        else:
            simplejpeg.decode_jpeg(image, colorspace="RGB", buffer=image_out)
        if depth is None:
            depth_out.fill(0)
        elif self.kind == "raw":
            depth_out[...] = np.frombuffer(depth, np.uint8).reshape(DEPTH)
        else:
            depth_codec.decode(depth, depth_out)


class Lance(Peer):
    name = "Lance"

    def write(self, folder, data):
        lance, pa = need("lance"), need("pyarrow")
        schema = pa.schema([("image", pa.large_binary()), ("depth", pa.large_binary()), ("label", pa.int64())])

        def batches():
            some = []
            for _, image, depth, label in self.rows(*data):
                some.append((image, depth, label))
                if len(some) == BATCH:
                    yield pa.record_batch([list(column) for column in zip(*some, strict=True)], schema=schema)
                    some = []
            if some:
                yield pa.record_batch([list(column) for column in zip(*some, strict=True)], schema=schema)

        lance.write_dataset(pa.RecordBatchReader.from_batches(schema, batches()), str(folder / "lance"))

    def open(self, folder):
        self.data = need("lance").dataset(str(folder / "lance"))
        self.n = self.data.count_rows()

    def get(self, numbers):
        table = self.data.take(numbers.tolist())
        for image, depth, label in zip(*(table.column(c) for c in ("image", "depth", "label")), strict=True):
            yield np.frombuffer(image.as_buffer(), np.uint8), np.frombuffer(depth.as_buffer(), np.uint8), label.as_py()

    def loader(self, n, seed):
        # an open Lance dataset hangs in forked workers (its own documentation), so they are spawned and open it anew
        torch.manual_seed(seed)
        items = Items(LanceWorker(self.kind, self.data.uri, self.n))
        for _, _, label in DataLoader(items, BATCH, shuffle=True, num_workers=WORKERS, multiprocessing_context="spawn"):
            yield len(label)


class LanceWorker(Lance):
    """Opens the dataset when first asked."""

    def __init__(self, kind, uri, n):
        super().__init__(kind)
        self.uri, self.n, self.data = uri, n, None

    def get(self, numbers):
        if self.data is None:
            self.data = need("lance").dataset(self.uri)
        return super().get(numbers)


class Ffcv(Peer):
    """Named so that nobody misses it: it has no wheel, and builds only against OpenCV's and libturbojpeg's headers."""

    name = "FFCV"

    def write(self, folder, data):
        raise Absent("no wheel, needs OpenCV and libturbojpeg to build; this benchmark does not run it")


class Ours(Peer):
    """A store of this project, through its own readers; every read is checked against its checksum."""

    def __init__(self, kind, config):
        super().__init__(kind)
        self.config, self.name = config, f"pseudodepth {config.format}, depth {config.depth_codec}"

    def write(self, folder, data):
        n, infos = len(data[2]), []
        for start in range(0, n, SHARD):
            with shard_writer(folder, f"s{start:06d}", self.config, {}) as sink:
                for first in range(start, min(start + SHARD, n), BATCH):
                    sink.write(samples(*data, first, min(first + BATCH, start + SHARD, n)))
            infos.append(sink.info)
        Store(folder).commit(infos, parent=None, config={}, lineage={})

    def open(self, folder):
        self.data = DepthDataset(folder)
        self.n = len(self.data)
        self.batch = self.data.empty_batch(BATCH)
        self.threads = DepthLoader(DepthStream(self.data, BATCH))

    def read(self, numbers, batch):
        self.data.read(numbers, self.batch)

    def loader(self, n, seed):
        for batch in self.threads:
            yield len(batch.label)


class OursInWorkers(Ours):
    """The same store for those who want DataLoader."""

    def __init__(self, kind, config):
        super().__init__(kind, config)
        self.name += " in DataLoader"

    def loader(self, n, seed):
        stream = DepthStream(self.data, BATCH, seed=seed)
        for batch in DataLoader(stream, batch_size=None, num_workers=WORKERS, multiprocessing_context="fork"):
            yield len(batch.label)


def contenders(kind):
    """Every store of the class `raw` or `jpeg`, ours first."""
    ours = [StoreConfig(format="hdf5", image=kind)]
    ours.append(StoreConfig(format="parquet", image="jpeg") if kind == "jpeg" else StoreConfig(depth="raw"))
    peers = [Loose, WebDataset, Mds, HuggingFace, Lmdb, LmdbControl, Lance, Ffcv]
    return [*(Ours(kind, config) for config in ours), OursInWorkers(kind, ours[0]), *(peer(kind) for peer in peers)]


def need_streaming():
    """mosaicml-streaming imports torchvision for data sets of its own; where that does not load, an empty one does."""
    try:
        importlib.import_module("torchvision")
    except Exception:
        for name in ("", ".datasets", ".transforms", ".transforms.functional"):
            module = types.ModuleType(f"torchvision{name}")
            module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
            sys.modules[module.__name__] = module
        sys.modules["torchvision.datasets"].VisionDataset = object
        sys.modules["torchvision.transforms.functional"].to_tensor = None
    return need("streaming")
