"""Writes one shard and its reject list: committed whole on a clean exit, or nothing at all."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from storage.atomic import to_disk
from storage.codecs import Encoded, encode
from storage.config import StoreConfig
from storage.errors import BadSample, Damaged, StoreError
from storage.location import MEDIA, NAME, REJECTS, SHARDS, sha256_of
from storage.media_list import media_bytes, media_rows
from storage.place import Place, inside, place_of
from storage.reader import FORMATS, open_shard
from storage.reject_list import rejects_bytes
from storage.schema import COLUMNS, LIVE, REJECT_COLUMNS, Sample, check_sample, rows_table, sample_id
from storage.shard_info import ShardInfo, read_list, read_ticket, ticket_file, write_ticket


class ShardWriter:
    """Takes samples and rejects; made by `shard_writer`. `info` is there once the `with` block has ended cleanly."""

    def __init__(
        self, root: Place, name: str, config: StoreConfig, meta: Mapping[str, Any], media: pa.Table | None
    ) -> None:
        self._root, self._name, self._config, self._meta = root, name, config, dict(meta)
        self.media = media  # may be set until the block ends: only then every file has been read
        module = FORMATS[config.format]
        self._file = f"{SHARDS}/{name}{module.SUFFIX}"
        self._part = root.part(self._file)
        self._writer = module.Writer(self._part.path, config, self._meta)
        self._rejects: list[dict[str, Any]] = []
        self._ids: set[str] = set()
        self._first: dict[tuple[str, str], Mapping[str, Any]] = {}  # of each medium, a row that names it
        self._samples: Counter[tuple[str, str]] = Counter()
        self._live = 0
        self._size: tuple[int, int] | None = None
        self._depth_dtype: np.dtype | None = None
        self._info: ShardInfo | None = None

    @property
    def info(self) -> ShardInfo:
        """What was committed; raises StoreError before that."""
        if self._info is None:
            raise StoreError(f"shard {self._name}: not committed, so it has no info; leave the `with` block first")
        return self._info

    def write(self, samples: Iterable[Sample]) -> None:
        """Add samples in order; raises BadSample on the first that breaks the schema."""
        rows = []
        for sample in samples:
            depth = check_sample(sample)
            self._check_alike(sample.image.shape[:2], None if depth is None else depth.dtype, sample.columns)
            row = dict(sample.columns)
            row["sample_id"] = sample_id(row["dataset"], row["path"], row["frame"], row["view"])
            self._count(row)
            rows.append(row)
            self._add(encode(sample.image, depth, self._config, sample.mask))
        self._add_columns(rows_table(rows, COLUMNS))

    def copy(self, encoded: list[Encoded], columns: pa.Table, depth_dtype: np.dtype) -> None:
        """Add rows of another shard as they are stored there: `columns` has all of COLUMNS."""
        for pixels, row in zip(encoded, columns.to_pylist(), strict=True):
            self._check_alike(pixels.size, None if pixels.depth is None else depth_dtype, row)
            self._count(row)
            self._add(pixels)
        self._add_columns(columns)

    def reject(self, row: Mapping[str, Any]) -> None:
        """Note a medium or frame that could not be used: a value for every name of REJECT_COLUMNS."""
        rows_table([row], REJECT_COLUMNS)  # raises at the culprit, not at commit
        self._first.setdefault((row["dataset"], row["path"]), row)
        self._rejects.append(dict(row))

    def _add(self, pixels: Encoded) -> None:
        try:  # `_disk_errors` costs as much as the rest of this
            self._writer.add(pixels)
        except OSError as error:
            raise self._not_written(error) from error

    def _add_columns(self, columns: pa.Table) -> None:
        with self._disk_errors():
            self._writer.add_columns(columns)

    def _count(self, row: Mapping[str, Any]) -> None:
        if row["sample_id"] in self._ids:
            raise BadSample(f"{row['dataset']}:{row['path']} frame {row['frame']} view {row['view']}: written twice")
        self._ids.add(row["sample_id"])
        medium = row["dataset"], row["path"]
        self._first.setdefault(medium, row)
        self._samples[medium] += 1
        self._live += row["label"] == LIVE

    def _check_alike(self, size: tuple[int, ...], dtype: np.dtype | None, row: Mapping[str, Any]) -> None:
        height, width = size
        self._size = self._size or (height, width)
        self._depth_dtype = self._depth_dtype or dtype
        if self._size != size or dtype not in (None, self._depth_dtype):
            raise BadSample(
                f"{row.get('dataset')}:{row.get('path')}: {size} {dtype} in a shard of {self._size} {self._depth_dtype}"
                "; all samples of a shard have one size and depth type"
            )

    def commit(self) -> None:
        """Finish, read back, publish: pixels, rejects, media, then the ticket that declares all of them complete."""
        rejects = rejects_bytes(self._rejects)
        media = media_bytes(media_rows(self.media, self._samples, self._first.values()))
        with self._disk_errors():
            self._writer.close(self._size or (0, 0), self._depth_dtype or np.dtype(np.uint8))
            to_disk(self._part.path)
            sha256 = sha256_of(self._part.path)
        # read back before the final name exists: damage is found now, not in training
        open_shard(self._part.path).check(decode=False)
        info = ShardInfo(
            name=self._name,
            file=self._file,
            format=self._config.format,
            rows=len(self._ids),
            live=self._live,
            spoof=len(self._ids) - self._live,
            rejects=len(self._rejects),
            bytes=self._part.path.stat().st_size,
            sha256=sha256,
            rejects_file=f"{REJECTS}/{self._name}.parquet" if self._rejects else None,
            rejects_sha256=hashlib.sha256(rejects).hexdigest() if self._rejects else None,
            meta=self._meta,
            media_file=f"{MEDIA}/{self._name}.parquet",
            media_sha256=hashlib.sha256(media).hexdigest(),
        )
        earlier = existing_shard(self._root, self._name)
        if earlier is None:
            self._publish(info, {info.rejects_file: rejects, info.media_file: media})
        elif earlier != info:
            raise StoreError(
                f"{self._root.where(self._file)}: a complete shard of that name holds something else; committed files "
                "are never overwritten: give the shard a name that is a hash of its plan and config"
            )
        self._info = info

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._not_written(error) from error

    def _not_written(self, error: OSError, file: str | None = None) -> StoreError:
        where = self._root.where(file or self._file)
        return StoreError(f"{where}: could not be written ({error}); nothing was committed")

    def _publish(self, info: ShardInfo, lists: Mapping[str | None, bytes]) -> None:
        published: list[str] = []
        try:
            published.append(info.file)
            self._part.commit()
            for file, data in lists.items():
                if file is not None:
                    published.append(file)
                    self._root.write(file, data)
            write_ticket(self._root, info)
        except BaseException as error:
            with suppress(StoreError):  # a store that cannot be reached; the first error tells of it
                if existing_shard(self._root, self._name) is None:  # not when another builder completed it meanwhile
                    for file in published:
                        self._root.delete(file)
            if isinstance(error, OSError):
                raise self._not_written(error, published[-1]) from error
            raise

    def abort(self) -> None:
        """Leave nothing behind; harmless after `commit`."""
        self._writer.abort()
        self._part.discard()


@contextmanager
def shard_writer(
    store_url: str | Path | Place,
    name: str,
    config: StoreConfig,
    meta: Mapping[str, Any] | None = None,
    media: pa.Table | None = None,
) -> Iterator[ShardWriter]:
    """Write shard `name` of a store: commits on a clean exit, leaves nothing on any exception.

    `media` (storage/media_list.py) lists what the rows were made of; left out, it is taken from them. Equal samples,
    config, meta (plain JSON) and media give equal bytes. Raises StoreError if a different complete shard has that name
    already.
    """
    if not NAME.fullmatch(name):
        raise StoreError(f"shard name {name!r}: expected letters, digits, '.', '_' and '-' only, 128 at most")
    writer = ShardWriter(place_of(store_url), name, config, meta or {}, media)
    try:
        yield writer
        writer.commit()
    finally:
        writer.abort()


def existing_shard(store_url: str | Path | Place, name: str) -> ShardInfo | None:
    """The shard of that name if it is complete and every checksum fits, else None (writing it then replaces it).

    Of a shard in an object store only the size is asked: it was verified before it was sent, its ticket was written
    after it had arrived, and reading it back would cost a killed build the transfer of all that it had finished.
    """
    root = place_of(store_url)
    try:
        info = read_ticket(root, name)
        if info.name != name or not root.holds(inside(root, info.file), info.bytes, info.sha256):
            return None
        for file, sha256 in info.checked_files[1:]:
            read_list(root, file, sha256)
    except Damaged:
        return None
    return info


def discard_shard(store_url: str | Path | Place, info: ShardInfo) -> None:
    """Remove a shard that no snapshot lists; its ticket first, so that it is never taken for complete."""
    root = place_of(store_url)
    root.delete(ticket_file(info.name))
    for file, _ in info.checked_files:
        root.delete(inside(root, file))
