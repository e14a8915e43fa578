"""Who is trained on, who sets the threshold, and in which order the samples come."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.errors import TrainingError

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Rows of a store's table. rule says where dev came from; subjects are those with a name, sorted."""

    train: Rows
    dev: Rows
    rule: str
    train_subjects: list[str]
    dev_subjects: list[str]


def split_train_dev(table: pa.Table, *, seed: int, dev_share: float = 0.2) -> Split:
    """The store's own dev split if it has one, else whole subjects of train by seed; dev holds plain crops (view 0).

    Subjects are ranked by a hash of (seed, subject), so one subject more never reshuffles the others. Samples without a
    subject are kept together by medium. Raises TrainingError if a side would lack live or spoof samples.
    """
    split, label = _column(table, "split"), _column(table, "label")
    view0 = _column(table, "view") == 0
    train, dev = split == "train", split == "dev"
    if not train.any():
        raise TrainingError(
            f"no samples with split 'train'; the store has {_counts(split)}. Build the train split first"
        )
    group = np.array([s or p for s, p in zip(_column(table, "subject"), _column(table, "path"), strict=True)], np.str_)
    rule = "the store's dev split"
    if dev.any():
        shared = sorted(set(group[train]) & set(group[dev]))
        if shared:
            raise TrainingError(
                f"{len(shared)} subjects are in both train and dev, e.g. {shared[:3]}; mend the source's split"
            )
    else:
        chosen = _ranked_subjects(group, label, train, seed, dev_share)
        dev = train & np.isin(group, chosen)
        train = train & ~dev
        rule = f"whole subjects carved from train (share {dev_share}, seed {seed}); the store has no dev split"
    dev = dev & view0
    for name, mask in (("train", train), ("dev", dev)):
        for value, word in ((0, "live"), (1, "spoof")):
            if not (mask & (label == value)).any():
                raise TrainingError(
                    f"the {name} side has no {word} samples (dev is {rule}); add {word} media of more subjects to the "
                    "store's train split, or bring a dev split"
                )
    subject = _column(table, "subject")
    return Split(np.flatnonzero(train), np.flatnonzero(dev), rule, _names(subject[train]), _names(subject[dev]))


def rows_of(table: pa.Table, split: str) -> Rows:
    """Plain crops (view 0) of one split; raises TrainingError naming the splits there are when it is empty."""
    rows = np.flatnonzero((_column(table, "split") == split) & (_column(table, "view") == 0))
    if not len(rows):
        raise TrainingError(f"no samples with split {split!r}; the store has {_counts(_column(table, 'split'))}")
    return rows


class BalancedSampler:
    """An endless, seeded sequence that takes from each group in turn, so every batch holds all groups equally.

    Each group is gone through whole, in a new order every pass, before any of it repeats: the smaller group comes round
    more often. The sequence is addressed by position, so it can be continued anywhere.
    """

    def __init__(self, groups: Sequence[Rows], seed: int) -> None:
        if not groups or not all(len(g) for g in groups):
            raise TrainingError("an empty group cannot be sampled from")
        self.groups = [np.asarray(g, np.int64) for g in groups]
        self.seed = seed
        self._orders: dict[int, tuple[int, Rows]] = {}

    def draw(self, start: int, count: int) -> tuple[Rows, Rows]:
        """Positions start..start+count -> (rows, which pass over its group each row is drawn in)."""
        rows, passes = np.empty(count, np.int64), np.empty(count, np.int64)
        for i, position in enumerate(range(start, start + count)):
            which, place = position % len(self.groups), position // len(self.groups)
            passes[i], at = divmod(place, len(self.groups[which]))
            rows[i] = self._order(which, int(passes[i]))[at]
        return rows, passes

    def _order(self, which: int, turn: int) -> Rows:
        kept = self._orders.get(which)
        if kept is None or kept[0] != turn:
            order = np.random.default_rng([self.seed, which, turn]).permutation(self.groups[which])
            kept = self._orders[which] = (turn, order)
        return kept[1]


def by_label(table: pa.Table, rows: Rows) -> list[Rows]:
    """[live rows, spoof rows]."""
    label = _column(table, "label")[rows]
    return [rows[label == 0], rows[label == 1]]


def _ranked_subjects(
    group: NDArray[np.str_], label: NDArray[np.int8], train: NDArray[np.bool_], seed: int, share: float
) -> list[str]:
    names = sorted(set(group[train]), key=lambda s: hashlib.sha256(f"{seed}|{s}".encode()).digest())
    if len(names) < 2:
        raise TrainingError(
            f"the store has no dev split, and none can be carved from train: it has {len(names)} subject; "
            "a threshold needs subjects that were not trained on"
        )
    count = min(math.ceil(round(share * len(names), 9)), len(names) - 1)
    while count < len(names) - 1 and len(set(label[train & np.isin(group, names[:count])])) < 2:
        count += 1
    return names[:count]


def _column(table: pa.Table, name: str) -> NDArray:
    return table.column(name).to_numpy(zero_copy_only=False)


def _names(subjects: NDArray) -> list[str]:
    return sorted({str(s) for s in subjects if s})


def _counts(split: NDArray) -> str:
    names, counts = np.unique(split.astype(np.str_), return_counts=True)
    return ", ".join(f"{str(n)!r}: {c}" for n, c in zip(names, counts, strict=True)) or "no samples at all"
