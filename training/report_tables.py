"""The tables of a report, as rows of plain values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pyarrow.compute as pc

from storage.dataset import DepthDataset
from training.breakdown import Group, NonResponse
from training.evaluate import Evaluation

RATES = (  # field of Metrics, name, what it is
    ("auc", "AUC", "area under the ROC, attacks pooled; no threshold"),
    ("eer", "EER", "at the test set's own equal-error point"),
    ("apcer", "APCER", "attacks accepted, the worst species"),
    ("apcer_pooled", "APCER, pooled", "attacks accepted, all species together"),
    ("bpcer", "BPCER", "live samples refused"),
    ("acer", "ACER", "mean of APCER (worst) and BPCER"),
    ("hter", "HTER", "mean of APCER (pooled) and BPCER; PDGAN prints this as its ACER"),
    ("f1", "F1", "live is the positive class; depends on the live share of the set"),
    ("accuracy", "Accuracy", "depends on the live share of the set"),
)


def rates(e: Evaluation) -> list[dict[str, Any]]:
    """All rates at the dev threshold with their intervals, and at the oracle's.

    Without a bootstrap APCER has the exact interval of its worst species.
    """
    worst = e.samples.intervals[f"apcer:{e.metrics.apcer_attack}"]
    known = {"apcer": worst, **e.samples.bootstrap, **e.samples.intervals}
    return [
        {
            "name": name,
            "words": words,
            "fixed": getattr(e.metrics, key),
            "oracle": getattr(e.oracle, key),
            "interval": known.get(key),
        }
        for key, name, words in RATES
    ]


def kinds(e: Evaluation) -> list[dict[str, Any]]:
    """Bona fide, then each attack: its error rate of samples and of whole media, and how many gave no score.

    An attack of which nothing was scored has no error rate, and is in the table all the same.
    """
    silent = {n.kind: n for n in e.non_response}
    attacks = sorted({*e.metrics.apcer_per_attack, *silent} - {"live"})
    whole = e.presentations.metrics if e.presentations else None
    rows: list[dict[str, Any]] = [
        {
            "kind": "bona fide (live)",
            "samples": e.metrics.n_live,
            "rate": "BPCER",
            "fixed": e.metrics.bpcer,
            "interval": e.samples.intervals["bpcer"],
            "oracle": e.oracle.bpcer,
            "media": whole.bpcer if whole else None,
            **_silence(silent.get("live")),
        }
    ]
    rows += [
        {
            "kind": attack,
            "samples": e.metrics.n_per_attack.get(attack, 0),
            "rate": "APCER",
            "fixed": e.metrics.apcer_per_attack.get(attack),
            "interval": e.samples.intervals.get(f"apcer:{attack}"),
            "oracle": e.oracle.apcer_per_attack.get(attack),
            "media": whole.apcer_per_attack.get(attack) if whole else None,
            **_silence(silent.get(attack)),
        }
        for attack in attacks
    ]
    return rows


def _silence(found: NonResponse | None) -> dict[str, Any]:
    if found is None:
        return {"unscored": 0, "asked": 0, "reasons": ""}
    reasons = ", ".join(f"{count} {reason}" for reason, count in found.reasons.items())
    return {"unscored": found.unscored, "asked": found.presentations - found.unlabelled, "reasons": reasons}


def by_column(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Column -> its groups; the attacks have a table of their own."""
    return {c: list(g) for c, g in groupby(groups, key=lambda group: group.column) if c != "attack"}


def counts(data: DepthDataset) -> list[dict[str, Any]]:
    """One row a (split, attack), live first: subjects, plain crops, samples with all views."""
    keys = ["split", "label", "attack"]
    total = (
        data.table.group_by(keys)
        .aggregate([("subject", "count_distinct"), ([], "count_all")])
        .sort_by([(key, "ascending") for key in keys])
    )
    plain = data.table.filter(pc.field("view") == 0).group_by(keys).aggregate([([], "count_all")]).to_pylist()
    plains = {tuple(row[key] for key in keys): row["count_all"] for row in plain}
    return [
        {
            "split": row["split"],
            "name": "live" if row["label"] == 0 else row["attack"] or "spoof",
            "subjects": row["subject_count_distinct"],
            "plain": plains.get(tuple(row[key] for key in keys), 0),
            "samples": row["count_all"],
        }
        for row in total.to_pylist()
    ]
