"""Media on the local disk while they are read: where they are, or fetched ahead from a dataset behind a URL."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tasks.errors import BuildError
from tasks.sources.remote_path import RemotePath, is_plain, root_of

_AHEAD = 8  # media fetched at a time: a picture takes a round trip of 20 to 50 ms, and a face as long to align

Medium = dict[str, Any]


def nearby(root: str, media: Iterable[Medium]) -> Iterator[tuple[Path, Medium]]:
    """Each medium with a local folder that its path is relative to; a fetched one is gone when the next is asked for.

    A file that is not there is left for its reader to report. Raises BuildError if the dataset cannot be reached: that
    is no fault of a medium.
    """
    place: Path | RemotePath = root_of(root)
    if isinstance(place, Path):
        yield from ((place, medium) for medium in media)
        return
    waiting: deque[tuple[Medium, Future[TemporaryDirectory[str]]]] = deque()
    rest = iter(media)
    pool = ThreadPoolExecutor(_AHEAD)
    try:
        while True:
            while len(waiting) < _AHEAD and (medium := next(rest, None)) is not None:
                waiting.append((medium, pool.submit(_fetch, place, medium)))
            if not waiting:
                return
            medium, fetched = waiting.popleft()
            with fetched.result() as folder:
                yield Path(folder), medium
    finally:
        pool.shutdown(cancel_futures=True)
        for _, fetched in waiting:
            if not fetched.cancelled() and fetched.exception() is None:
                fetched.result().cleanup()


def _fetch(root: RemotePath, medium: Medium) -> TemporaryDirectory[str]:
    track = json.loads(medium["extra"]).get("track")
    folder = TemporaryDirectory(prefix="pseudodepth-")
    try:
        for path in [medium["path"], *([track["file"]] if track else [])]:
            if not is_plain(path):
                raise BuildError(f"{root}: the path {path!r} leads out of the dataset")
            local = Path(folder.name, path)
            local.parent.mkdir(parents=True, exist_ok=True)
            try:
                (root / path).fetch(local)
            except FileNotFoundError:
                local.unlink(missing_ok=True)
    except BaseException:
        folder.cleanup()
        raise
    return folder
