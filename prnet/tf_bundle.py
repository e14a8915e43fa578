"""Reads a TensorFlow V2 checkpoint ("tensor bundle") without TensorFlow.

`NAME.index` is a leveldb table: tensor name -> BundleEntryProto (type, shape, shard, offset, size, masked CRC32C);
the key "" holds the BundleHeaderProto. `NAME.data-0000k-of-0000n` holds the tensors' bytes one after the other.
Every block of the index and every tensor has a CRC32C, and every one is checked here.
Formats: leveldb's doc/table_format.md; tensorflow/core/protobuf/tensor_bundle.proto.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from prnet.errors import WeightsError

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
TRAILER = 5  # one byte of compression type, four of CRC
DT_FLOAT = 1
# DT_* numbers of types whose tensors are plain bytes, and their sizes (tensorflow/core/framework/types.proto)
ITEM_SIZES = {1: 4, 2: 8, 3: 4, 4: 1, 5: 2, 6: 1, 8: 8, 9: 8, 10: 1, 14: 2, 17: 2, 18: 16, 19: 2, 22: 4, 23: 8}


@dataclass(frozen=True)
class Entry:
    """One tensor: where its bytes are and what they must be. `crc` is the masked CRC32C."""

    name: str
    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int


class _Damaged(Exception):
    """A part of the index that does not parse; read_index says in which file."""


def masked_crc(data: bytes) -> int:
    """CRC32C as leveldb and TensorFlow store it: rotated by 15 bits, plus a constant."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise _Damaged("a number is cut off")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Fields of a protocol buffer message: number and value."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise _Damaged(f"unknown kind of field {kind}")
        if at + length > len(data):
            raise _Damaged("a field is cut off")
        raw = data[at : at + length]
        yield tag >> 3, raw if kind == 2 else int.from_bytes(raw, "little")
        at += length


def _block(data: bytes, handle: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the table block that `handle` (offset, size as varints) points to."""
    offset, at = _varint(handle, 0)
    size, at = _varint(handle, at)
    end = offset + size
    if end + TRAILER > len(data):
        raise _Damaged(f"the block at {offset} reaches beyond the end of the file")
    if masked_crc(data[offset : end + 1]) != struct.unpack_from("<I", data, end + 1)[0]:
        raise _Damaged(f"the block at {offset} does not have its checksum")
    if data[end] != 0:
        raise _Damaged("a compressed index; TensorFlow's own are not compressed")
    block = data[offset:end]
    restarts = struct.unpack_from("<I", block, size - 4)[0] if size >= 4 else 0
    stop, at, key = size - 4 * (restarts + 1), 0, b""
    while at < stop:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + fresh]
        yield key, block[at + fresh : at + fresh + length]
        at += fresh + length


def _entry(name: str, value: bytes) -> Entry:
    shape: tuple[int, ...] = ()
    found = dict.fromkeys((1, 3, 4, 5, 6), 0)
    for number, content in _fields(value):
        if number == 2 and isinstance(content, bytes):
            dims = [dict(_fields(dim)) for tag, dim in _fields(content) if tag == 2 and isinstance(dim, bytes)]
            shape = tuple(int(dim.get(1, 0)) for dim in dims)
        elif number in found and isinstance(content, int):
            found[number] = content
        else:
            raise _Damaged(f"tensor {name} is stored in slices or in an unknown way")
    entry = Entry(name, found[1], shape, found[3], found[4], found[5], found[6])
    if entry.dtype not in ITEM_SIZES or entry.size != prod(shape) * ITEM_SIZES[entry.dtype]:
        raise _Damaged(f"tensor {name}: {entry.size} bytes do not fit type {entry.dtype} and shape {shape}")
    return entry


def _read_index(data: bytes) -> tuple[int, dict[str, Entry]]:
    """Number of data files, and every tensor."""
    if len(data) < FOOTER or struct.unpack_from("<Q", data, len(data) - 8)[0] != MAGIC:
        raise _Damaged("it does not end as such an index does")
    footer = data[-FOOTER:-8]
    _, at = _varint(footer, 0)  # the first handle is that of the meta index, which is empty
    _, at = _varint(footer, at)
    values = {key: value for _, handle in _block(data, footer[at:]) for key, value in _block(data, handle)}
    if b"" not in values:
        raise _Damaged("it has no header")
    header = dict(_fields(values.pop(b"")))
    if header.get(2, 0) != 0:
        raise _Damaged("it was written on a big-endian machine")
    entries = {key.decode(): _entry(key.decode(), value) for key, value in values.items()}
    shards = header.get(1, 0)
    if not isinstance(shards, int) or any(entry.shard >= shards for entry in entries.values()):
        raise _Damaged(f"it names a data file beyond its {shards!r}")
    return shards, entries


def bundle_prefix(path: str | Path) -> Path | None:
    """The name of the checkpoint that `path` is, or is a file of; None if there is no such checkpoint."""
    prefix = Path(re.sub(r"\.(index|data-\d{5}-of-\d{5})$", "", str(path)))
    return prefix if prefix != Path(path) or Path(f"{prefix}.index").exists() else None


class Bundle:
    """An open checkpoint: `entries` by name, `files` (index first), and `read`.

    `prefix` is the checkpoint's name without any ending. Raises WeightsError if a file is missing, short, or if the
    index is damaged; the message names the file and, for a tensor, the tensor.
    """

    def __init__(self, prefix: Path) -> None:
        index = Path(f"{prefix}.index")
        if not index.is_file():
            raise WeightsError(f"{index}: no such file; a checkpoint is NAME.index and NAME.data-00000-of-00001")
        try:
            shards, self.entries = _read_index(index.read_bytes())
        except (_Damaged, UnicodeDecodeError) as error:
            raise WeightsError(f"{index}: damaged, or not the index of a TensorFlow checkpoint: {error}") from error
        data = [Path(f"{prefix}.data-{number:05d}-of-{shards:05d}") for number in range(shards)]
        self.files = [index, *data]
        for number, file in enumerate(data):
            if not file.is_file():
                raise WeightsError(f"{file}: no such file; {index.name} needs it beside it")
            size = file.stat().st_size
            for entry in self._of(number):
                if entry.offset + entry.size > size:
                    raise WeightsError(
                        f"{file}: too short: tensor {entry.name} ends at byte {entry.offset + entry.size}, "
                        f"the file at {size}; download it again"
                    )

    def _of(self, shard: int) -> list[Entry]:
        """The tensors of one data file in the order of their bytes."""
        return sorted((one for one in self.entries.values() if one.shard == shard), key=lambda one: one.offset)

    def read(self, wanted: Callable[[str], bool]) -> dict[str, NDArray[np.float32]]:
        """Check the CRC32C of every tensor in the checkpoint and return those that are wanted.

        Raises WeightsError that names the first damaged tensor, or a wanted one that is not float32.
        """
        found = {}
        for number, file in enumerate(self.files[1:]):
            with file.open("rb") as handle:
                for entry in self._of(number):
                    handle.seek(entry.offset)
                    data = handle.read(entry.size)
                    if masked_crc(data) != entry.crc:
                        raise WeightsError(
                            f"{file}: tensor {entry.name} is damaged (its CRC32C is not the index's); download it again"
                        )
                    if wanted(entry.name):
                        if entry.dtype != DT_FLOAT:
                            raise WeightsError(
                                f"{file}: tensor {entry.name} has type {entry.dtype}, expected float32 (1)"
                            )
                        found[entry.name] = np.frombuffer(data, "<f4").reshape(entry.shape)
        return found
