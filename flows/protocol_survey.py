"""What a store can serve: every protocol with how many samples of each of its parts are there."""

from collections import Counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from storage.snapshot import open_snapshot
from training.protocols import PARTS, Columns, Protocol, Selection, protocols

COLUMNS = [
    "dataset",
    "path",
    "frame",
    "view",
    "split",
    "subject",
    "session",
    "label",
    "attack",
    "attack_detail",
    "extra",
]


def survey_protocols(store: str, wanted: list[Protocol] | None = None, seed: int = 0) -> list[dict[str, Any]]:
    """One entry a protocol (all the published ones by default): counts of live and spoof samples, what is missing."""
    columns = Columns(open_snapshot(store).columns(COLUMNS))
    label, there = columns.table.column("label").to_numpy(), set(columns.encoded("dataset")[0])
    return [
        _entry(protocol, protocol.survey(columns, seed=seed), label)
        | {"absent": [name for name in protocol.datasets if name not in there]}
        for protocol in wanted or protocols().values()
    ]


def show_protocols(entries: list[dict[str, Any]], console: Console) -> None:
    """Print what can be served as a table, and of the rest what is missing."""
    table = Table("protocol", *(f"{part} live/spoof" for part in PARTS), "title")
    table.columns[0].no_wrap = True  # it is what one types
    for entry in entries:
        if not entry["missing"]:
            counts = [f"{entry[part]['live']:,}/{entry[part]['spoof']:,}" for part in PARTS]
            table.add_row(entry["name"], *counts, entry["title"])
    if table.row_count:
        console.print(table)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    lacking: dict[tuple[str, ...], list[str]] = {}  # what is missing -> the protocols that miss it
    elsewhere: Counter[str] = Counter()  # family -> protocols of which the store has no dataset
    for entry in entries:
        if not entry["missing"]:
            for note in entry["notes"]:
                say(f"{entry['name']}: {note}")
        elif entry["absent"] == entry["datasets"]:
            elsewhere[entry["name"].partition(".")[0]] += 1
        else:
            lacking.setdefault(tuple(entry["missing"]), []).append(entry["name"])
    for missing, names in lacking.items():
        say(f"not to be served here: {', '.join(names)}. {'; '.join(missing)}")
    if elsewhere:
        families = [family if count == 1 else f"{family} ({count} folds)" for family, count in elsewhere.items()]
        say(f"of datasets that are not in this store: {', '.join(families)}")


def _entry(protocol: Protocol, selection: Selection, label: np.ndarray) -> dict[str, Any]:
    counts = {part: np.bincount(label[getattr(selection, part)], minlength=2).tolist() for part in PARTS}
    return {
        "name": protocol.name,
        "title": protocol.title,
        "source": protocol.source,
        "datasets": protocol.datasets,
        "metric": protocol.metric.name,
        "level": protocol.metric.level,
        "apcer": protocol.metric.apcer,
        "threshold": protocol.metric.threshold,
        "published": protocol.metric.published,
        "dev": selection.dev_rule,
        **{part: {"live": live, "spoof": spoof} for part, (live, spoof) in counts.items()},
        "notes": list(selection.notes),
        "missing": list(dict.fromkeys(f"{part}: {reason}" for part in PARTS for reason in selection.missing[part])),
    }
