"""What a store holds, printed: counts by dataset, split, label and attack, rejects by reason, quality, lineage."""

from collections import Counter
from pathlib import Path

import numpy as np
from rich.table import Table

from flows.run import console
from simulation.truth import DepthError, depth_error
from storage.contact_sheet import contact_sheet
from storage.errors import StoreError
from storage.quality_sheet import PARTS, quality_sheet, quality_table
from storage.snapshot import Snapshot, open_snapshot

PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def inspect_store(
    store: str, sheet: Path | None = None, quality: Path | None = None, truth: Path | None = None
) -> None:
    """Print what a store holds; draw its contact sheet to `sheet` and its quality sheet to `quality`, both .png.

    With `truth`, the simulated dataset that the store was made from, print how far its depth is from the exact one too.
    """
    for picture in filter(None, (sheet, quality)):
        if picture.suffix.lower() not in PICTURES:
            raise StoreError(f"{picture}: expected a name that ends in {', '.join(PICTURES)}")
    snapshot = open_snapshot(store)
    columns = snapshot.columns(["dataset", "split", "label", "attack", "subject"])
    rows = list(zip(*(columns[name].to_pylist() for name in columns.column_names), strict=True))
    counts: Counter[tuple[str, ...]] = Counter()
    subjects: dict[tuple[str, ...], set[str]] = {}
    for dataset, split, label, attack, subject in rows:
        kind: tuple[str, ...] = (dataset, split, attack if label else "live")
        counts[kind] += 1
        subjects.setdefault(kind, set()).add(subject)
    table = Table("dataset", "split", "kind", "samples", "subjects", title=f"{store}, snapshot {snapshot.number}")
    for kind in sorted(counts):
        table.add_row(*kind, f"{counts[kind]:,}", f"{len(subjects[kind]):,}")
    console.print(table)

    rejects = snapshot.rejects()
    if len(rejects):
        table = Table("reason", "count", "for example", title="rejected")
        reasons, paths = rejects["reason"].to_pylist(), rejects["path"].to_pylist()
        for reason, count in Counter(reasons).most_common():
            table.add_row(reason, f"{count:,}", paths[reasons.index(reason)])
        console.print(table)
    console.print(_quality(snapshot))
    for role, model in snapshot.lineage.get("models", {}).items():
        console.print(f"{role}: " + ", ".join(f"{name} {value}" for name, value in model.items()))
    console.print(f"{snapshot.counts['bytes'] / 1e6:,.1f} MB in {snapshot.counts['shards']} shards")
    if truth is not None:
        show_depth_error(depth_error(snapshot, truth))
    if sheet is not None:
        sheet.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(snapshot).save(sheet)
        console.print(f"contact sheet: {sheet}")
    if quality is not None:
        quality.parent.mkdir(parents=True, exist_ok=True)
        quality_sheet(snapshot).save(quality)
        console.print(f"quality sheet: {quality}")


def show_depth_error(error: DepthError) -> None:
    """Print how far a store's labels are from the renderer's exact depth."""
    table = Table(title="pseudo-depth against the renderer's truth", show_header=False, title_justify="left")
    for name, figure in error.rows().items():
        table.add_row(name, figure)
    console.print(table)


def _quality(snapshot: Snapshot) -> Table:
    """How the quality of the live samples and of its parts is distributed; one line a tenth."""
    table = quality_table(snapshot)
    shown = Table(
        "", *(name.removeprefix("quality_") for name in PARTS), title=f"quality of {len(table):,} live frames"
    )
    values = {name: table[name].to_numpy() for name in PARTS}
    counts = {name: np.histogram(v[np.isfinite(v)], 10, (0, 1))[0] for name, v in values.items()}
    for tenth in range(10):
        numbers = [counts[name][tenth] for name in PARTS]
        if any(numbers):
            shown.add_row(f"{tenth / 10:.1f} to {(tenth + 1) / 10:.1f}", *(f"{number:,}" for number in numbers))
    return shown
