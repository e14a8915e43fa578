"""A dev set for datasets that have none: whole subjects, chosen by seed."""

from __future__ import annotations

import hashlib
import math

import numpy as np

from training.protocols.columns import Columns, Mask


def carve(columns: Columns, rows: Mask, share: float, seed: int) -> Mask:
    """A `share` of the subjects among `rows`, whole, as (n,) bool: of every dataset, and within it of the subjects with
    live samples, with spoofs and with both.

    So each class is there in its proportion even where a subject is one video. Subjects are ranked by a hash of (seed,
    name): one subject more never reshuffles the others. Of each group at least one subject is taken and one left; a
    group of one is left whole.
    """
    names, who = columns.subjects()
    values, dataset = columns.encoded("dataset")
    label = columns.table.column("label").to_numpy()
    chosen = np.zeros(len(names), bool)
    for number in range(len(values)):
        inside = rows & (dataset == number)
        has_live = np.bincount(who[inside & (label == 0)], minlength=len(names)) > 0
        has_spoof = np.bincount(who[inside & (label == 1)], minlength=len(names)) > 0
        for group in (has_live & has_spoof, has_live & ~has_spoof, has_spoof & ~has_live):
            people = np.flatnonzero(group).tolist()
            ranked = sorted(people, key=lambda i: hashlib.sha256(f"{seed}|{names[i]}".encode()).digest())
            chosen[ranked[: min(math.ceil(round(share * len(people), 9)), len(people) - 1)]] = True
    return rows & chosen[who]
