"""The table of an experiment: published figures and ours, each under its own name, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from storage.atomic import write_file
from training.checkpoint import save_json
from training.experiments.experiment import OWN_SPLITS, Column, Experiment, Row
from training.experiments.grid import Grid
from training.metrics import f1

At = Literal["dev", "oracle"]
NOT_MEASURED = "not measured"
_CSV = ("row", "title", "protocol", "whose", "threshold", "column", "mean", "std", "low", "high", "cells", "note")
_UNSCALED = ("parameters", "threshold")  # no rates: percent means nothing to them


@dataclass(frozen=True)
class Figure:
    """A mean over `count` cells (seeds x folds), and their standard deviation (n - 1; None of a single one).

    low, high: the lowest and the highest bound of the cells' own 95 % intervals over test subjects; None without one.
    """

    mean: float
    std: float | None
    count: int
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """One row of the table. measured: at the threshold from dev, and at the oracle's; empty where `missing` says why.

    published: as printed, a figure or its mean and spread. difference: from the row `against`, of cells with the same
    seed and protocol, at the dev threshold. incomplete: cells that failed, with their reasons.
    """

    row: str
    title: str
    trained: bool
    protocol: str
    published: Mapping[Column, float | tuple[float, float]]
    measured: Mapping[At, Mapping[Column, Figure]]
    against: str | None
    difference: Mapping[Column, Figure]
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
            measured["dev"] = {c: _bounded(c, figure, mine, experiment) for c, figure in measured["dev"].items()}
        lines.append(
            Line(
                row=row.name,
                title=row.title,
                trained=row.method is not None,
                protocol=grid.protocols.get(row.name, row.protocol or experiment.protocol),
                published=row.published,
                measured=measured,
                against=row.against,
                difference=_difference(row, results, experiment),
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
    scaled = [value * _scale(column, unit) for value in values]
    spread = statistics.stdev(scaled) if len(scaled) > 1 else None
    return Figure(statistics.fmean(scaled), spread, len(scaled))


def _scale(column: Column, unit: str) -> int:
    return 100 if unit == "percent" and column not in _UNSCALED else 1


def _bounded(column: Column, figure: Figure, cells: Sequence[Mapping[str, Any]], experiment: Experiment) -> Figure:
    """The figure with the cells' intervals, where all of them have one."""
    spreads = [cell["levels"][experiment.level].get("intervals", {}).get(column) for cell in cells]
    found = [bounds for bounds in spreads if bounds]
    if len(found) < len(cells):
        return figure
    scale = _scale(column, experiment.unit)
    return replace(figure, low=scale * min(low for low, _ in found), high=scale * max(high for _, high in found))


def _difference(row: Row, results: Sequence[Mapping[str, Any]], experiment: Experiment) -> dict[Column, Figure]:
    """Mean and spread of (this row - the one it is held against), cell by cell, so that what a seed does cancels."""
    mine, other = (
        {(result["seed"], result["protocol"]): result for result in results if result["row"] == name}
        for name in (row.name, row.against)
    )
    pairs = [(mine[key], other[key]) for key in mine if key in other]

    def values(column: Column) -> list[float]:
        level = experiment.level
        return [_value(cell, level, "dev", column) - _value(twin, level, "dev", column) for cell, twin in pairs]

    return {column: _figure(column, values(column), experiment.unit) for column in experiment.columns if pairs}


def _csv(grid: Grid, lines: Sequence[Line]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _CSV, restval="", lineterminator="\n")
    writer.writeheader()
    for line in lines:
        head = {"row": line.row, "title": line.title, "protocol": line.protocol}
        theirs = {
            "whose": "published",
            "threshold": grid.experiment.published_threshold,
            "protocol": _published_protocol(grid, line),
        }
        for column, value in line.published.items():
            mean, spread = value if isinstance(value, tuple) else (value, None)
            writer.writerow({**head, **theirs, "column": column, "mean": mean, "std": spread})
        ours: list[tuple[str, At, Mapping[Column, Figure]]] = [("measured", at, f) for at, f in line.measured.items()]
        for whose, at, figures in [*ours, (f"difference from {line.against}", "dev", line.difference)]:
            for column, figure in figures.items():
                about = {"whose": whose, "threshold": at, "column": column, "cells": figure.count}
                known = {"mean": figure.mean, "std": figure.std, "low": figure.low, "high": figure.high}
                writer.writerow({**head, **about, **known})
        if line.trained and not line.measured:
            note = f"{NOT_MEASURED}: {line.missing}"
            writer.writerow({**head, "whose": "measured", "cells": 0, "note": note})
    return stream.getvalue()


def _markdown(grid: Grid, lines: Sequence[Line], pictures: Mapping[str, Path]) -> str:
    experiment = grid.experiment
    heads = ["", "whose, threshold from", *experiment.columns.values()]
    text = [f"# {experiment.title}", "", f"Published: {experiment.source}.", ""]
    text += [*_run(grid, lines), "", _tabled(heads), _tabled(["---"] * len(heads))]
    for line in lines:
        text += [_tabled(cells) for cells in _rows(grid, line)]
    text += [
        "",
        f"Rates in {experiment.unit}s, of {experiment.level}s. Ours: mean ± standard deviation over cells.",
        *_legend(lines),
    ]
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


def _legend(lines: Sequence[Line]) -> list[str]:
    text = []
    if any(figure.low is not None for line in lines for figure in line.measured.get("dev", {}).values()):
        text.append("95 %: the lowest and the highest bound of the cells' bootstrap intervals over test subjects.")
    if any(line.difference for line in lines):
        text.append("Differences are of cells with the same seed, at the dev threshold.")
    return text


def _run(grid: Grid, lines: Sequence[Line]) -> list[str]:
    """What was run, and what forbids to compare it with what was published."""
    text = [f"Run on {', '.join(grid.stores)}; seeds {', '.join(map(str, grid.seeds))}."]
    if grid.changes:
        text.append(f"Settings changed from the experiment's: `{json.dumps(grid.changes)}`.")
    printed = {_published_protocol(grid, line) for line in lines if line.published}
    others = sorted(
        {line.protocol for line in lines if line.trained and line.protocol != _published_protocol(grid, line)}
    )
    if printed and others:
        was = ", ".join(sorted(printed))
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
        if any(figure.low is not None for figure in figures.values()):
            rows.append([line.title, "95 %", *(_range(column, figures[column], grid) for column in columns)])
    if line.difference:
        shown = [_measured(column, line.difference[column], grid.experiment.unit, "+") for column in columns]
        rows.append([line.title, f"difference from {line.against}", *shown])
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


def _measured(column: Column, figure: Figure, unit: str, sign: str = "") -> str:
    places = _places(column, unit)
    if figure.std is None or column == "parameters":
        return f"{figure.mean:{sign}.{places}f}"
    return f"{figure.mean:{sign}.{places}f} ± {figure.std:.{places}f}"


def _range(column: Column, figure: Figure, grid: Grid) -> str:
    places = _places(column, grid.experiment.unit)
    return "–" if figure.low is None else f"{figure.low:.{places}f} to {figure.high:.{places}f}"


def _places(column: Column, unit: str) -> int:
    return 2 if column == "parameters" or (unit == "percent" and column not in _UNSCALED) else 4


def _tabled(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
