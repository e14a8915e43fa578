"""What a snapshot knows of one shard."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from storage.errors import Damaged

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
