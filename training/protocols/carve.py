"""A dev set for datasets that have none: whole subjects, chosen by seed."""

from __future__ import annotations

import hashlib
import math

import numpy as np

from training.protocols.columns import Columns, Mask


def carve(columns: Columns, rows: Mask, share: float, seed: int) -> Mask:
    """A `share` of the subjects of every dataset among `rows`, whole, as (n,) bool.

    Subjects are ranked by a hash of (seed, name), so one subject more never reshuffles the others; of each dataset at
    least one is taken and one left, and as many more as it takes to have both live and spoof where `rows` has both.
    """
    names, who = columns.subjects()
    values, dataset = columns.encoded("dataset")
    label = columns.table.column("label").to_numpy()
    chosen = np.zeros(len(names), bool)
    for number in range(len(values)):
        inside = rows & (dataset == number)
        people = np.unique(who[inside])
        if len(people) < 2:
            continue
        ranked = sorted(people.tolist(), key=lambda i: hashlib.sha256(f"{seed}|{names[i]}".encode()).digest())
        has = np.zeros((2, len(names)), bool)  # which subjects have live samples, which spoofs
        for value in (0, 1):
            has[value, who[inside & (label == value)]] = True
        needed = has.any(axis=1)
        count = min(math.ceil(round(share * len(ranked), 9)), len(ranked) - 1)
        while count < len(ranked) - 1 and (needed & ~has[:, ranked[:count]].any(axis=1)).any():
            count += 1
        chosen[ranked[:count]] = True
    return rows & chosen[who]
