"""The table of media that every source yields, and the walking and checking that they share.

One row is one image or video file. Nothing is decoded here: a scan reads folders and small side files only, so that a
million media are listed in well under two minutes.
"""

from __future__ import annotations

import os
import unicodedata
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.errors import BuildError
from tasks.sources.remote_path import RemoteEntry, RemotePath, is_plain

ATTACKS = ("print", "replay", "papercut", "mask3d", "makeup", "partial", "other")
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"})
RECORDING_SUFFIXES = frozenset({".hdf5", ".h5"})  # frames of a colour and a depth camera in one file
KINDS = {
    suffix: kind
    for kind, suffixes in (("image", IMAGE_SUFFIXES), ("video", VIDEO_SUFFIXES), ("recording", RECORDING_SUFFIXES))
    for suffix in suffixes
}
SPLITS = ("train", "dev", "test")

Ignored = list[tuple[str, str]]  # (path, reason)

MEDIA_SCHEMA = pa.schema(
    [
        ("dataset", pa.string()),
        ("path", pa.string()),  # below the root, with forward slashes
        ("split", pa.string()),  # train | dev | test
        ("subject", pa.string()),  # unique over all datasets: celeba-spoof/4980
        ("session", pa.string()),
        ("label", pa.int8()),  # live 0, spoof 1
        ("attack", pa.string()),  # "" for live, else one of ATTACKS
        ("attack_detail", pa.string()),  # the dataset's own name
        ("kind", pa.string()),  # image | video | recording
        ("box", pa.list_(pa.float32(), 4)),  # x1, y1, x2, y2 in box_frame; null: none given
        ("box_frame", pa.list_(pa.float32(), 2)),  # width, height that the box refers to; null: the medium's pixels
        ("points", pa.list_(pa.float32(), 10)),  # 5 x (x, y): eyes, nose, mouth corners, image-left first
        ("size", pa.int64()),  # bytes
        ("mtime_ns", pa.int64()),
        ("extra", pa.string()),  # JSON object
    ]
)
_FLOATS = ("box", "box_frame", "points")
_PLAIN = tuple(name for name in MEDIA_SCHEMA.names if name not in (*_FLOATS, "dataset"))
_CHUNK = 65_536
_MAX_LIST = 256 << 20
_NOT_TEXT = "its name holds control characters or is not UTF-8; rename it"
_NO_TEXT = ("Cc", "Cs")  # control characters (our separators are), and bytes that are not UTF-8


@dataclass(frozen=True)
class Scan:
    """What a source found: `media` (MEDIA_SCHEMA) in path order, and what it left out, with the reason."""

    dataset: str
    root: Path
    media: pa.Table
    ignored: Ignored
    layout: str  # which variant of the dataset's layout was recognised


@dataclass(frozen=True, slots=True)
class File:
    """One file; `path` is below its root, with forward slashes."""

    path: str
    entry: os.DirEntry[str] | RemoteEntry

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.entry.name

    @property
    def folder(self) -> str:
        """The path of the folder that it lies in."""
        return self.path[: -len(self.entry.name) - 1]

    @property
    def suffix(self) -> str:
        """Lower-case ending with its dot, or an empty string."""
        return os.path.splitext(self.entry.name)[1].lower()

    def stat(self) -> tuple[int, int]:
        """Size in bytes and time of change in ns; asked of media only, a side file's is not worth the call."""
        try:
            status = self.entry.stat()
        except OSError:  # a link to nowhere: a medium all the same, whose reading will say `missing`
            status = self.entry.stat(follow_symlinks=False)
        return status.st_size, status.st_mtime_ns


def walk(
    root: Path, parts: tuple[str, ...], ignored: Ignored, enter: Callable[[str], bool] = lambda name: True
) -> Iterator[File]:
    """Every file below `root`/`parts`, folder by folder in name order; linked folders are followed once.

    What is left out goes to `ignored`, but for the folders whose name `enter` says no to.

    Raises BuildError for a folder that cannot be listed: taking it as empty would delete its media from the store.
    """
    remote: Path | RemotePath = root
    if isinstance(remote, RemotePath):
        yield from _walk_remote(remote, parts, ignored, enter)
        return
    start = os.path.realpath(root.joinpath(*parts))
    stack, seen = [(parts, start)], {start}
    while stack:
        here, real_here = stack.pop()
        folder = os.path.join(root, *here)
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            raise BuildError(f"{folder}: this folder cannot be listed ({error.strerror}); make it readable") from error
        folders = []
        above = "".join(f"{part}/" for part in here)
        for entry in entries:
            if not _is_text(entry.name):
                ignored.append((ascii(above + entry.name), _NOT_TEXT))
            elif _is_folder(entry):
                if not enter(entry.name):
                    continue
                real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(real_here, entry.name)
                if real in seen or real_here.startswith(os.path.join(real, "")):
                    ignored.append((above + entry.name, "a folder that was already listed, or a link to one"))
                    continue
                seen.add(real)
                folders.append(((*here, entry.name), real))
            else:
                yield File(above + entry.name, entry)
        stack.extend(reversed(folders))


def _walk_remote(
    root: RemotePath, parts: tuple[str, ...], ignored: Ignored, enter: Callable[[str], bool]
) -> Iterator[File]:
    left: set[tuple[str, ...]] = set()  # folders that are not entered, each asked about once
    for path, entry in (root / "/".join(parts)).files():
        folders = path.split("/")[:-1]
        if not _is_text(path):
            ignored.append((ascii("/".join((*parts, path))), _NOT_TEXT))
        elif not is_plain(path):
            ignored.append(("/".join((*parts, path)), "its key is not the path of a file"))
        elif not any(tuple(folders[:n]) in left for n in range(1, len(folders) + 1)):
            shut = next((n for n in range(1, len(folders) + 1) if not enter(folders[n - 1])), None)
            if shut is None:
                yield File("/".join((*parts, path)), entry)
            else:
                left.add(tuple(folders[:shut]))


def _is_text(name: str) -> bool:
    if name.isascii() and name.isprintable():
        return True
    return not any(unicodedata.category(char) in _NO_TEXT for char in name)


def names_in(folder: Path) -> list[str]:
    """What lies in a folder, in order."""
    return sorted(path.name for path in folder.iterdir())


def read_heads(root: Path, files: Sequence[File], limit: int) -> list[bytes]:
    """The first `limit` bytes of small side files; empty for one that cannot be read."""
    remote: Path | RemotePath = root
    if isinstance(remote, RemotePath):
        filled = [file.path for file in files if file.stat()[0]]
        heads = dict(zip(filled, remote.heads(filled, limit), strict=True))
        return [heads.get(file.path, b"") for file in files]
    return [_head(f"{root}/{file.path}", limit) for file in files]


def _head(path: str, limit: int) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(limit)
    except OSError:
        return b""


def read_text(root: Path, path: str) -> str:
    """A small list file below `root`, decoded; raises BuildError if it is not there or not text."""
    try:
        with (root / path).open("rb") as file:
            content = file.read(_MAX_LIST + 1)
        if len(content) > _MAX_LIST:
            raise BuildError(f"{root / path}: larger than {_MAX_LIST >> 20} MiB, which no list of this dataset is")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise BuildError(f"{root / path}: this list of the dataset cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise BuildError(f"{root / path}: expected a text file ({error})") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: a file, whose reading will say what is wrong
        return False


class Floats:
    """A nullable column of fixed-length float lists, kept flat: a list object a row would cost 200 bytes."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.values = array("f")
        self.nulls = bytearray()

    def add(self, row: Sequence[float] | None) -> None:
        """Append one row of `width` floats, or null."""
        self.nulls.append(row is None)
        self.values.extend(row if row is not None else (0.0,) * self.width)

    def arrow(self) -> pa.Array:
        """The rows as a fixed-size list array."""
        mask = np.frombuffer(self.nulls, np.bool_)
        return pa.FixedSizeListArray.from_arrays(pa.array(self.values, pa.float32()), self.width, mask=pa.array(mask))


class MediaTable:
    """Collects rows into Arrow chunks, so that a million rows never exist as Python objects at once."""

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset
        self.counts: dict[str, int] = {}  # rows by split
        self._chunks: list[pa.RecordBatch] = []
        self._rows: list[tuple[object, ...]] = []
        self._start()

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    def _start(self) -> None:
        self._rows = []
        self._floats = {name: Floats(MEDIA_SCHEMA.field(name).type.list_size) for name in _FLOATS}

    def add(
        self,
        file: File,
        *,
        split: str,
        subject: str,
        label: int,
        kind: str,
        attack: str = "",
        attack_detail: str = "",
        session: str = "",
        box: Sequence[float] | None = None,
        box_frame: Sequence[float] | None = None,
        points: Sequence[float] | None = None,
        extra: str = "{}",
    ) -> None:
        """Append the row of one medium; `subject` is the dataset's own token, made unique here."""
        subject = f"{self.dataset}/{subject}"
        size, mtime_ns = file.stat()
        self._rows.append(
            (file.path, split, subject, session, label, attack, attack_detail, kind, size, mtime_ns, extra)
        )
        for name, values in zip(_FLOATS, (box, box_frame, points), strict=True):
            self._floats[name].add(values)
        self.counts[split] = self.counts.get(split, 0) + 1
        if len(self._rows) >= _CHUNK:
            self._flush()

    def _flush(self) -> None:
        columns = dict(zip(_PLAIN, zip(*self._rows, strict=True) if self._rows else ((),) * len(_PLAIN), strict=True))
        arrays: dict[str, pa.Array] = {name: column.arrow() for name, column in self._floats.items()}
        arrays["dataset"] = pa.array([self.dataset] * len(self._rows), pa.string())
        for name, values in columns.items():
            arrays[name] = pa.array(values, MEDIA_SCHEMA.field(name).type)
        self._chunks.append(
            pa.RecordBatch.from_arrays([arrays[name] for name in MEDIA_SCHEMA.names], schema=MEDIA_SCHEMA)
        )
        self._start()

    def table(self) -> pa.Table:
        """All rows, sorted by path."""
        self._flush()
        table = pa.Table.from_batches(self._chunks, MEDIA_SCHEMA)
        return table.sort_by("path").combine_chunks()


def check_root(dataset: str, root: Path, expected: str, looks_right: Callable[[Path], bool]) -> None:
    """Raise a BuildError of one line unless `root` looks like this dataset; names the likely right folder."""
    if not root.exists():
        raise BuildError(f"{dataset}: {root} does not exist; give the folder that holds {expected}")
    if not root.is_dir():
        raise BuildError(f"{dataset}: {root} is a file; give the folder that holds {expected}")
    if looks_right(root):
        return
    found = names_in(root)[:5]
    message = f"{dataset}: {root} does not hold {expected}; found {', '.join(found) if found else 'nothing'}"
    likely = next((path for path in _near(root) if looks_right(path)), None)
    raise BuildError(f"{message}. Did you mean {likely}?" if likely else message)


def _near(root: Path) -> Iterator[Path]:
    """Folders that people mean when they give `root`: up to two below it, then up to two above."""
    level = [root]
    for _ in range(2):
        below: list[Path] = []
        for folder in level:
            try:
                below += sorted(entry for entry in folder.iterdir() if entry.is_dir())
            except OSError:
                continue
            if len(below) > 500:  # a folder of subjects: the right root is not among them
                break
        yield from below
        level = below[:500]
    yield from list(root.resolve().parents)[:2]


def check_splits(dataset: str, root: Path, expected: Sequence[str], counts: dict[str, int], looked: str) -> None:
    """Raise BuildError for a split of `expected` without a single medium in `counts`."""
    for split in expected:
        if not counts.get(split):
            raise BuildError(f"{dataset}: the {split} split of {root} is empty; looked for {looked}")
