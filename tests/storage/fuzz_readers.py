"""Damages the files of a small store in every way it knows and reads them: run in a process of its own by test_fuzz.py.

A reader may raise StoreError; anything else, wrong pixels, more memory than LIMIT or more time than SECONDS is a bug.
`flips` leave the checksums alone, as a disk does. `forgeries` make them fit again, as an attacker would: then pixels
may be anything, but the rest must hold.
"""

import json
import resource
import signal
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np
from isal.isal_zlib import crc32

from storage import parquet
from storage.config import StoreConfig
from storage.dataset import DepthDataset
from storage.errors import StoreError
from storage.place import LocalFile
from storage.reader import open_shard
from storage.sealed import seal
from storage.snapshot import Store, open_snapshot
from storage.verify import verify
from storage.writer import shard_writer
from tests.fixtures.samples import make_samples, reject_row

LIMIT = 512 << 20  # bytes of address space beyond what the imports took
SECONDS = 20  # of CPU, for one file
EXTREMES = [0, 1, -1, 127, 255, 1 << 15, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 47) - 1, (1 << 63) - 1]
VALUES = [*EXTREMES, None, True, "", "..", "../../etc/passwd", "/etc/passwd", "shards/../../x.h5", "x" * 10_000]
VALUES += [[], {}, [[]], 1e308, "shards/", "shards/.", "\0", "shards/a\0.h5", "shards/link.h5"]


def make_store(root):
    """Four shards that are alike, 6 rows of 16x16 each, with one reject; committed."""
    configs = {
        "a": StoreConfig(depth="raw"),
        "b": StoreConfig(image="jpeg"),
        "c": StoreConfig(format="parquet"),
        "d": StoreConfig(format="parquet", image="png"),
    }
    infos = []
    for k, (name, config) in enumerate(configs.items()):
        with shard_writer(root, name, config, {"plan": [name]}) as writer:
            writer.write(make_samples(6, size=16, first=6 * k))
            writer.reject(reject_row(k))
        infos.append(writer.info)
    (root / "shards" / "link.h5").symlink_to("/etc/passwd")
    return Store(root).commit(infos, parent=None, config={"views": 1}, lineage={"deep": {"list": [1, {"x": None}]}})


def flip(rng, good):
    """Damaged bytes: flips, runs, cuts, doubled and moved pieces."""
    bad, kind = bytearray(good), rng.integers(8)
    at, length = int(rng.integers(len(good))), int(rng.integers(1, 64))
    if kind <= 2:
        for place in rng.integers(0, len(good), 1 + 2 * kind):
            bad[place] ^= 1 << int(rng.integers(8))
    elif kind == 3:
        bad[at : at + length] = bytes([int(rng.choice([0, 255]))]) * len(bad[at : at + length])
    elif kind == 4:
        number = int(rng.choice(EXTREMES)) & ((1 << 64) - 1)
        bad[at : at + 8] = number.to_bytes(8, "little")[: len(bad[at : at + 8])]
    elif kind == 5:
        del bad[at : at + length]
    elif kind == 6:
        bad[at:at] = bad[(start := int(rng.integers(len(bad)))) : start + length]
    else:
        del bad[at:]
    return bytes(bad)


def forge_json(rng, good):
    """A sealed file with one value replaced or taken out, and a seal that fits."""
    content = json.loads(good)
    del content["sha256"]
    node = content
    while True:
        key = list(node)[int(rng.integers(len(node)))] if isinstance(node, dict) else int(rng.integers(len(node)))
        if not (isinstance(node[key], dict | list) and node[key] and rng.random() < 0.8):
            break
        node = node[key]
    if rng.random() < 0.15:
        del node[key]
    else:
        node[key] = VALUES[int(rng.integers(len(VALUES)))]
    try:
        return seal(content)
    except StoreError:
        return good


def forge_parquet(rng, good, path):
    """A footer with a byte changed and a checksum that fits."""
    bad = bytearray(good)
    length = int.from_bytes(good[-8:-4], "little")
    bad[len(bad) - 8 - int(rng.integers(length))] ^= 1 << int(rng.integers(8))
    path.write_bytes(bad)
    try:
        with LocalFile(path).open() as file:
            place, crc = parquet._footer_seal(file, path)
    except StoreError:
        return bytes(bad)
    bad[place : place + 8] = crc
    return bytes(bad)


def forge_hdf5(rng, good, path):
    """One attribute or array with another value, type or shape, written by HDF5 itself."""
    path.write_bytes(good)
    number = EXTREMES[int(rng.integers(len(EXTREMES)))]
    with h5py.File(path, "r+") as file:
        if rng.random() < 0.4:
            name = rng.choice(list(file.attrs))
            file.attrs[name] = [number, [number, number], "gif", b"\xff", np.nan][int(rng.integers(5))]
            return path.read_bytes()
        names = []
        file.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
        name = str(rng.choice(names))
        data, kind = file[name], int(rng.integers(4))
        if kind == 0:
            del file[name]
        elif kind == 1 and data.ndim and data.size and data.dtype.kind in "iu":
            data[int(rng.integers(len(data)))] = np.array(number).astype(data.dtype)
        elif kind == 2:  # a few bytes that claim to be terabytes
            shape, kind_of = (1 << int(rng.integers(20, 40)),), data.dtype
            del file[name]
            file.create_dataset(name, shape, kind_of, chunks=(1 << 16,), compression="gzip")
        else:
            del file[name]
            file[name] = [np.arange(3), "text", np.zeros((6, 16, 16)), np.array([b"\xff\xfe"] * 6)][
                int(rng.integers(4))
            ]
    return path.read_bytes()


def read_shard(path, truth=None):
    reader = open_shard(path)
    rows = range(min(len(reader), 6))
    found = (*reader.read(rows), reader.read_masks(rows), reader.columns().drop_columns(["confidence"]))
    if truth is not None:
        assert all(np.array_equal(a, b) for a, b in zip(found[:3], truth[:3], strict=True)), "other pixels"
        assert found[3].equals(truth[3]), "other columns"
    return found


def read_lists(root):
    snapshot = open_snapshot(root)
    snapshot.rejects()
    snapshot.media()


def read_dataset(root):
    dataset = DepthDataset(root, where={"split": "train"})
    dataset.read([0, len(dataset) - 1])


def attempts(root, count, rng):
    """(file, its bytes, how it was damaged, what reads it) `count` times."""
    shards = sorted((root / "shards").glob("[abcd].[hp]*"))
    truths = {path: read_shard(path) for path in shards}
    small = [root / "snapshots" / "00000001.json", *(root / "shards").glob("?.json"), *(root / "rejects").glob("*")]
    small += (root / "media").glob("*") if (root / "media").is_dir() else []
    goods = {path: path.read_bytes() for path in [*shards, *small]}
    for number in range(count):
        path = (shards if number % 4 else small)[int(rng.integers(len(shards if number % 4 else small)))]
        good, forged = goods[path], number % 2
        if path.suffix == ".json" and forged:
            path.write_bytes(forge_json(rng, good))
        elif path in truths and forged:
            data = (forge_hdf5 if path.suffix == ".h5" else forge_parquet)(rng, good, path)
            path.write_bytes(data)
        else:
            forged = False
            path.write_bytes(flip(rng, good))
        if path in truths:
            yield path, lambda path=path, forged=forged: read_shard(path, None if forged else truths[path])
        else:
            for read in (read_lists, read_dataset, verify):
                yield path, lambda read=read: read(root)
        path.write_bytes(good)


def main(root, seed, count):
    warnings.simplefilter("ignore")
    make_store(root)
    read_dataset(root)  # everything that is imported late
    size = int(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmSize" in line))
    resource.setrlimit(resource.RLIMIT_AS, ((size << 10) + LIMIT,) * 2)
    signal.signal(signal.SIGVTALRM, signal.default_int_handler)
    seen = {"refused": 0, "harmless": 0, "bugs": []}
    for number, (path, read) in enumerate(attempts(root, count, np.random.default_rng(seed))):
        digest = f"{path.name} {number} {crc32(path.read_bytes()):08x}"
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        try:
            read()
            seen["harmless"] += 1
        except StoreError as error:
            seen["refused"] += 1
            if str(root) not in str(error) and path.name not in str(error):
                seen["bugs"].append(f"{digest}: the message names no file: {error}"[:400])
        except BaseException as error:  # a hang arrives as KeyboardInterrupt
            seen["bugs"].append(f"{digest}: {type(error).__name__}: {error}"[:400])
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        print(digest, flush=True, file=sys.stderr)  # the last line names the file on which the process died
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
