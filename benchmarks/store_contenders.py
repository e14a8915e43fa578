"""Everything that benchmarks/store.py compares: this project's stores, then the peers."""

import torch
from torch.utils.data import DataLoader

from benchmarks.store_peer import BATCH, SHARD, WORKERS, Peer
from benchmarks.store_peers import Ffcv, HuggingFace, Lance, Lmdb, LmdbControl, Loose, Mds, WebDataset
from benchmarks.store_samples import samples
from storage.batch import Batch
from storage.config import StoreConfig
from storage.dataset import DepthDataset
from storage.loader import DepthLoader
from storage.snapshot import Store
from storage.stream import DepthStream
from storage.writer import shard_writer


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
        self.threads = DepthLoader(DepthStream(self.data, BATCH))

    def by_number(self, numbers, batch):
        images, depths, labels = map(torch.from_numpy, batch)
        index = torch.empty_like(labels)
        yield from super().by_number(numbers, Batch(images.permute(0, 3, 1, 2), depths[:, None], labels, index, None))

    def read(self, numbers, batch):
        self.data.read(numbers, batch)

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
