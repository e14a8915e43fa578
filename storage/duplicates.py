"""Samples that should not be where they are: the same file or the same picture twice, one person in two splits.

Exact duplicates are files with the same SHA-256. Near ones are plain crops (view 0, first frame of a medium) whose
perceptual hashes differ in few bits: 256 bits, the signs of the 16x16 lowest frequencies of a 32x32 grey picture's
cosine transform against their median (Zauner 2010, "Implementation and benchmarking of perceptual image hash
functions", section 3.2.1, with more coefficients: 64 bits do not tell aligned faces apart).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.media_list import media_keys
from storage.snapshot import Snapshot

_SIDE, _LOW = 32, 16  # px of the reduced picture, frequencies a side
_WORDS = _LOW * _LOW // 64
_READ = 16  # pictures at a time: 0.24 ms a picture; 256 at a time take 0.83, for fresh memory
_MOST = 1 << 22  # pairs compared at a time: 128 MB of bits
MAX_BITS = 15  # with 16 bands of 16 bits, two hashes that differ in 15 bits or fewer agree in one whole band


@dataclass(frozen=True)
class Group:
    """Media that are the same: rows with dataset, path, split, subject. crosses: splits or datasets differ."""

    kind: str  # exact | near
    media: list[dict[str, Any]]

    @property
    def crosses(self) -> bool:
        """Whether it leaks from one split, or one dataset, into another."""
        return len({(row["dataset"], row["split"]) for row in self.media}) > 1


@dataclass
class Report:
    """subjects: each one that is in more than one split, with its splits. compared: pictures. unhashed: media."""

    exact: list[Group] = field(default_factory=list)
    near: list[Group] = field(default_factory=list)
    subjects: dict[str, list[str]] = field(default_factory=dict)
    media: int = 0
    compared: int = 0
    unhashed: int = 0

    @property
    def leaks(self) -> int:
        """Groups that cross a split or dataset, and subjects in more than one split."""
        return sum(group.crosses for group in [*self.exact, *self.near]) + len(self.subjects)


def duplicates(snapshot: Snapshot, *, bits: int = 10, near: bool = True) -> Report:
    """Compare all media of a snapshot. bits: how far two hashes of one picture may lie apart, at most MAX_BITS.

    Near groups list pairs that are not exact duplicates and cross a split or dataset; within one, consecutive pictures
    of one camera are alike without harm.
    """
    if not 0 <= bits <= MAX_BITS:
        raise ValueError(f"bits {bits}: expected 0 to {MAX_BITS}")
    media = snapshot.media()
    report = Report(media=len(media), unhashed=int(pc.sum(pc.equal(media["sha256"], "")).as_py() or 0))
    report.exact = [Group("exact", rows) for rows in _same_content(media)]
    report.subjects = shared_subjects(media.filter(pc.greater(media["samples"], 0)))
    if near:
        first, hashes = perceptual_hashes(snapshot)
        report.compared = len(first)
        group = pc.binary_join_element_wise(first["dataset"], first["split"], "\x1f").combine_chunks()
        group_of = group.dictionary_encode().indices.to_numpy()
        content = pc.index_in(media_keys(first), media_keys(media))
        sha = media["sha256"].take(content).combine_chunks().dictionary_encode().indices.to_numpy()
        known = ~pc.equal(media["sha256"].take(content), "").to_numpy(zero_copy_only=False)
        pairs = near_pairs(hashes, group_of, bits)
        pairs = pairs[~((sha[pairs[:, 0]] == sha[pairs[:, 1]]) & known[pairs[:, 0]])]
        columns = first.select(["dataset", "path", "split", "subject"])
        report.near = [Group("near", columns.take(pa.array(rows)).to_pylist()) for rows in _connected(pairs)]
    return report


def shared_subjects(media: pa.Table) -> dict[str, list[str]]:
    """Subjects that are in more than one split, with the splits: what is learned of them is known in the test."""
    named = media.filter(pc.not_equal(media["subject"], ""))
    pairs = named.group_by(["subject", "split"], use_threads=False).aggregate([])
    counts = pairs.group_by("subject", use_threads=False).aggregate([("split", "count")])
    shared = counts.filter(pc.greater(counts["split_count"], 1))["subject"]
    found: dict[str, list[str]] = {}
    for row in pairs.filter(pc.is_in(pairs["subject"], shared)).sort_by("subject").to_pylist():
        found.setdefault(row["subject"], []).append(row["split"])
    return {subject: sorted(splits) for subject, splits in found.items()}


def _same_content(media: pa.Table) -> Iterator[list[dict[str, Any]]]:
    known = media.filter(pc.not_equal(media["sha256"], ""))
    counts = pc.value_counts(known["sha256"])
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    same = known.filter(pc.is_in(known["sha256"], twice)).sort_by([("sha256", "ascending"), ("path", "ascending")])
    rows: list[dict[str, Any]] = []
    last = None
    for row in same.select(["dataset", "path", "split", "subject", "sha256"]).to_pylist():
        if rows and row["sha256"] != last:
            yield rows
            rows = []
        last = row.pop("sha256")
        rows.append(row)
    if rows:
        yield rows


def perceptual_hashes(snapshot: Snapshot) -> tuple[pa.Table, np.ndarray]:
    """The first plain crop of every medium: dataset, path, split, subject (n rows), and its hash (n, 4) uint64."""
    tables, hashes = [], [np.zeros((0, _WORDS), np.uint64)]
    for shard in snapshot.shards:
        reader = snapshot.open(shard)
        columns = reader.columns(["dataset", "path", "split", "subject", "frame", "view"])
        keys = media_keys(columns).combine_chunks().dictionary_encode().indices.to_numpy()
        plain = np.flatnonzero(columns["view"].to_numpy() == 0)
        _, first = np.unique(keys[plain], return_index=True)
        rows = np.sort(plain[first])
        tables.append(columns.take(pa.array(rows)).drop_columns(["frame", "view"]))
        hashes += [hash_images(reader.read(rows[at : at + _READ])[0]) for at in range(0, len(rows), _READ)]
    schema = pa.schema([(name, pa.string()) for name in ("dataset", "path", "split", "subject")])
    return pa.concat_tables([schema.empty_table(), *(table.cast(schema) for table in tables)]), np.concatenate(hashes)


def hash_images(images: np.ndarray) -> np.ndarray:
    """(n, H, W, 3) uint8 RGB -> (n, 4) uint64."""
    from scipy.fft import dctn

    n, height, width, _ = images.shape
    rows, columns = _area(height), _area(width)
    # rows first: what is left is a seventh, and all of it is linear
    bands = rows @ images.reshape(n, height, width * 3).astype(np.float32)  # (n, 32, W * 3)
    grey = bands.reshape(n, _SIDE, width, 3) @ np.array([0.299, 0.587, 0.114], np.float32)  # (n, 32, W)
    small = grey @ columns.T  # (n, 32, 32)
    low = dctn(small, axes=(1, 2), norm="ortho")[:, :_LOW, :_LOW].reshape(len(images), -1)
    low[:, 0] = 0  # brightness is no sign of a picture
    bits = low > np.median(low, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64)


def _area(size: int) -> np.ndarray:
    """(32, size): means over equal parts of an axis."""
    edges = np.linspace(0, size, _SIDE + 1)
    at = np.arange(size)
    overlap = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
    return (np.clip(overlap, 0, 1) / (size / _SIDE)).astype(np.float32)


def near_pairs(hashes: np.ndarray, group: np.ndarray, bits: int) -> np.ndarray:
    """Pairs (k, 2) of rows of different groups whose hashes (n, 4) uint64 differ in at most `bits` <= MAX_BITS.

    Two such hashes agree in at least one of 16 bands, so only rows that share a band are compared (multi-index hashing,
    Norouzi et al. 2012); bands that many rows share are cut into blocks, which bounds the memory and not the pairs.
    """
    bands = hashes.view(np.uint16)  # (n, 16)
    found = [np.zeros((0, 2), np.int64)]
    for band in range(bands.shape[1]):
        order = np.argsort(bands[:, band], kind="stable")
        values = bands[order, band]
        starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
        sizes = np.diff(np.r_[starts, len(values)])
        for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True):
            rows = order[start : start + size]
            if (group[rows] == group[rows[0]]).all():
                continue
            found.extend(_compare(rows, hashes, group, bits))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _compare(rows: np.ndarray, hashes: np.ndarray, group: np.ndarray, bits: int) -> Iterator[np.ndarray]:
    step = max(1, _MOST // len(rows))
    for first in range(0, len(rows), step):
        some = rows[first : first + step]
        apart = np.bitwise_count(hashes[some][:, None] ^ hashes[rows][None]).sum(-1)  # (k, m)
        one, other = np.nonzero((apart <= bits) & (group[some][:, None] != group[rows][None]))
        if len(one):
            yield np.stack([some[one], rows[other]], axis=1)


def _connected(pairs: np.ndarray) -> Sequence[np.ndarray]:
    """Rows that hang together, each group sorted."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(pairs):
        return []
    rows, index = np.unique(pairs, return_inverse=True)
    one, other = index.reshape(pairs.shape).T
    graph = coo_matrix((np.ones(len(one), np.int8), (one, other)), shape=(len(rows), len(rows)))
    _, label = connected_components(graph, directed=False)
    return [rows[label == k] for k in range(label.max() + 1)]
