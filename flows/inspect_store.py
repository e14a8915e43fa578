"""What a store holds, printed: counts by dataset, split, label and attack, rejects by reason, lineage."""

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from storage.contact_sheet import contact_sheet
from storage.snapshot import open_snapshot


def inspect_store(store: str, sheet: Path | None = None) -> None:
    """Print the counts of a store and, where `sheet` names a .png, draw its contact sheet."""
    console = Console()
    snapshot = open_snapshot(store)
    columns = snapshot.columns(["dataset", "split", "label", "attack", "subject", "view"])
    rows = list(zip(*(columns[name].to_pylist() for name in columns.column_names), strict=True))
    counts: Counter[tuple[str, ...]] = Counter()
    subjects: dict[tuple[str, ...], set[str]] = {}
    for dataset, split, label, attack, subject, _ in rows:
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
    for role, model in snapshot.lineage.get("models", {}).items():
        console.print(f"{role}: " + ", ".join(f"{name} {value}" for name, value in model.items()))
    console.print(f"{snapshot.counts['bytes'] / 1e6:,.1f} MB in {snapshot.counts['shards']} shards")
    if sheet is not None:
        sheet.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(snapshot).save(sheet)
        console.print(f"contact sheet: {sheet}")
