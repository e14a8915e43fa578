"""Names of the folders and files of a store."""

import hashlib
import re
from pathlib import Path

SHARDS, REJECTS, MEDIA, SNAPSHOTS = "shards", "rejects", "media", "snapshots"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
