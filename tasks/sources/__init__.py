"""Where each dataset's media are and what its labels mean, one file a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from tasks.errors import BuildError
from tasks.sources import celeba_spoof, folder
from tasks.sources.media import MEDIA_SCHEMA, Scan


class Source(Protocol):
    """Lists one dataset's media below `root`, under the name `dataset`."""

    def __call__(self, root: Path, dataset: str = ...) -> Scan:
        """Raises BuildError for a wrong root, a wrong layout or an empty split."""
        ...


SOURCES: dict[str, Source] = {"celeba-spoof": celeba_spoof.scan, "folder": folder.scan}


def scan(name: str, root: Path | str, dataset: str | None = None) -> Scan:
    """List the media of source `name` below `root`; nothing is decoded.

    `dataset` renames it in the store, which keeps two folder trees apart. Raises BuildError for an unknown name, a
    wrong root, a wrong layout or an empty split.
    """
    if name not in SOURCES:
        raise BuildError(f"{name}: not a known source; known are {', '.join(SOURCES)}")
    return SOURCES[name](Path(root), dataset or name)


__all__ = ["MEDIA_SCHEMA", "SOURCES", "Scan", "Source", "scan"]
