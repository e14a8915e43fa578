"""What a scan found, counted: what `pseudodepth scan` prints before anything is built."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.sources import Difference, Scan, Source, compare, shared_subjects

_SHOWN = 10  # reasons, in the tables


@dataclass(frozen=True)
class Survey:
    """One scanned dataset: counts by split and kind of presentation, what was left out, and the published sizes."""

    scan: Scan
    counts: list[dict[str, Any]]  # split, label, attack, detail, media, subjects
    left_out: dict[str, list[str]]  # reason -> paths
    shared: dict[str, list[str]]  # subjects in several splits -> these
    differences: list[Difference]
    cited: str

    def contradictions(self, tolerance: float) -> list[str]:
        """The published figures that the scan misses by more than `tolerance` of them, in words."""
        return [
            f"{self.scan.dataset}: {d.what}: {d.found:,} found, {d.published:,} published ({self.cited})"
            for d in self.differences
            if d.share > tolerance
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "dataset": self.scan.dataset,
            "root": str(self.scan.root),
            "layout": self.scan.layout,
            "media": len(self.scan.media),
            "subjects": len(self.scan.media["subject"].unique()),
            "counts": self.counts,
            "left_out": [
                {"reason": reason, "count": len(paths), "example": paths[0]} for reason, paths in self.left_out.items()
            ],
            "subjects_in_two_splits": self.shared,
            "official": {d.what: {"found": d.found, "published": d.published} for d in self.differences},
            "cited": self.cited,
        }


def survey(source: Source, scan: Scan) -> Survey:
    """Count what `scan` found."""
    return Survey(
        scan,
        _counts(scan.media),
        _by_reason(scan.ignored),
        shared_subjects(scan.media),
        compare(scan.media, source.official) if source.official else [],
        source.official.cited if source.official else "",
    )


def show(found: Survey, console: Console) -> None:
    """Print a survey as tables."""

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    say(f"{found.scan.dataset}: {len(found.scan.media):,} media below {found.scan.root}")
    say(f"layout: {found.scan.layout}")
    table = Table("split", "kind", "detail", "media", "subjects")
    for row in found.counts:
        kind = row["attack"] or "live"
        table.add_row(row["split"], kind, escape(row["detail"]), f"{row['media']:,}", f"{row['subjects']:,}")
    console.print(table)
    for reason, paths in list(found.left_out.items())[:_SHOWN]:
        say(f"left out, {len(paths):,}: {reason}; e.g. {paths[0]}")
    if len(found.left_out) > _SHOWN:
        say(f"left out for {len(found.left_out) - _SHOWN} more reasons; --json lists them all")
    if found.shared:
        some = ", ".join(f"{name} ({', '.join(splits)})" for name, splits in list(found.shared.items())[:3])
        say(f"{len(found.shared):,} subjects are in several splits: {some}")
    if found.differences:
        table = Table("", "published", "found", "off by")
        for d in found.differences:
            table.add_row(d.what, f"{d.published:,}", f"{d.found:,}", f"{d.share:.1%}")
        console.print(table)
        say(f"published: {found.cited}")


def _counts(media: pa.Table) -> list[dict[str, Any]]:
    names = ["split", "label", "attack", "attack_detail"]
    groups = media.group_by(names).aggregate([("path", "count"), ("subject", "count_distinct")])
    return [
        {
            "split": row["split"],
            "label": "spoof" if row["label"] else "live",
            "attack": row["attack"],
            "detail": row["attack_detail"],
            "media": row["path_count"],
            "subjects": row["subject_count_distinct"],
        }
        for row in groups.sort_by([(name, "ascending") for name in names]).to_pylist()
    ]


def _by_reason(ignored: list[tuple[str, str]]) -> dict[str, list[str]]:
    """The paths of each reason, the commonest first."""
    order = Counter(reason for _, reason in ignored)
    paths: dict[str, list[str]] = {reason: [] for reason, _ in order.most_common()}
    for path, reason in ignored:
        paths[reason].append(path)
    return paths
