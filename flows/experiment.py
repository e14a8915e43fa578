"""The experiment flow: every cell of a published table's grid, one task each, then the table and its pictures.

pseudodepth experiment pdgan-intra stores/celeba --out runs/intra
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.train import Lines
from training.errors import TrainingError
from training.experiments import Cell, find_experiment, plan, run_cell, write_table
from training.experiments.cell import finished
from training.experiments.pictures import draw_pictures
from training.experiments.table import Line


@task(name="cell", task_run_name="{cell.label}", cache_policy=NO_CACHE, persist_result=False)
def cell_task(cell: Cell, out: Path) -> dict[str, Any]:
    """Train and evaluate one cell."""
    lines = Lines()
    with lines.open:
        return run_cell(cell, out, lines)


@flow(name="experiment", flow_run_name="experiment {name}", persist_result=False)
def experiment(
    name: str,
    stores: list[str],
    out: str,
    seeds: list[int] | None = None,
    protocol: str | None = None,
    weights: Mapping[str, str] | None = None,
    changes: dict[str, dict[str, Any]] | None = None,
) -> list[Line]:
    """Run what is not finished yet, and write table.md, table.csv, table.json and figures; returns the table's rows.

    Args:
        name: an experiment that comes with the project, or a YAML file.
        stores: where its protocol's samples are, each a path or `path@number`.
        out: folder; the same one continues a run that was stopped.
        seeds: of every row; default 0, 1, 2.
        protocol: instead of the experiment's; `own-splits` takes what the stores call train, dev and test.
        weights: files that rows ask for, by the name they have there.
        changes: settings, run and pretrain, laid over those of every row; under rows, the same of single ones.
    """
    log, folder = get_run_logger(), Path(out)
    files = {key: Path(path) for key, path in (weights or {}).items()}
    seeds = [0, 1, 2] if seeds is None else seeds
    grid = plan(find_experiment(name), stores, seeds=seeds, protocol=protocol, weights=files, changes=changes)
    for row, reason in grid.missing.items():
        log.warning("%s is not measured: %s", row, reason)
    results: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    for number, cell in enumerate(grid.cells, 1):
        result = finished(cell, folder)
        if result is None:
            log.info("cell %d of %d: %s", number, len(grid.cells), cell.label)
            state = cell_task(cell, folder, return_state=True)
            outcome = state.result(raise_on_failure=False)
            if isinstance(outcome, TrainingError):  # the others may still be measured, and the table says so
                failures[cell.label] = str(outcome)
                continue
            result = state.result()
        results.append(result)
    pictures = draw_pictures(grid, results, folder)
    return write_table(grid, results, folder, failures=failures, pictures=pictures)
