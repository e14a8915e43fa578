"""What a dataset adapter is: its name, how its media are found, and how many of them its authors published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from storage.schema import LIVE
from tasks.sources.media import Scan

ALL = "all"


@dataclass(frozen=True)
class Official:
    """The published sizes of a dataset.

    counts: (split, kind) -> media, where split is train, dev, test or all, and kind is live, spoof or all; what is not
    published is not there. subjects: split or all -> people. cited: where the figures stand.
    """

    counts: Mapping[tuple[str, str], int]
    cited: str
    subjects: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """One published figure and what a scan found in its place."""

    what: str  # "train live", "test subjects"
    published: int
    found: int

    @property
    def share(self) -> float:
        """How far the finding is from the published figure, as a share of it: 0 is equal, 1 is nothing found."""
        return abs(self.found - self.published) / self.published


@dataclass(frozen=True)
class Source:
    """One dataset's adapter.

    find: (root, dataset) -> Scan; lists the media below `root` under the name `dataset`, decodes nothing, and raises
    BuildError for a wrong root, a wrong layout or an empty split.
    """

    name: str  # as in `pseudodepth build NAME=ROOT`
    title: str  # as in papers
    find: Callable[[Path, str], Scan]
    official: Official | None = None


def compare(media: pa.Table, official: Official) -> list[Difference]:
    """Every published figure beside what `media` (MEDIA_SCHEMA) holds, equal ones as well."""
    live = pc.equal(media["label"], LIVE)
    return [
        *(
            Difference(f"{split} {kind}", published, _count(media["split"], live, split, kind))
            for (split, kind), published in official.counts.items()
        ),
        *(
            Difference(f"{split} subjects", published, _subjects(media, split))
            for split, published in official.subjects.items()
        ),
    ]


def shared_subjects(media: pa.Table) -> dict[str, list[str]]:
    """Subjects that are in more than one split -> their splits; what a model learns of them leaks into its test."""
    pairs = media.select(["subject", "split"]).group_by(["subject", "split"]).aggregate([])
    splits = pairs.sort_by("split").group_by("subject", use_threads=False).aggregate([("split", "list")])
    several = splits.filter(pc.greater(pc.list_value_length(splits["split_list"]), 1)).sort_by("subject")
    return dict(zip(several["subject"].to_pylist(), several["split_list"].to_pylist(), strict=True))


def _count(splits: pa.ChunkedArray, live: pa.ChunkedArray, split: str, kind: str) -> int:
    of_kind = pa.scalar(True) if kind == ALL else live if kind == "live" else pc.invert(live)
    of_split = pa.scalar(True) if split == ALL else pc.equal(splits, split)
    both = pc.and_(of_kind, of_split)
    return len(splits) if isinstance(both, pa.Scalar) else pc.sum(both).as_py() or 0


def _subjects(media: pa.Table, split: str) -> int:
    chosen = media if split == ALL else media.filter(pc.equal(media["split"], split))
    return int(pc.count_distinct(chosen["subject"]).as_py())
