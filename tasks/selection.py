"""A part of what a build covers: some datasets, splits, subjects or dates; the rest of the store stays as it is."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

Flags = npt.NDArray[np.bool_]


class Selection(BaseModel):
    """Media that fit every given condition; of several values of one condition, any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    datasets: list[str] = Field(default=[], description="names of datasets")
    splits: list[str] = Field(default=[], description="train, dev, test")
    subjects: list[str] = Field(
        default=[], description="patterns such as oulu-npu/*, or ranges such as siw/1..siw/90, ends included"
    )
    since: datetime | None = Field(default=None, description="files changed at this time or later")
    until: datetime | None = Field(default=None, description="files changed before this time")
    failed: bool = Field(
        default=False, description="media with rejects in the store; they are tried again though nothing changed"
    )

    @property
    def whole(self) -> bool:
        """No condition is given: everything fits."""
        return self == Selection()

    def fits(self, media: pa.Table) -> Flags:
        """Which rows of a table with dataset, split, subject and mtime_ns fit; `failed` is the plan's to judge."""
        fits = np.ones(len(media), bool)
        for name, values in (("dataset", self.datasets), ("split", self.splits)):
            if values:
                fits &= _flags(pc.is_in(media[name], pa.array(values, pa.string())))
        if self.subjects:
            unique = [subject for subject in pc.unique(media["subject"]).to_pylist() if subject is not None]
            chosen = [s for s in unique if any(_matches(s, wanted) for wanted in self.subjects)]
            fits &= _flags(pc.is_in(media["subject"], pa.array(chosen, pa.string())))
        if self.since is not None:
            fits &= _flags(pc.greater_equal(media["mtime_ns"], _nanoseconds(self.since)))
        if self.until is not None:
            fits &= _flags(pc.less(media["mtime_ns"], _nanoseconds(self.until)))
        return fits


def _matches(subject: str, wanted: str) -> bool:
    first, dots, last = wanted.partition("..")
    if not dots:
        return fnmatchcase(subject, wanted)
    return _natural(first) <= _natural(subject) <= _natural(last)


def _natural(name: str) -> list[tuple[int, str]]:
    """So that train_2 comes before train_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _nanoseconds(time: datetime) -> int:
    """Of a time; one without a zone is UTC."""
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return int(aware.timestamp()) * 1_000_000_000


def _flags(array: pa.ChunkedArray) -> Flags:
    return pc.fill_null(array, False).to_numpy(zero_copy_only=False).astype(bool)
