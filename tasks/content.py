"""The content of media, by hash: whether a file that was touched is another one, and which files are the same."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from storage.location import sha256_of
from tasks.nearby import Medium, nearby
from tasks.sources.remote_path import root_of


def content_sha256(path: Path) -> str:
    """SHA-256 of a file, hex; empty for one that cannot be read, or is no regular file."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # reading a pipe would wait for ever
            return ""
        return sha256_of(path)
    except OSError:
        return ""


def content_sha256s(root: str, paths: Sequence[str]) -> list[str]:
    """`content_sha256` of files below `root`, a folder or URL; several at once."""
    place = root_of(root)
    if isinstance(place, Path):
        with ThreadPoolExecutor() as threads:
            return list(threads.map(lambda path: content_sha256(place / path), paths))
    media: list[Medium] = [{"path": path, "extra": "{}"} for path in paths]
    return [content_sha256(folder / medium["path"]) for folder, medium in nearby(root, media)]
