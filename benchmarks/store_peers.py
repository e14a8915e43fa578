"""The peers of benchmarks/store.py, one class each, as their users write them."""

import importlib
import importlib.machinery
import json
import sys
import types

import numpy as np
import simplejpeg
import torch
from torch.utils.data import DataLoader

from benchmarks.store_peer import BATCH, DEPTH, IMAGE, SHARD, WORKERS, Absent, Items, Peer, encode, need
from benchmarks.store_samples import SIZE
from storage import lz4_codec


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
        packed = b"" if not depth.any() else depth.tobytes() if self.kind == "raw" else lz4_codec.encode(depth)
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
            lz4_codec.decode(depth, depth_out)


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
