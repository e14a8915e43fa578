"""Where a store lives: today a local folder; the one place that other kinds of URL will be added."""

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlparse

from storage.errors import StoreError

SHARDS, REJECTS, SNAPSHOTS = "shards", "rejects", "snapshots"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def local_path(url: str | Path) -> Path:
    """The folder behind a path or `file://` URL; any other URL raises StoreError."""
    text = os.fspath(url)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", text)
    if scheme is None:
        return Path(text)
    if scheme[1].lower() == "file":
        return Path(unquote(urlparse(text).path))
    raise StoreError(f"{text}: stores on {scheme[1]}:// are not supported yet; use a local path or a file:// URL")


def inside(root: Path, relative: str) -> Path:
    """`root/relative`, refused if it leads out of the store (`..`, absolute, or through a symbolic link).

    Snapshot files are read from disk and may have been tampered with, so no path in them is trusted.
    """
    folder, _, name = relative.partition("/")
    path = root / folder / name
    fine = folder in (SHARDS, REJECTS) and NAME.fullmatch(name) and path.resolve().parent == root.resolve() / folder
    if not fine:
        raise StoreError(
            f"{root}: the file name {relative!r} leads out of the store; expected {SHARDS}/<name> or {REJECTS}/<name>. "
            "The snapshot file was changed by hand or damaged: restore it, or run `pseudodepth verify`."
        )
    return path
