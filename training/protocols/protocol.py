"""A protocol: who is trained on, who sets the threshold, who is tested, as clauses over the columns of a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.errors import TrainingError
from training.metrics import Metrics as Rates
from training.protocols.carve import carve
from training.protocols.clause import OF, Clause, datasets_of, rows_of_clause, several
from training.protocols.columns import Columns, Mask

Rows = NDArray[np.int64]
Part = Literal["train", "dev", "test"]
PARTS: tuple[Part, ...] = ("train", "dev", "test")
LABELS = ("live", "spoof")


@dataclass(frozen=True)
class Metric:
    """What a protocol reports. `published` is what its publication does where that differs from a dev threshold.

    name: the figure that is compared. level: frames of a video are scored one by one, or their scores averaged first.
    apcer: the worst attack species, or all attacks in one pot.
    """

    name: Literal["acer", "hter", "eer"]
    level: Literal["image", "video"]
    apcer: Literal["max", "pooled"]
    threshold: Literal["dev-eer"] = "dev-eer"
    published: str = ""

    def of(self, rates: Rates) -> float:
        """The figure among the rates of one set."""
        if self.name == "acer" and self.apcer == "pooled":
            return (rates.apcer_pooled + rates.bpcer) / 2
        return float(getattr(rates, self.name))


@dataclass(frozen=True)
class Selection:
    """Row numbers of one table: train has every view, dev and test the plain crops (view 0).

    dev_rule: where dev came from. notes: what a reader of a result should know. missing: why a part cannot be served,
    empty if it can.
    """

    protocol: str
    train: Rows
    dev: Rows
    test: Rows
    dev_rule: str
    notes: tuple[str, ...]
    missing: Mapping[Part, tuple[str, ...]]


@dataclass(frozen=True)
class Protocol:
    """One published (or your own) rule. `family` is what its folds share, its name without the fold."""

    name: str
    family: str
    title: str
    source: str
    metric: Metric
    train: tuple[Clause, ...]
    dev: tuple[Clause, ...] | float  # a share: of the train subjects of every dataset, by seed
    test: tuple[Clause, ...]
    notes: tuple[str, ...] = ()

    def select(self, table: pa.Table, *, seed: int = 0, parts: Sequence[Part] = PARTS) -> Selection:
        """The rows of `table` (a store's columns, as `DepthDataset.table`) that the protocol takes.

        `seed` chooses the subjects that are carved off where a dataset has no dev split. Raises TrainingError when one
        of `parts` is not there or lacks live or spoof samples, saying what is missing.
        """
        selection = self.survey(Columns(table), seed=seed)
        lacks = [f"{part}: {reason}" for part in parts for reason in selection.missing[part]]
        if lacks:
            raise TrainingError(f"protocol {self.name}: this store cannot serve it. {'; '.join(lacks)}")
        return selection

    def survey(self, columns: Columns, *, seed: int = 0) -> Selection:
        """As `select`, but of a store that lacks something too: what is there, and in `missing` what is not."""
        test, test_missing = _part(columns, self.test, seed)
        train, train_missing = _part(columns, self.train, seed)
        train &= ~test
        dev_missing: list[str] = []
        if isinstance(self.dev, float):
            dev = carve(columns, train, self.dev, seed)
            rule = f"{self.dev:.0%} of the train subjects of every dataset, by seed {seed}"
        else:
            dev, dev_missing = _part(columns, self.dev, seed, train)
            rule = "as the protocol says"
        train &= ~dev
        notes = [*self.notes, *_shared_subjects(columns, {"train": train, "dev": dev, "test": test})]
        plain = columns.where("view", lambda view: view == 0)
        if (both := int((dev & test).sum())) > 0:
            raise TrainingError(f"protocol {self.name}: {both} samples are in both dev and test; mend its clauses")
        label = columns.table.column("label").to_numpy()
        rows: dict[Part, Rows] = {}
        missing: dict[Part, tuple[str, ...]] = {}
        lacks: dict[Part, list[str]] = {"train": train_missing, "dev": dev_missing, "test": test_missing}
        found: dict[Part, Mask] = {"train": train, "dev": dev & plain, "test": test & plain}
        for part, mask in found.items():
            rows[part] = np.flatnonzero(mask)
            counts = np.bincount(label[rows[part]], minlength=2)
            none = [f"no {word} samples" for word, count in zip(LABELS, counts, strict=False) if not count]
            if part == "dev" and isinstance(self.dev, float) and missing["train"]:
                none = []  # it would be carved from what is missing already
            missing[part] = tuple(lacks[part] or none)
        return Selection(self.name, rows["train"], rows["dev"], rows["test"], rule, tuple(notes), missing)

    @property
    def datasets(self) -> list[str]:
        """The datasets that the protocol needs."""
        dev = () if isinstance(self.dev, float) else self.dev
        return list(dict.fromkeys(name for clause in (*self.train, *dev, *self.test) for name in datasets_of(clause)))


def _part(columns: Columns, clauses: Iterable[Clause], seed: int, train: Mask | None = None) -> tuple[Mask, list[str]]:
    """The rows of any of `clauses`, and what is missing of a dataset that one of them names.

    With `train`, a clause `of: train` chooses among those rows.
    """
    found, missing = np.zeros(len(columns), bool), []
    there = set(columns.encoded("dataset")[0])
    for clause in clauses:
        absent = [name for name in datasets_of(clause) if name not in there]
        missing += [f"no samples of {name}" for name in absent]
        if absent and len(absent) == len(datasets_of(clause)):
            continue
        rows = rows_of_clause(columns, clause, seed, train)
        found |= rows
        for name in datasets_of(clause):
            of_dataset = columns.where("dataset", name.__eq__)
            if name in there and not (rows & of_dataset).any():
                missing.append(_why_none(columns, clause, name, of_dataset))
    return found, list(dict.fromkeys(missing))


def _why_none(columns: Columns, clause: Clause, dataset: str, rows: Mask) -> str:
    """Which key of `clause` leaves no row of `dataset`, and what is there instead."""
    for name, wanted in clause.items():
        if name == OF:
            continue
        before, rows = rows, rows & rows_of_clause(columns, {name: wanted}, 0)
        if not rows.any():
            given = [one for value in columns.distinct(name, before) for one in several(value) if one is not None]
            values = sorted({repr(one) for one in given}) or ["nothing there"]
            return f"{dataset}: none with {name} {wanted!r}; it has {', '.join(values[:8])}{', …' * (len(values) > 8)}"
    return f"{dataset}: nothing left"


def _shared_subjects(columns: Columns, parts: Mapping[str, Mask]) -> list[str]:
    """A note for every two parts that the same people are in."""
    names, codes = columns.encoded("subject")
    named = np.array([bool(name) for name in names], bool)
    seen = {part: np.bincount(codes[rows], minlength=len(names)).astype(bool) & named for part, rows in parts.items()}
    notes = []
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        both = np.flatnonzero(seen[one] & seen[other])
        if len(both):
            some = ", ".join(sorted(names[i] for i in both[:3]))
            notes.append(f"{len(both)} subjects are in both {one} and {other}, e.g. {some}")
    return notes
