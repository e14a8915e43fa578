"""Who is trained on, who sets the threshold, and in which order the samples come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.errors import TrainingError
from training.protocols import Columns, find_protocol
from training.protocols.carve import carve

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Rows of a store's table. rule says where dev came from; subjects are those with a name, sorted.

    protocol: its name, or "" where the store's own splits are taken. Of clips, rows are the last ones; outside_clips
    counts the samples of both sides that are in none.
    """

    train: Rows
    dev: Rows
    rule: str
    train_subjects: list[str]
    dev_subjects: list[str]
    protocol: str = ""
    outside_clips: int = 0


def split_train_dev(table: pa.Table, *, seed: int, dev_share: float = 0.2, protocol: str | Path | None = None) -> Split:
    """A protocol's train and dev rows (see `training.protocols`), or without one those of the store's own splits.

    The store's own dev split is taken if it has one, else whole subjects of train, by seed; samples without a subject
    are kept together by medium. Dev holds plain crops (view 0). Raises TrainingError if a side would lack live or spoof
    samples, and for an unknown protocol or one that the store cannot serve.
    """
    if protocol is not None:
        found = find_protocol(protocol).select(table, seed=seed, parts=("train", "dev"))
        return _split(table, found.train, found.dev, found.dev_rule, found.protocol)
    split, label = _column(table, "split"), _column(table, "label")
    view0 = _column(table, "view") == 0
    train, dev = split == "train", split == "dev"
    if not train.any():
        raise TrainingError(
            f"no samples with split 'train'; the store has {_counts(split)}. Build the train split first"
        )
    columns = Columns(table)
    names, who = columns.subjects()
    rule = "the store's dev split"
    if dev.any():
        shared = np.intersect1d(who[train], who[dev])
        if len(shared):
            some = sorted(names[i] for i in shared)[:3]
            raise TrainingError(
                f"{len(shared)} subjects are in both train and dev, e.g. {some}; mend the source's split"
            )
    else:
        dev = carve(columns, train, dev_share, seed)
        if not dev.any():
            raise TrainingError(
                "the store has no dev split, and none can be carved from train: it has 1 subject; "
                "a threshold needs subjects that were not trained on"
            )
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
    return _split(table, np.flatnonzero(train), np.flatnonzero(dev), rule)


def _split(table: pa.Table, train: Rows, dev: Rows, rule: str, protocol: str = "") -> Split:
    subject = _column(table, "subject")
    return Split(train, dev, rule, _names(subject[train]), _names(subject[dev]), protocol)


def rows_of(table: pa.Table, split: str) -> Rows:
    """Plain crops (view 0) of one split; raises TrainingError naming the splits there are when it is empty."""
    rows = np.flatnonzero((_column(table, "split") == split) & (_column(table, "view") == 0))
    if not len(rows):
        raise TrainingError(f"no samples with split {split!r}; the store has {_counts(_column(table, 'split'))}")
    return rows


class BalancedSampler:
    """An endless, seeded sequence that takes from each class in turn, and within a class from each domain in turn.

    groups[class][domain] are rows. So every batch holds all classes equally and, over a few batches, the domains of a
    class equally too, whatever their sizes. Each group is gone through whole, in a new order every pass, before any of
    it repeats: the smaller one comes round more often. The sequence is addressed by position: it can be continued
    anywhere, and shared out among processes, without a state.
    """

    def __init__(self, groups: Sequence[Sequence[Rows]], seed: int) -> None:
        if not groups or not all(len(g) for domains in groups for g in domains) or not all(groups):
            raise TrainingError("an empty group cannot be sampled from")
        self.groups = [[np.asarray(g, np.int64) for g in domains] for domains in groups]
        self.seed = seed
        self._orders: dict[tuple[int, int], tuple[int, Rows]] = {}

    def draw(self, start: int, count: int) -> tuple[Rows, Rows]:
        """Positions start..start+count -> (rows, which pass over its group each row is drawn in)."""
        rows, passes = np.empty(count, np.int64), np.empty(count, np.int64)
        for i, position in enumerate(range(start, start + count)):
            place, which = divmod(position, len(self.groups))
            place, domain = divmod(place, len(self.groups[which]))
            passes[i], at = divmod(place, len(self.groups[which][domain]))
            rows[i] = self._order(which, domain, int(passes[i]))[at]
        return rows, passes

    def _order(self, which: int, domain: int, turn: int) -> Rows:
        kept = self._orders.get((which, domain))
        if kept is None or kept[0] != turn:
            order = np.random.default_rng([self.seed, which, turn, domain]).permutation(self.groups[which][domain])
            kept = self._orders[which, domain] = (turn, order)
        return kept[1]


def groups_of(table: pa.Table, rows: Rows, balance: Literal["class-domain", "class", "none"]) -> list[list[Rows]]:
    """What a BalancedSampler takes in turn: live and spoof, each by dataset; classes alone; or all as one group."""
    if balance == "none":
        return [[rows]]
    label, domain = _column(table, "label")[rows], _column(table, "dataset")[rows].astype(np.str_)
    classes = [(rows[label == value], domain[label == value]) for value in (0, 1)]
    if balance == "class":
        return [[chosen] for chosen, _ in classes]
    return [[chosen[where == name] for name in sorted(set(where))] for chosen, where in classes]


def _column(table: pa.Table, name: str) -> NDArray:
    return table.column(name).to_numpy(zero_copy_only=False)


def _names(subjects: NDArray) -> list[str]:
    return sorted({str(s) for s in subjects if s})


def _counts(split: NDArray) -> str:
    names, counts = np.unique(split.astype(np.str_), return_counts=True)
    return ", ".join(f"{str(n)!r}: {c}" for n, c in zip(names, counts, strict=True)) or "no samples at all"
