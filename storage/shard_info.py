"""What a snapshot knows of one shard, and the ticket beside a shard file that declares it complete."""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from storage.atomic import write_file
from storage.errors import Damaged
from storage.location import SHARDS, inside
from storage.schema import SCHEMA_VERSION
from storage.sealed import seal, unseal

_Count = Annotated[int, Field(ge=0, lt=1 << 48)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class ShardInfo:
    """One immutable shard: files relative to the store's root, counts, checksums; `meta` is what its builder noted."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    file: str
    format: Literal["hdf5", "parquet"]
    rows: _Count
    live: _Count
    spoof: _Count
    rejects: _Count
    bytes: _Count
    sha256: _Sha256
    rejects_file: str | None  # None if nothing was rejected
    rejects_sha256: _Sha256 | None
    meta: dict[str, Any]


def shard_info(value: object, where: Path) -> ShardInfo:
    """Check what was read from `where`; raises Damaged that names it and the field."""
    if not isinstance(value, dict):
        raise Damaged(f"{where}: not a shard entry: {type(value).__name__} instead of an object")
    try:
        return ShardInfo(**value)
    except (ValidationError, TypeError) as error:
        raise Damaged(f"{where}: not a shard entry: {error}") from error


def ticket_file(root: Path, name: str) -> Path:
    """Where the ticket of a shard lies: written last, so a shard without one is not complete."""
    return root / SHARDS / f"{name}.json"


def write_ticket(path: Path, info: ShardInfo) -> None:
    """Declare a shard complete."""
    write_file(path, seal({"schema_version": SCHEMA_VERSION, "shard": asdict(info)}))


def read_ticket(path: Path) -> ShardInfo:
    """What a ticket declares; raises Damaged if it is missing or changed."""
    return shard_info(unseal(path).get("shard"), path)


def check_file(root: Path, file: str, sha256: str | None) -> None:
    """Raise Damaged that names the file unless it is there with the bytes that were committed."""
    path = inside(root, file)
    try:
        found = sha256_of(path)
    except OSError as error:
        raise Damaged(f"{path}: cannot be read ({error}); build again to replace it") from error
    if found != sha256:
        raise Damaged(
            f"{path}: its bytes changed since they were written (sha256 {found}); delete it, then build again"
        )


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
