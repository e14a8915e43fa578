"""What a snapshot knows of one shard, and the ticket beside a shard file that declares it complete."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from storage.errors import Damaged
from storage.location import SHARDS, sha256_of
from storage.place import Place, inside
from storage.schema import SCHEMA_VERSION
from storage.sealed import seal, unseal

MAX_LIST_BYTES = 1 << 30  # a list of a million media is about 100 MB
_Bytes = Annotated[int, Field(ge=0, lt=1 << 48)]
# readers take memory for the rows of a shard before they open it; 4 million raw pictures are 600 GB
_Rows = Annotated[int, Field(ge=0, le=1 << 22)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class ShardInfo:
    """One immutable shard: files relative to the store's root, counts, checksums; `meta` is what its builder noted."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    file: str
    format: Literal["hdf5", "parquet"]
    rows: _Rows
    live: _Rows
    spoof: _Rows
    rejects: _Rows
    bytes: _Bytes
    sha256: _Sha256
    rejects_file: str | None  # None if nothing was rejected
    rejects_sha256: _Sha256 | None
    meta: dict[str, Any]
    media_file: str | None = None  # storage/media_list.py; None in stores of schema version 1
    media_sha256: _Sha256 | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.live + self.spoof != self.rows or self.rows > self.bytes:
            raise ValueError(f"{self.live} live and {self.spoof} spoof of {self.rows} rows in {self.bytes} bytes")
        return self

    @property
    def checked_files(self) -> list[tuple[str, str | None]]:
        """Every file of the shard but its ticket, with the SHA-256 of its content."""
        files = [
            (self.file, self.sha256),
            (self.rejects_file, self.rejects_sha256),
            (self.media_file, self.media_sha256),
        ]
        return [(file, sha256) for file, sha256 in files if file is not None]


def shard_info(value: object, where: str) -> ShardInfo:
    """Check what was read from `where`; raises Damaged that names it and the field."""
    if not isinstance(value, dict):
        raise Damaged(f"{where}: not a shard entry: {type(value).__name__} instead of an object")
    try:
        return ShardInfo(**value)
    except (ValidationError, TypeError) as error:
        raise Damaged(f"{where}: not a shard entry: {error}") from error


def ticket_file(name: str) -> str:
    """The ticket of a shard: written last, so a shard without one is not complete."""
    return f"{SHARDS}/{name}.json"


def write_ticket(place: Place, info: ShardInfo) -> None:
    """Declare a shard complete."""
    place.write(ticket_file(info.name), seal({"schema_version": SCHEMA_VERSION, "shard": asdict(info)}))


def read_ticket(place: Place, name: str) -> ShardInfo:
    """What the ticket of shard `name` declares; raises Damaged if it is missing or changed."""
    ticket = ticket_file(name)
    return shard_info(unseal(place, ticket).get("shard"), place.where(ticket))


@contextmanager
def checked_file(place: Place, file: str, sha256: str | None) -> Iterator[Path]:
    """The file as a local path; raises Damaged that names it unless it is there with the bytes that were committed."""
    where = place.where(inside(place, file))
    try:
        with place.whole(file) as path:
            found = sha256_of(path)
            if found != sha256:
                raise Damaged(
                    f"{where}: its bytes changed since they were written (sha256 {found}); delete it, then build again"
                )
            yield path
    except OSError as error:
        raise Damaged(f"{where}: cannot be read ({error}); build again to replace it") from error


def read_list(place: Place, file: str, sha256: str | None) -> bytes:
    """A small file beside a shard; raises Damaged that names it unless it is there as it was committed."""
    where = place.where(inside(place, file))
    try:
        data = place.read(file, MAX_LIST_BYTES)
    except OSError as error:
        raise Damaged(f"{where}: cannot be read ({error}); build again to replace it") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Damaged(f"{where}: its bytes changed since they were written; delete it, then build again")
    return data
