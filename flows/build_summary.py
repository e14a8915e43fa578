"""What a build did: for people, for Prefect's pages, and as the event that starts training."""

import base64
import io
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.events import emit_event

from storage.contact_sheet import contact_sheet
from storage.quality_sheet import quality_table
from storage.snapshot import Snapshot
from tasks.build import Built
from tasks.sources import Scan

STORE_UPDATED = "pseudodepth.store.updated"
_SHEET_COLUMNS, _JPEG_QUALITY = 8, 80  # some 100 KB: Prefect keeps artifacts in its database


@dataclass
class BuildSummary:
    """What one run did. `snapshot` is the number that readers now open; `committed` says whether this run made it."""

    store: str
    snapshot: int
    committed: bool
    media: int
    samples: int
    live: int
    spoof: int
    shards: int
    planned: int
    unchanged: int
    new: int
    changed: int
    again: int
    removed: int
    copied: int = 0
    touched: int = 0
    why: list[str] = field(default_factory=list)
    rejects: dict[str, int] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    stage_seconds: dict[str, float] = field(default_factory=dict)


def summarise(done: Built, scans: list[Scan], stage_seconds: Mapping[str, float], started: float) -> BuildSummary:
    """Count what the snapshot holds and what this run did."""
    snapshot, work = done.snapshot, done.plan
    return BuildSummary(
        store=str(snapshot.root),
        snapshot=snapshot.number,
        committed=done.committed,
        media=sum(len(s.media) for s in scans),
        samples=snapshot.counts["rows"],
        live=snapshot.counts["live"],
        spoof=snapshot.counts["spoof"],
        shards=len(snapshot.shards),
        planned=len(work.shards),
        unchanged=work.unchanged,
        new=work.new,
        changed=work.changed,
        again=work.again,
        removed=work.removed,
        copied=work.copied,
        touched=work.touched,
        why=work.why,
        rejects=snapshot.reject_reasons(),
        ignored=dict(Counter(reason for s in scans for _, reason in s.ignored)),
        seconds=time.monotonic() - started,
        stage_seconds=dict(stage_seconds) if done.committed else {},
    )


def announce(
    summary: BuildSummary,
    snapshot: Snapshot,
    by_split: Mapping[tuple[str, str], Mapping[str, int]],
    stages: Mapping[tuple[str, str], Mapping[str, float]],
) -> None:
    """Tell Prefect: tables and a picture for the UI, and the event that starts training downstream.

    By (dataset, split), of this run: `by_split` counts, `stages` the seconds of each.
    """
    get_run_logger().info(
        "snapshot %d of %s: %d samples, %d rejects",
        summary.snapshot,
        summary.store,
        summary.samples,
        sum(summary.rejects.values()),
    )
    create_table_artifact(
        key="build-depth",
        table=[{"": name, "value": str(value)} for name, value in vars(summary).items()],
        description=f"Snapshot {summary.snapshot} of {summary.store}",
    )
    create_table_artifact(
        key="build-depth-datasets",
        table=[{"dataset": dataset, "split": split, **counts} for (dataset, split), counts in sorted(by_split.items())],
        description="What this run built, by dataset and split",
    )
    create_markdown_artifact(
        key="build-depth-store",
        markdown=_page(summary, snapshot, by_split, stages),
        description=f"Rejects, quality, stages and samples of snapshot {summary.snapshot}",
    )
    emit_event(
        event=STORE_UPDATED,
        resource={
            "prefect.resource.id": f"pseudodepth.store.{summary.store.rstrip('/').rpartition('/')[2]}",
            "pseudodepth.store.path": summary.store,
        },
        payload={"store": summary.store, "snapshot": summary.snapshot, "samples": summary.samples},
    )


def _page(
    summary: BuildSummary,
    snapshot: Snapshot,
    by_split: Mapping[tuple[str, str], Mapping[str, int]],
    stages: Mapping[tuple[str, str], Mapping[str, float]],
) -> str:
    """Markdown: by dataset, tables of rejects, quality and throughput; and the contact sheet."""
    rejects = snapshot.rejects().group_by(["dataset", "split", "reason"]).aggregate([([], "count_all")])
    judged = quality_table(snapshot)
    quality, datasets = judged["quality"].to_numpy(), np.array(judged["dataset"].to_pylist())
    tenths = [(name, *np.histogram(quality[datasets == name], 10, (0, 1))[0]) for name in sorted(set(datasets))]
    names = list(dict.fromkeys(stage for spent in stages.values() for stage in spent))
    speeds = [
        (*split, *(f"{1e3 * spent[stage] / max(by_split[split]['samples'], 1):.1f}" for stage in names))
        for split, spent in sorted(stages.items())
        if spent
    ]
    picture = io.BytesIO()
    contact_sheet(snapshot, _SHEET_COLUMNS).save(picture, "jpeg", quality=_JPEG_QUALITY)
    sheet = base64.b64encode(picture.getvalue()).decode()
    return "\n\n".join(
        [
            f"## {summary.store}, snapshot {summary.snapshot}",
            "### Rejected media and frames",
            _table(
                ("dataset", "split", "reason", "number"), sorted(tuple(row.values()) for row in rejects.to_pylist())
            ),
            "### Live frames by quality",
            _table(("dataset", *(f"{tenth / 10:.1f} to {(tenth + 1) / 10:.1f}" for tenth in range(10))), tenths),
            "### Milliseconds of a worker a sample, in this run",
            _table(("dataset", "split", *names), speeds),
            f"![live crops with their depth maps; spoofs with none](data:image/jpeg;base64,{sheet})",
        ]
    )


def _table(header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    if not rows:
        return "none"
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in (header, ["---"] * len(header), *rows))
