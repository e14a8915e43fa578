"""A snapshot as WebDataset: tar files whose members are grouped by name, one group a sample.

    <sample_id>.jpg | .png     the image; raw pixels become PNG
    <sample_id>.depth.png      grey, 8 or 16 bits; not there for a spoof: its depth is zero everywhere
    <sample_id>.mask.png       1 bit, where a spoof's face is, if the store has it
    <sample_id>.cls            label as text, live = 0, spoof = 1
    <sample_id>.json           the columns of storage/schema.py

One tar a shard, `00000.tar` and on, and `dataset.json`, which is written last: tars without one are not complete.
"""

import io
import json
import math
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from storage.config import StoreConfig
from storage.convert import encoded_rows, origin, rows_of
from storage.errors import StoreError
from storage.location import sha256_of
from storage.place import Place, place_of
from storage.reader import ShardReader
from storage.schema import SCHEMA_VERSION
from storage.sealed import seal
from storage.snapshot import open_snapshot

INDEX = "dataset.json"


def to_webdataset(
    source: str | Path,
    out: str | Path,
    target: StoreConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write snapshot `source` (`store` or `store@12`) as tar files into the folder `out`; returns `dataset.json`.

    target: image codec, if another one than the store's; its format does not matter. Equal snapshots give equal bytes.
    `progress(done, shards)` is called after each tar. Raises StoreError if `out` holds a dataset already.
    """
    snapshot, place = open_snapshot(source), place_of(out)
    if INDEX in place.sizes(""):
        raise StoreError(f"{place.where(INDEX)}: a dataset is there already; choose an empty folder")
    tars = []
    for number, shard in enumerate(snapshot.shards):
        tars.append(_write_tar(snapshot.open(shard), place, f"{number:05d}.tar", target))
        if progress:
            progress(number + 1, len(snapshot.shards))
    content = {
        "schema_version": SCHEMA_VERSION,
        "about": __doc__,
        "tars": tars,
        "counts": snapshot.counts,
        "config": snapshot.config,
        "lineage": {**snapshot.lineage, "converted_from": origin(snapshot)},
    }
    place.write(INDEX, seal(content))
    return content


def _write_tar(reader: ShardReader, place: Place, name: str, target: StoreConfig | None) -> dict[str, Any]:
    """One tar; returns its entry in the index."""
    part = place.part(name)
    try:
        with (
            part.path.open("r+b") as file,
            tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for member, data in _members(reader, target):
                info = tarfile.TarInfo(member)  # time, owner and mode stay constant: equal samples, equal bytes
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        size, digest = part.path.stat().st_size, sha256_of(part.path)
        entry = {"file": name, "rows": len(reader), "bytes": size, "sha256": digest}
        part.commit()
    except OSError as error:
        raise StoreError(f"{place.where(name)}: could not be written ({error}); nothing was committed") from error
    finally:
        part.discard()
    return entry


def _members(reader: ShardReader, target: StoreConfig | None) -> Iterator[tuple[str, bytes]]:
    codec = (target.image if target else None) or reader.index.image_codec
    image = "jpeg" if codec == "jpeg" else "png"
    # Parquet's codecs are those that viewers open: JPEG or PNG, and PNG for depth
    config = (target or StoreConfig()).model_copy(update={"format": "parquet", "image": image})
    suffix = {"jpeg": "jpg", "png": "png"}[image]
    for rows, columns in rows_of(reader):
        for row, pixels in zip(columns.to_pylist(), encoded_rows(reader, rows, config), strict=True):
            key = row["sample_id"]
            yield f"{key}.{suffix}", bytes(pixels.image)
            if pixels.depth is not None:
                yield f"{key}.depth.png", bytes(pixels.depth)
            if pixels.mask is not None:
                yield f"{key}.mask.png", bytes(pixels.mask)
            yield f"{key}.cls", str(row["label"]).encode()
            # JSON has no NaN; null says the same
            values = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
            yield f"{key}.json", json.dumps(values, sort_keys=True, allow_nan=False).encode()
