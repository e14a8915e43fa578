"""What there is to do: the media of a scan, less those that the current snapshot holds already, cut into shards.

The same media and config give the same plans and the same names: that is how a killed build finds its shards again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from storage.media_list import media_keys
from storage.schema import REJECT_COLUMNS
from storage.shard_info import ShardInfo
from storage.snapshot import Snapshot
from tasks.compare import Comparison, Flags, Known, compare, read_known
from tasks.config import BuildConfig, changed_options
from tasks.errors import BuildError
from tasks.frames import guess_frames
from tasks.selection import Selection
from tasks.sources.media import MEDIA_SCHEMA, Scan

_DIGESTED = 65_536  # rows at a time: a million would be text of 300 MB
EVERYTHING = Selection()
_UNIT, _RECORD = "\x1f", "\x1e"  # separators: `walk` refuses file names that have them


@dataclass(frozen=True)
class ShardPlan:
    """One shard to make: of `media` (MEDIA_SCHEMA, by path) of one dataset and split, below `root`.

    Its name is a hash of those rows and of `config_digest`. With `origin` nothing is built: the rows of that shard
    which come from `media` (KNOWN_SCHEMA then) are copied; `root` is empty where the dataset is not among the scans.
    """

    name: str
    dataset: str
    split: str
    root: str
    media: pa.Table
    config_digest: str
    origin: ShardInfo | None = None


@dataclass(frozen=True)
class Attempt:
    """A build that somebody else's commit has overtaken: the media of the snapshot it was planned on, what it built."""

    known: pa.ChunkedArray
    built: list[ShardInfo]


@dataclass(frozen=True)
class Plan:
    """Shards to make, shards to keep, and how the media compare with the snapshot.

    unchanged: media whose samples stay, of which `copied` move to another shard because neighbours in theirs go. again:
    unchanged media that are built again, because of the config or a damaged shard. new, changed, removed: media.
    touched: files with other times and the same content. damaged: what is wrong with each shard that has to be
    replaced. why: the reasons for what is not unchanged, for people. known: keys of all media in the snapshot.
    """

    shards: list[ShardPlan]
    keep: list[ShardInfo]
    unchanged: int
    copied: int
    again: int
    new: int
    changed: int
    removed: int
    touched: int
    damaged: list[str]
    why: list[str]
    known: pa.ChunkedArray

    @property
    def nothing_to_do(self) -> bool:
        """The snapshot holds exactly these media, built with this config."""
        return not self.shards and not self.removed and not self.damaged


def plan_build(
    scans: Sequence[Scan],
    snapshot: Snapshot | None,
    config: BuildConfig,
    *,
    checksum: bool = False,
    only: Selection = EVERYTHING,
    overtaken: Attempt | None = None,
) -> Plan:
    """Compare `scans`, together the whole content that the store shall have, with `snapshot`; cut the rest into shards.

    A medium is unchanged if its labels and boxes are, and its file by size and time of change, or by content where
    these differ (with `checksum` always). A shard with this config and no other media is kept; of one that holds others
    too, the unchanged ones are copied.

    With `only`, media that do not fit are left as they are: those of the store are kept, others are not looked at.

    An `overtaken` build is put on top of the snapshot that overtook it: what it built is taken from its shards, media
    that both built stay where the other put them, and media that only the other knows of are kept.

    Raises BuildError if two scans yield the same dataset, for missing weights, and if `only` a part of the store would
    be built with other settings than the rest.
    """
    roots = {scan.dataset: str(scan.root.resolve()) for scan in scans}
    if len(roots) < len(scans):
        raise BuildError("two sources give the same dataset; give one of them another dataset name")
    digest = config.digest()
    media = pa.concat_tables([MEDIA_SCHEMA.empty_table(), *(scan.media for scan in scans)]).combine_chunks()
    committed = list(snapshot.shards) if snapshot else []
    listed = {shard.name for shard in committed}
    built = [shard for shard in overtaken.built if shard.name not in listed] if overtaken else []
    known = read_known(snapshot, sorted([*committed, *built], key=lambda s: s.meta.get("config") != digest))
    media, covered = _selected(media, known, snapshot, only)
    found = compare(media, roots, known, checksum=checksum)

    usable = np.array(
        [s.meta.get("config") == digest and s.name not in known.damaged for s in known.shards] or [False], bool
    )
    place = np.where(found.found >= 0, known.owner[found.found] if len(known.owner) else 0, 0)
    stays = (found.found >= 0) & found.facts & found.content & usable[place] & (not only.failed)
    alive = np.zeros(len(known.media), bool)
    alive[found.found[stays]] = True
    absent = ~_among(known.keys, found.keys)
    foreign = absent & ~covered
    if overtaken is not None:
        foreign |= absent & ~_among(known.keys, overtaken.known)
    alive |= foreign
    gone = absent & ~foreign
    if not only.whole and alive[~usable[known.owner]].any() and snapshot is not None:
        changes = "; ".join(_changes(snapshot, config)) or "of another release"
        raise BuildError(
            f"{snapshot.root}: built with other settings ({changes}): to build only a part of it anew would mix the "
            "two. Build all of it, or another store"
        )
    keep, copies = _keep_or_copy(known, alive, _as_scanned(known, media, found.found, stays), roots)
    order = {shard.name: number for number, shard in enumerate([*committed, *built])}
    keep.sort(key=lambda shard: order[shard.name])

    left = np.flatnonzero(~stays)
    cuts = list(_cut(media.take(pa.array(left)), _tries(known, found, again=only.failed)[left], roots, digest, config))
    there = found.found >= 0
    same = there & found.facts & found.content
    counts = {
        "unchanged": int(stays.sum()),
        "copied": sum(len(plan.media) for plan in copies),
        "again": int((same & ~stays).sum()),
        "new": int((~there).sum()),
        "changed": int((there & ~same).sum()),
        "removed": int(gone.sum()),
        "touched": int(found.touched.sum()),
    }
    why = _reasons(counts, int((there & ~found.facts).sum()), snapshot, config, usable, known)
    return Plan([*copies, *cuts], keep, **counts, damaged=list(known.damaged.values()), why=why, known=known.keys)


def media_digest(media: pa.Table) -> str:
    """SHA-256 hex over every value of the rows, in order; independent of how Arrow lays them out."""
    digest = hashlib.sha256()
    for first in range(0, max(1, len(media)), _DIGESTED):
        part, text = media.slice(first, _DIGESTED), []
        for field in MEDIA_SCHEMA:
            column = part[field.name].combine_chunks()
            if pa.types.is_fixed_size_list(field.type):
                nulls = column.is_null().to_numpy(zero_copy_only=False)
                digest.update(nulls.tobytes())
                digest.update(pc.list_flatten(column).to_numpy(zero_copy_only=False).astype("<f4").tobytes())
            else:
                text.append(column.cast(pa.string()))
        digest.update(_RECORD.join(pc.binary_join_element_wise(*text, _UNIT).to_pylist()).encode())
    return digest.hexdigest()


def _among(keys: pa.ChunkedArray, others: pa.ChunkedArray) -> Flags:
    return pc.is_in(keys, others).to_numpy(zero_copy_only=False).astype(bool)


def _as_scanned(known: Known, media: pa.Table, found: npt.NDArray[np.int64], stays: Flags) -> pa.Table:
    """The media of the store, with the size and time that the scan saw."""
    table = known.media
    for name in ("size", "mtime_ns"):
        values = table[name].to_numpy().copy()
        values[found[stays]] = media[name].to_numpy()[stays]
        place = table.column_names.index(name)
        table = table.set_column(place, table.schema.field(place), pa.chunked_array([values]))
    return table


def _keep_or_copy(
    known: Known, alive: Flags, media: pa.Table, roots: dict[str, str]
) -> tuple[list[ShardInfo], list[ShardPlan]]:
    """Shards whose media all stay, and plans to copy what stays of the others."""
    total = np.bincount(known.owner, minlength=len(known.shards))
    stay = np.bincount(known.owner[alive], minlength=len(known.shards))
    keep, copies = [], []
    for number, shard in enumerate(known.shards):
        if not stay[number] or shard.name in known.damaged:
            continue
        if stay[number] == total[number]:
            keep.append(shard)
            continue
        rows = np.flatnonzero(alive & (known.owner == number))
        part = media.take(pa.array(rows))
        dataset, split = part["dataset"][0].as_py(), part["split"][0].as_py()
        made_with = str(shard.meta.get("config"))
        name = _name(dataset, split, made_with, media_digest(part), "")
        copies.append(ShardPlan(name, dataset, split, roots.get(dataset, ""), part, made_with, shard))
    return keep, copies


def _selected(media: pa.Table, known: Known, snapshot: Snapshot | None, only: Selection) -> tuple[pa.Table, Flags]:
    """The media of the scan that fit, and which media of the store do."""
    fits, covered = only.fits(media), only.fits(known.media)
    if only.failed:
        rejects = snapshot.rejects() if snapshot else REJECT_COLUMNS.empty_table()
        failed = media_keys(rejects.select(["dataset", "path"]))
        fits, covered = fits & _among(media_keys(media), failed), covered & _among(known.keys, failed)
    return media.filter(pa.array(fits)), covered


def _tries(known: Known, found: Comparison, *, again: bool) -> npt.NDArray[np.object_]:
    """For each medium, what tells another try from the one before, though its path, size and time may be the same.

    That is the content if it was asked for, and the shard in which it could not be read; with `again` any shard.
    """
    unreadable = pc.equal(pc.fill_null(known.media["sha256"], ""), "").to_numpy(zero_copy_only=False)
    names = np.array([shard.name for shard in known.shards] or [""], object)
    before = np.where(unreadable | again, names[known.owner], "") if len(known.owner) else np.array([""], object)
    return found.sha256 + np.where(((found.sha256 != "") | again) & (found.found >= 0), before[found.found], "")


def _cut(
    media: pa.Table, tries: npt.NDArray[np.object_], roots: dict[str, str], digest: str, config: BuildConfig
) -> Iterator[ShardPlan]:
    """Shards of about `shard_samples` samples, each of one dataset and split, media in path order."""
    frames = guess_frames(config.read)
    order = pc.sort_indices(media, [(name, "ascending") for name in ("dataset", "split", "path")])
    media, tries = media.take(order), tries[order.to_numpy()]
    group = pc.binary_join_element_wise(media["dataset"], media["split"], _UNIT).to_pylist()
    samples = [config.view.views * (frames if kind == "video" else 1) for kind in media["kind"].to_pylist()]
    start = held = 0
    for row in range(len(media) + 1):
        ends = row == len(media) or group[row] != group[start]
        if row > start and (ends or held + samples[row] > config.shard_samples):
            # not a slice: pickled for a worker, that would carry the whole table along
            part = media.take(pa.array(np.arange(start, row)))
            dataset, split = group[start].split(_UNIT)
            name = _name(dataset, split, digest, media_digest(part), "".join(tries[start:row]))
            yield ShardPlan(name, dataset, split, roots[dataset], part, digest)
            start, held = row, 0
        if row < len(media):
            held += samples[row]


def _name(dataset: str, split: str, config: str, content: str, tries: str) -> str:
    unique = hashlib.sha256(f"{config}{content}{tries}".encode()).hexdigest()[:16]
    label = re.sub(r"[^A-Za-z0-9]+", "-", f"{dataset}-{split}").strip("-")[:64]
    return f"{label}-{unique}"


def _changes(snapshot: Snapshot, config: BuildConfig) -> list[str]:
    return changed_options(snapshot.lineage.get("pixels"), config.pixels())


def _reasons(
    counts: dict[str, int],
    relabelled: int,
    snapshot: Snapshot | None,
    config: BuildConfig,
    usable: Flags,
    known: Known,
) -> list[str]:
    """Why there is something to do; empty for a first build."""
    if snapshot is None:
        return []
    reasons = []
    if any(not fine and shard.name not in known.damaged for fine, shard in zip(usable, known.shards, strict=False)):
        reasons += _changes(snapshot, config)
    content = counts["changed"] - relabelled
    said = [
        (counts["new"], "new media"),
        (content, "media with another content"),
        (relabelled, "media with other labels or boxes"),
        (counts["removed"], "media removed"),
        (len(known.damaged), "shards damaged"),
    ]
    return reasons + [f"{count:,} {what}" for count, what in said if count]
