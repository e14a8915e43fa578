"""What a shard format is: one writer and one reader protocol. HDF5 and Parquet are each a module that keeps them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from storage.codecs import Encoded
from storage.config import StoreConfig
from storage.pixel_index import PixelIndex
from storage.place import StoredFile


class ShardFileWriter(Protocol):
    """Writes one file, rows in order; memory is bounded by the batches between two calls of `add_columns`."""

    def add(self, row: Encoded) -> None:
        """Add one row's pixels; they may change as soon as this returns."""

    def add_columns(self, columns: pa.Table) -> None:
        """Add the COLUMNS table of the rows that came since the last call."""

    def close(self, size: tuple[int, int], depth_dtype: np.dtype) -> None:
        """Finish the file. size: (H, W) of every image, (0, 0) if there are no rows."""

    def abort(self) -> None:
        """Let go of the file, whatever state it is in; harmless after `close`."""


class ShardFormat(Protocol):
    """One file format; tests/storage/conformance.py is what it must do."""

    @property
    def SUFFIX(self) -> str:
        """Of its file names, with the dot."""

    def Writer(self, path: Path, config: StoreConfig, meta: dict[str, Any]) -> ShardFileWriter:
        """Begin a file at `path`, which is there and empty. meta: plain JSON that the file is to carry."""

    def index(self, path: StoredFile) -> PixelIndex:
        """Where the pixels of a file lie; raises Damaged or UnknownVersion that names it."""

    def columns(self, path: StoredFile, names: Sequence[str]) -> pa.Table:
        """The named columns as a table of COLUMNS types, nothing else read; raises Damaged or UnknownVersion."""
