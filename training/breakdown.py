"""Where a model errs: rates of groups of samples; frames joined to presentations; media without a score."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.errors import TrainingError
from training.intervals import Interval, rate_interval
from training.metrics import Scores

Fusion = Literal["mean", "median", "max", "min"]
COLUMNS = ("dataset", "attack", "attack_detail", "session")  # of a store, that samples are grouped by
MOST_GROUPS = 24  # a column with more values is a name, not a group
# rejected because no label could be made for training; a deployed system would have scored them
LABEL_REASONS = ("align-failed", "low-quality")


@dataclass(frozen=True)
class Group:
    """Rates of the samples that have `value` in `column`, at the threshold of the whole set; None without a class."""

    column: str
    value: str
    n_live: int
    n_spoof: int
    bpcer: Interval | None
    apcer: Interval | None  # attacks of the group pooled


@dataclass(frozen=True)
class NonResponse:
    """Presentations of one kind (live, or an attack) that gave no score: ISO's APNRR and BPNRR.

    presentations counts those with a score, those without (`unscored`, by reason in `reasons`), and those that a build
    left out for want of a good label (`unlabelled`), which say nothing about the system.
    """

    kind: str
    presentations: int
    unscored: int
    rate: Interval
    reasons: dict[str, int]
    unlabelled: int


def by_group(table: pa.Table, scores: Scores, threshold: float, columns: Sequence[str] | None = None) -> list[Group]:
    """Rates by each value of each column; table: the store's rows of `scores`, in their order.

    `columns` names columns of the store or keys of `extra` (device, illumination, ...); None takes COLUMNS and every
    key of `extra`. Columns with one value, or with more than MOST_GROUPS, are left out unless they are asked for.
    Raises TrainingError for a column that is not there.
    """
    values = group_values(table, columns)
    refused, passed = scores.score < threshold, scores.score >= threshold
    live = scores.label == 0
    groups = []
    for column, value in values.items():
        names = sorted(set(value) - {""})
        if columns is None and not 2 <= len(names) <= MOST_GROUPS:
            continue
        for name in names:
            chosen = value == name
            n_live, n_spoof = int((chosen & live).sum()), int((chosen & ~live).sum())
            bpcer = rate_interval(int((chosen & live & refused).sum()), n_live) if n_live else None
            apcer = rate_interval(int((chosen & ~live & passed).sum()), n_spoof) if n_spoof else None
            groups.append(Group(column, str(name), n_live, n_spoof, bpcer, apcer))
    return groups


def group_values(table: pa.Table, columns: Sequence[str] | None) -> dict[str, NDArray[np.str_]]:
    """Column -> (n,) its value a row, "" where there is none. A list in `extra` gives a column a member: yes or no."""
    found = {name: np.array(table.column(name).to_pylist(), np.str_) for name in COLUMNS}
    rows = [json.loads(text) for text in table.column("extra").to_pylist()]
    keys = sorted({key for row in rows for key, value in row.items() if isinstance(value, str | int | float | bool)})
    found |= {key: np.array([str(row.get(key, "")) for row in rows], np.str_) for key in keys if key not in found}
    # a list names what holds: whoever has the list without the member does not have it
    lists = {key: {str(m) for row in rows for m in row.get(key) or ()} for row in rows for key in _lists(row)}
    for key, members in lists.items():
        for member in sorted(members):
            has = [("yes" if member in map(str, row[key]) else "no") if key in row else "" for row in rows]
            found[f"{key}: {member}"] = np.array(has, np.str_)
    for name in columns or ():
        if name not in found and name in table.column_names:
            found[name] = np.array(table.column(name).to_pylist()).astype(np.str_)
        if name not in found:
            raise TrainingError(f"no column or key of `extra` is named {name!r}; there are {', '.join(sorted(found))}")
    return {name: found[name] for name in columns} if columns is not None else found


def presentations(table: pa.Table) -> NDArray[np.str_]:
    """(n,) the medium that each row is a frame of: dataset and path."""
    both = zip(table.column("dataset").to_pylist(), table.column("path").to_pylist(), strict=True)
    return np.array([f"{dataset}|{path}" for dataset, path in both], np.str_)


def clusters(table: pa.Table) -> NDArray[np.str_]:
    """(n,) whom each row is of, for intervals: its subject, or its medium where nobody is named."""
    subject = np.array(table.column("subject").to_pylist(), np.str_)
    return np.where(subject == "", presentations(table), subject)


def fuse(scores: Scores, groups: NDArray[np.str_], how: Fusion = "mean") -> Scores:
    """One score a group (a video): the mean, median, max or min of its frames' scores; the group names the sample.

    Raises TrainingError for a group with two labels or attacks.
    """
    names, member = np.unique(groups, return_inverse=True)
    first = np.unique(member, return_index=True)[1]
    label, attack = scores.label[first], scores.attack[first]
    mixed = (scores.label != label[member]) | (scores.attack != attack[member])
    if mixed.any():
        raise TrainingError(f"{scores.name}: {groups[mixed][0]} has frames of two labels or attacks; one is expected")
    order = np.lexsort((scores.score, member))
    score, counts = scores.score[order], np.bincount(member)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    fused = {
        "mean": np.add.reduceat(score, starts) / counts,
        "median": (score[starts + (counts - 1) // 2] + score[starts + counts // 2]) / 2,
        "max": score[starts + counts - 1],
        "min": score[starts],
    }[how]
    return replace(scores, score=fused, label=label, attack=attack, sample_id=names)


def non_response(scored: pa.Table, rejects: pa.Table) -> list[NonResponse]:
    """Presentations without any score, live and each attack apart; both tables: dataset, path, label, attack (reason).

    A video of which some frames were rejected has a score. Live comes first.
    """
    kinds: dict[str, dict[str, str | None]] = {}
    for row in rejects.select(["dataset", "path", "label", "attack", "reason"]).to_pylist():
        kinds.setdefault(_kind(row), {})[f"{row['dataset']}|{row['path']}"] = row["reason"]
    for row in scored.select(["dataset", "path", "label", "attack"]).to_pylist():
        kinds.setdefault(_kind(row), {})[f"{row['dataset']}|{row['path']}"] = None
    found = []
    for kind in sorted(kinds, key=lambda k: (k != "live", k)):
        outcomes = list(kinds[kind].values())
        reasons = [r for r in outcomes if r is not None and r not in LABEL_REASONS]
        unlabelled = sum(r in LABEL_REASONS for r in outcomes)
        asked = len(outcomes) - unlabelled
        counted = {r: reasons.count(r) for r in sorted(set(reasons))}
        if asked:
            rate = rate_interval(len(reasons), asked)
            found.append(NonResponse(kind, len(outcomes), len(reasons), rate, counted, unlabelled))
    return found


def _kind(row: dict[str, Any]) -> str:
    return "live" if row["label"] == 0 else row["attack"] or "unnamed"


def _lists(row: dict[str, Any]) -> list[str]:
    return [key for key, value in row.items() if isinstance(value, list)]
