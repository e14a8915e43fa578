"""A store of a million samples, 150 GB of raw pixels: how long it takes to open, and what a reader needs of memory.

    python benchmarks/store_scale.py                      # 977 shards of 1,024 samples
    python benchmarks/store_scale.py --shards 130         # 20 GB

The pixels are holes in sparse files (about 0.3 MB on disk a shard), so it fits anywhere; the rest is a real store,
one shard under many names. Opening and reading are measured in a process of their own. Memory is that of the
process alone (RssAnon): pages of the mapped files belong to the page cache, which gives them back.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from storage.config import StoreConfig
from storage.place import place_of
from storage.schema import LIVE, SPOOF, Sample
from storage.shard_info import ShardInfo, write_ticket
from storage.snapshot import Store
from storage.writer import shard_writer

SIZE = 224


def sample(i: int) -> Sample:
    """A black picture; every third is live, with a flat disc of depth."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] - SIZE / 2
    live = i % 3 == 0
    depth = np.where(np.hypot(x, y) < 80, 200, 0).astype(np.uint8) if live else None
    columns = {
        "dataset": "scale", "path": f"Data/{i // 64:06d}/{i:08d}.jpg", "frame": 0, "view": 0,
        "split": ("train", "train", "dev", "test")[i // 64 % 4], "subject": f"scale/{i // 64}", "session": "",
        "label": LIVE if live else SPOOF, "attack": "" if live else ("print", "replay")[i % 2], "attack_detail": "",
        "box": [60.0, 60.0, 160.0, 160.0], "box_source": "given", "score": 1.0, "points": None,
        "crop": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], "confidence": 0.9, "source_size": 10_000 + i, "source_mtime_ns": i,
        "extra": "{}",
    }  # fmt: skip
    return Sample(np.zeros((SIZE, SIZE, 3), np.uint8), depth, columns)


def build(root: Path, shards: int, rows: int, store_format: str) -> None:
    """One real shard, then sparse copies of it under other names, all committed."""
    config = StoreConfig(format=store_format, image="raw")
    with shard_writer(root, "s00000", config, {}) as writer:
        for start in range(0, rows, 64):
            writer.write(sample(i) for i in range(start, min(start + 64, rows)))
    first = writer.info
    infos = [copy(root, first, f"s{k:05d}") for k in range(1, shards)]
    sparse(root / first.file, root / first.file)
    Store(root).commit([first, *infos], parent=None, config={}, lineage={})


def copy(root: Path, info: ShardInfo, name: str) -> ShardInfo:
    """A shard under another name, zeros not stored."""
    named = replace(info, name=name, file=info.file.replace("s00000", name))
    named = replace(named, media_file=f"media/{name}.parquet")
    sparse(root / info.file, root / named.file)
    assert info.media_file is not None
    (root / f"media/{name}.parquet").write_bytes((root / info.media_file).read_bytes())
    write_ticket(place_of(root), named)
    return named


def sparse(source: Path, target: Path) -> None:
    """Copy (or make sparse in place) with holes where there are zeros."""
    part = target.with_suffix(".sparse")
    subprocess.run(["cp", "--sparse=always", source, part], check=True)
    part.replace(target)


MEASURE = """
import json, sys, time
import numpy as np
from storage.dataset import DepthDataset
from storage.snapshot import open_snapshot

def anonymous():
    text = open("/proc/self/status").read()
    return int(text.split("RssAnon:")[1].split()[0]) / 1024

def timed(what):
    start, cpu = time.perf_counter(), time.process_time()
    result = what()
    return result, round(time.perf_counter() - start, 3), round(time.process_time() - cpu, 3)

root, batches = sys.argv[1], int(sys.argv[2])
found = {"start_mb": round(anonymous())}
dataset, *found["open"] = timed(lambda: DepthDataset(root))
chosen, *found["open_where_split"] = timed(lambda: DepthDataset(root, where={"split": "train"}))
found["samples"], found["train"] = len(dataset), len(chosen)
found["opened_mb"] = round(anonymous())
batch, rng = dataset.empty_batch(64), np.random.default_rng(0)
_, *found["first_batch"] = timed(lambda: dataset.read(rng.integers(0, len(dataset), 64), batch))
most = anonymous()
for _ in range(batches):
    dataset.read(rng.integers(0, len(dataset), 64), batch)
    most = max(most, anonymous())
found["batch_mb"] = round(64 * (224 * 224 * 4) / 2**20)
found["reading_mb"] = round(most)
print(json.dumps(found))
"""


def main() -> None:
    """Build, open, read, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=977)
    parser.add_argument("--rows", type=int, default=1024, help="samples a shard")
    parser.add_argument("--format", default="hdf5", choices=["hdf5", "parquet"])
    parser.add_argument("--batches", type=int, default=100, help="of 64 random samples")
    parser.add_argument("--folder", type=Path, help="where to build; default: the folder for temporary files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root, start = Path(folder) / "store", time.perf_counter()
        build(root, options.shards, options.rows, options.format)
        files = [path.stat() for path in root.rglob("*") if path.is_file()]
        size, used = sum(f.st_size for f in files), sum(f.st_blocks for f in files) * 512
        print(
            f"{options.format}: {size / 1e9:.1f} GB, {used / 1e9:.2f} on disk, in {time.perf_counter() - start:.0f} s"
        )
        command = [sys.executable, "-c", MEASURE, str(root), str(options.batches)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    for name in ("open", "open_where_split", "first_batch"):
        wall, cpu = found[name]
        print(f"{name:18} {wall:7.3f} s wall {cpu:7.3f} s CPU")
    print(f"samples {found['samples']:,}, of the train split {found['train']:,}")
    print(
        f"memory: {found['start_mb']} MB after the imports, {found['opened_mb']} with the store open twice, at most "
        f"{found['reading_mb']} in {options.batches} batches of {found['batch_mb']} MB"
    )


if __name__ == "__main__":
    main()
