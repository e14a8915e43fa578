"""The table of an experiment: published figures and ours, each under its own name, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from storage.atomic import write_file
from training.checkpoint import save_json
from training.experiments.experiment import OWN_SPLITS, Column
from training.experiments.grid import Grid
from training.metrics import f1

At = Literal["dev", "oracle"]
NOT_MEASURED = "not measured"
_UNSCALED = ("parameters", "threshold")  # no rates: percent means nothing to them


@dataclass(frozen=True)
class Figure:
    """A mean over `count` cells (seeds x folds), and their standard deviation (n - 1; None of a single one)."""

    mean: float
    std: float | None
    count: int


@dataclass(frozen=True)
class Line:
    """One row of the table. measured: at the threshold from dev, and at the oracle's; empty where `missing` says why.

    published: as printed, a figure or its mean and spread. incomplete: cells that failed, with their reasons.
    """

    row: str
    title: str
    trained: bool
    protocol: str
    published: Mapping[Column, float | tuple[float, float]]
    measured: Mapping[At, Mapping[Column, Figure]]
    missing: str
    incomplete: tuple[str, ...]


def lines_of(grid: Grid, results: Sequence[Mapping[str, Any]], failures: Mapping[str, str] | None = None) -> list[Line]:
    """The table's rows from the results of `run_cell`; failures: label of a cell -> why it has none."""
    experiment = grid.experiment
    lines = []
    for row in experiment.rows:
        mine = [result for result in results if result["row"] == row.name]
        failed = tuple(
            f"{cell.label}: {(failures or {})[cell.label]}"
            for cell in grid.cells
            if cell.row == row.name and cell.label in (failures or {})
        )
        missing = grid.missing.get(row.name, "")
        if row.method is not None and not mine and not missing:
            missing = "no cell was finished"
        measured: dict[At, dict[Column, Figure]] = {}
        if mine:
            places: tuple[At, ...] = ("dev", "oracle")
            for at in places:
                values = {c: [_value(result, experiment.level, at, c) for result in mine] for c in experiment.columns}
                measured[at] = {column: _figure(column, found, experiment.unit) for column, found in values.items()}
        lines.append(
            Line(
                row=row.name,
                title=row.title,
                trained=row.method is not None,
                protocol=grid.protocols.get(row.name, row.protocol or experiment.protocol),
                published=row.published,
                measured=measured,
                missing=missing,
                incomplete=failed,
            )
        )
    return lines


def write_table(
    grid: Grid,
    results: Sequence[Mapping[str, Any]],
    out: Path,
    *,
    failures: Mapping[str, str] | None = None,
    pictures: Mapping[str, Path] | None = None,
) -> list[Line]:
    """Write table.md, table.csv (one figure a line) and table.json to `out`; pictures: title -> file in `out`."""
    lines = lines_of(grid, results, failures)
    experiment = grid.experiment
    save_json(
        out / "table.json",
        {
            "experiment": experiment.name,
            "source": experiment.source,
            "unit": experiment.unit,
            "level": experiment.level,
            "published_threshold": experiment.published_threshold,
            "stores": list(grid.stores),
            "seeds": list(grid.seeds),
            "changes": dict(grid.changes),
            "columns": experiment.columns,
            "rows": [asdict(line) for line in lines],
            "cells": [dict(result) for result in results],
        },
    )
    write_file(out / "table.csv", _csv(grid, lines).encode())
    write_file(out / "table.md", _markdown(grid, lines, pictures or {}).encode())
    return lines


def _value(result: Mapping[str, Any], level: str, at: At, column: Column) -> float:
    rates = result["levels"][level][at]
    if column == "parameters":
        return float(result["parameters"]) / 1e6
    if column == "f1_even":
        return f1(rates["bpcer"], rates["apcer_pooled"], 0.5)
    return float(rates[column])


def _figure(column: Column, values: Sequence[float], unit: str) -> Figure:
    scale = 100 if unit == "percent" and column not in _UNSCALED else 1
    scaled = [value * scale for value in values]
    spread = statistics.stdev(scaled) if len(scaled) > 1 else None
    return Figure(statistics.fmean(scaled), spread, len(scaled))


def _csv(grid: Grid, lines: Sequence[Line]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["row", "title", "protocol", "whose", "threshold", "column", "mean", "std", "cells", "note"])
    for line in lines:
        head = [line.row, line.title]
        for column, value in line.published.items():
            mean, spread = value if isinstance(value, tuple) else (value, "")
            protocol = _published_protocol(grid, line)
            writer.writerow(
                [*head, protocol, "published", grid.experiment.published_threshold, column, mean, spread, "", ""]
            )
        for at, figures in line.measured.items():
            for column, figure in figures.items():
                spread = "" if figure.std is None else figure.std
                writer.writerow([*head, line.protocol, "measured", at, column, figure.mean, spread, figure.count, ""])
        if line.trained and not line.measured:
            writer.writerow([*head, line.protocol, "measured", "", "", "", "", 0, f"{NOT_MEASURED}: {line.missing}"])
    return stream.getvalue()


def _markdown(grid: Grid, lines: Sequence[Line], pictures: Mapping[str, Path]) -> str:
    experiment = grid.experiment
    heads = ["", "whose, threshold from", *experiment.columns.values()]
    text = [f"# {experiment.title}", "", f"Published: {experiment.source}.", ""]
    text += [*_run(grid, lines), "", _tabled(heads), _tabled(["---"] * len(heads))]
    for line in lines:
        text += [_tabled(cells) for cells in _rows(grid, line)]
    text += ["", f"Rates in {experiment.unit}s, of {experiment.level}s. Ours: mean ± standard deviation over cells."]
    text += [f"- {note}" for note in experiment.notes]
    absent = [line for line in lines if line.trained and (line.missing or line.incomplete)]
    if absent:
        text += ["", "## To be measured by whoever holds the data", ""]
        for line in absent:
            text += [f"- {line.title}: {reason}" for reason in [*filter(None, [line.missing]), *line.incomplete]]
        text += ["", f"    pseudodepth experiment {experiment.name} STORE… --out FOLDER"]
    for title, path in pictures.items():
        text += ["", f"## {title}", "", f"![{title}]({path.as_posix()})"]
    return "\n".join(text) + "\n"


def _run(grid: Grid, lines: Sequence[Line]) -> list[str]:
    """What was run, and what forbids to compare it with what was published."""
    text = [f"Run on {', '.join(grid.stores)}; seeds {', '.join(map(str, grid.seeds))}."]
    if grid.changes:
        text.append(f"Settings changed from the experiment's: `{json.dumps(grid.changes)}`.")
    others = sorted(
        {line.protocol for line in lines if line.trained and line.protocol != _published_protocol(grid, line)}
    )
    if others:
        was = ", ".join(sorted({_published_protocol(grid, line) for line in lines}))
        ours = ", ".join("the stores' own splits" if name == OWN_SPLITS else name for name in others)
        text.append(f"**Published figures are of {was}, ours of {ours}: they cannot be compared.**")
    return text


def _rows(grid: Grid, line: Line) -> list[list[str]]:
    columns = grid.experiment.columns
    rows = []
    if line.published:
        shown = [_published(line.published.get(column)) for column in columns]
        rows.append([line.title, f"published, {grid.experiment.published_threshold or 'not stated'}", *shown])
    for at, figures in line.measured.items():
        count = next(iter(figures.values())).count
        shown = [_measured(column, figures[column], grid.experiment.unit) for column in columns]
        rows.append([line.title, f"ours, {at} ({count} cell{'s' * (count > 1)})", *shown])
    if line.trained and not line.measured:
        rows.append([line.title, "ours", *[NOT_MEASURED] * len(columns)])
    return rows


def _published_protocol(grid: Grid, line: Line) -> str:
    row = next(row for row in grid.experiment.rows if row.name == line.row)
    return row.protocol or grid.experiment.protocol


def _published(value: float | tuple[float, float] | None) -> str:
    if value is None:
        return "–"
    return f"{value[0]} ± {value[1]}" if isinstance(value, tuple) else str(value)


def _measured(column: Column, figure: Figure, unit: str) -> str:
    places = 2 if column == "parameters" or (unit == "percent" and column not in _UNSCALED) else 4
    if figure.std is None or column == "parameters":
        return f"{figure.mean:.{places}f}"
    return f"{figure.mean:.{places}f} ± {figure.std:.{places}f}"


def _tabled(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
