"""Which cells an experiment has over given stores: row x fold x seed, and the rows for which something is missing."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from storage.dataset import DepthDataset
from training.clips import split_of_clips
from training.config import TrainConfig
from training.errors import TrainingError
from training.experiments.cell import Cell
from training.experiments.experiment import OWN_SPLITS, Experiment, Row
from training.methods import Method, Settings, get_method
from training.pretrain import PretrainConfig
from training.protocols import Columns, find_protocol, protocols
from training.splits import rows_of, split_train_dev

# section -> settings of every row, and under "rows" the same of single rows: row -> section -> settings
Changes = Mapping[str, Mapping[str, Any]]
SECTIONS = ("settings", "run", "pretrain")


@dataclass(frozen=True)
class Grid:
    """What is to be run. missing: rows that cannot be, and why; protocols: what each row that can is run on.

    changes: settings laid over those of the experiment's file, for the record.
    """

    experiment: Experiment
    stores: tuple[str, ...]
    seeds: tuple[int, ...]
    cells: list[Cell]
    missing: dict[str, str]
    protocols: dict[str, str]
    changes: Changes


def plan(
    experiment: Experiment,
    stores: Sequence[str],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    protocol: str | None = None,
    weights: Mapping[str, Path] | None = None,
    changes: Changes | None = None,
) -> Grid:
    """The cells of an experiment over `stores`, those of one seed after the other.

    A row is trained on the first store that has its protocol's train and dev samples and that its method can learn from
    as it is set (clips, measured depth), and tested on the first that has the test samples, or with own splits on the
    last. protocol: instead of every row's. weights: files that rows ask for by name. changes: {"settings" | "run" |
    "pretrain": {...}} laid over every row, and then {"rows": {row: {the same}}} over single ones.

    Raises TrainingError for rows and settings that do not exist, unknown protocols, or no seeds.
    """
    changes = changes or {}
    rows = changes.get("rows", {})
    _check_sections(experiment, changes)
    if not seeds or not stores:
        raise TrainingError("an experiment needs a store and a seed at least")
    data = {store: DepthDataset(store) for store in stores}
    cells: list[Cell] = []
    missing: dict[str, str] = {}
    chosen: dict[str, str] = {}
    for row in experiment.rows:
        if row.method is None:
            continue
        asked = protocol or row.protocol or experiment.protocol
        chosen[row.name] = asked
        if row.weights is not None and row.weights not in (weights or {}):
            missing[row.name] = f"no weights {row.weights!r}; bring them as --weights {row.weights}=FILE"
            continue
        brought = (weights or {})[row.weights] if row.weights else None
        laid = _laid({section: changes.get(section, {}) for section in SECTIONS}, rows.get(row.name, {}))
        try:
            places = [(fold, _place(data, fold)) for fold in _folds(asked)]
            cells += [_cell(row, fold, seed, place, brought, laid) for seed in seeds for fold, place in places]
        except _Absent as absent:
            missing[row.name] = str(absent)
    return Grid(experiment, tuple(stores), tuple(seeds), sorted(cells, key=lambda c: c.seed), missing, chosen, changes)


def _check_sections(experiment: Experiment, changes: Changes) -> None:
    rows: Mapping[str, Any] = changes.get("rows", {})
    known = [row.name for row in experiment.rows if row.method is not None]
    if unknown := sorted(set(rows) - set(known)):
        raise TrainingError(f"rows.{unknown[0]}: {experiment.name} trains no such row; it has {', '.join(known)}")
    for section in [*(set(changes) - {"rows"}), *(section for row in rows.values() for section in row)]:
        if section not in SECTIONS:
            raise TrainingError(
                f"settings of an experiment begin with {', '.join(SECTIONS)}, or with rows.ROW and one of them; there "
                f"is no {section}"
            )


class _Absent(Exception):
    """The stores lack what a row needs: not an error, but a line of the table that says so."""


def _folds(name: str) -> list[str]:
    folds = [p.name for p in protocols().values() if p.family == name] if name not in protocols() else []
    return folds or [name]


@dataclass(frozen=True)
class _Place:
    """Where a protocol may be trained, in the order of the stores given, and where it is tested."""

    train: list[DepthDataset]
    test: DepthDataset


def _place(data: Mapping[str, DepthDataset], protocol: str) -> _Place:
    given = list(data.values())
    if protocol == OWN_SPLITS:
        try:
            rows_of(given[-1].table, "test")
        except TrainingError as error:
            raise _Absent(str(error)) from error
        return _Place(given, given[-1])
    found = find_protocol(protocol)
    surveys = [found.survey(Columns(one.table)) for one in given]
    serving = []
    for parts in (("train", "dev"), ("test",)):
        fit = [one for one, survey in zip(given, surveys, strict=True) if not any(survey.missing[p] for p in parts)]
        if not fit:
            lacks = dict.fromkeys(f"{part}: {reason}" for part in parts for reason in surveys[0].missing[part])
            raise _Absent(f"protocol {protocol}: {'; '.join(lacks)}")
        serving.append(fit)
    return _Place(serving[0], serving[1][0])


def _cell(row: Row, protocol: str, seed: int, place: _Place, weights: Path | None, changes: Changes) -> Cell:
    assert row.method is not None
    method = get_method(row.method)
    common = {"protocol": None if protocol == OWN_SPLITS else protocol, "seed": seed}
    run = _laid(_laid(method.run, row.run), changes["run"]) | common
    settings = _laid(row.settings, changes["settings"])
    try:
        pretraining = None
        if row.pretrain is not None:
            stage = _laid(_laid(_laid(row.run, changes["run"]), row.pretrain), changes["pretrain"])
            pretraining = PretrainConfig.model_validate(stage | common)
        config = TrainConfig.model_validate(run)
        chosen = method.settings.model_validate(settings | ({"encoder": weights} if weights else {}))
        store, learned_from = _learning(place.train, method, chosen, config)
        return Cell(
            row=row.name,
            method=row.method,
            protocol=protocol,
            settings=chosen,
            config=config,
            pretraining=pretraining,
            train_store=store.snapshot,
            test_store=place.test.snapshot,
            learned_from=learned_from,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise TrainingError(f"row {row.name}: {error.title}.{where}: {first['msg']}, got {first['input']!r}") from error


def _learning(
    stores: Sequence[DepthDataset], method: Method[Any], settings: Settings, config: TrainConfig
) -> tuple[DepthDataset, str]:
    """The first store that the method can learn from as it is set, and the sha256 of the ids of its train and dev."""
    reasons = []
    for data in stores:
        table = data.table
        try:
            split = split_train_dev(table, seed=config.seed, dev_share=config.dev_share, protocol=config.protocol)
            split_of_clips(split, table, method.targets(settings))
            method.adapted(settings, table.take(split.train))
        except TrainingError as error:
            reasons.append(str(error))
            continue
        ids = table.column("sample_id")
        digest = hashlib.sha256()
        for rows in (split.train, split.dev):
            digest.update(json.dumps(ids.take(rows).to_pylist()).encode())
        return data, digest.hexdigest()
    raise _Absent(reasons[0])


def _laid(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings, the second over the first."""
    result = copy.deepcopy(dict(under))
    for name, value in over.items():
        inner = result.get(name)
        result[name] = _laid(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return result
