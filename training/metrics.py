"""Presentation attack detection metrics: threshold from one set, rates on another.

Scores are higher = more live, and a sample is accepted as live when `score >= threshold`. Live is the positive class
of F1 and of the ROC. Names as in ISO/IEC 30107-3 and the OULU-NPU / Replay-Attack protocols:

    APCER_s  share of the attacks of species s that are accepted      APCER  the largest APCER_s
    BPCER    share of the live samples that are refused               ACER   (APCER + BPCER) / 2
    HTER     (pooled attack acceptance + BPCER) / 2                   EER    where pooled acceptance meets BPCER

PDGAN (arXiv 2101.00200, 4.2) pools the attacks, so its "ACER" is the HTER here. How sure the rates are is said by
`training.intervals`, how they differ between groups by `training.breakdown`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.errors import TrainingError

Floats = NDArray[np.float64]
LIMITS = (0.10, 0.05, 0.01)  # BPCER10, BPCER20 and BPCER100 of ISO/IEC 30107-3; thresholds are kept for the same rates
FPRS = (0.01, 0.005, 0.001)


@dataclass(frozen=True)
class Scores:
    """The scores of one set, with what is needed to judge them.

    score: (n,) float64, higher = more live. label: (n,) int8, live 0, spoof 1. attack: (n,) str, PAI species of the
    spoofs ("" for live). sample_id: (n,) str, who was scored; two sets that share one are not independent.
    """

    name: str
    score: Floats
    label: NDArray[np.int8]
    attack: NDArray[np.str_]
    sample_id: NDArray[np.str_]

    @classmethod
    def of(
        cls,
        name: str,
        score: ArrayLike,
        label: ArrayLike,
        attack: ArrayLike | None = None,
        ids: ArrayLike | None = None,
    ) -> Scores:
        """Check and convert; raises TrainingError for unequal lengths, other labels, or scores that are not finite."""
        score_ = np.asarray(score, np.float64)
        label_ = np.asarray(label)
        n = len(score_)
        attack_ = np.where(label_ == 1, "spoof", "") if attack is None else np.asarray(attack, np.str_)
        ids_ = np.array([f"{name}#{i}" for i in range(n)], np.str_) if ids is None else np.asarray(ids, np.str_)
        if not len(label_) == len(attack_) == len(ids_) == n:
            raise TrainingError(f"{name}: {n} scores, {len(label_)} labels, {len(attack_)} attacks, {len(ids_)} ids")
        if not np.isin(label_, (0, 1)).all():
            raise TrainingError(f"{name}: labels must be 0 (live) or 1 (spoof), found {np.unique(label_)[:5]}")
        if not np.isfinite(score_).all():
            raise TrainingError(f"{name}: {int((~np.isfinite(score_)).sum())} of {n} scores are not finite")
        attack_ = np.where((label_ == 1) & (attack_ == ""), "unnamed", attack_).astype(np.str_)
        return cls(name, score_, label_.astype(np.int8), attack_, ids_)

    @property
    def live(self) -> Floats:
        """Scores of the live samples, ascending; raises TrainingError when there are none."""
        return self._sorted(self.label == 0, "live samples")

    @property
    def spoof(self) -> Floats:
        """Scores of all attacks pooled, ascending; raises TrainingError when there are none."""
        return self._sorted(self.label == 1, "spoof samples")

    @property
    def attacks(self) -> list[str]:
        """The species present, in alphabetical order."""
        return sorted({str(a) for a in self.attack[self.label == 1]})

    def species(self, attack: str) -> Floats:
        """Scores of one species, ascending; a species without samples is an error and never a rate of 0."""
        return self._sorted((self.label == 1) & (self.attack == attack), f"samples of the attack {attack!r}")

    def digest(self) -> str:
        """Hex sha256 of the sorted sample ids: which samples these are, whatever their scores."""
        return hashlib.sha256("\n".join(sorted(map(str, self.sample_id))).encode()).hexdigest()

    def _sorted(self, mask: NDArray[np.bool_], what: str) -> Floats:
        if not mask.any():
            raise TrainingError(f"{self.name}: no {what}, so no error rate exists; check the split and its labels")
        return np.sort(self.score[mask])


@dataclass(frozen=True)
class Threshold:
    """A threshold with the set it came from; digest is that set's `Scores.digest()`."""

    value: float
    rule: Literal["eer", "bpcer", "apcer", "oracle", "given"]
    source: str
    digest: str = ""
    limit: float | None = None  # of the rules bpcer and apcer: the rate that the source's samples stay within


@dataclass(frozen=True)
class Metrics:
    """All rates of one set at one threshold, as fractions in [0, 1]; AUC and EER do not depend on the threshold."""

    positive_class: str
    n_live: int
    n_spoof: int
    threshold: float
    threshold_rule: str
    threshold_source: str
    apcer: float
    apcer_attack: str
    apcer_pooled: float
    apcer_per_attack: dict[str, float]
    n_per_attack: dict[str, int]
    bpcer: float
    acer: float
    hter: float
    eer: float
    auc: float
    f1: float
    accuracy: float


@dataclass(frozen=True)
class OperatingPoint:
    """One point of a set's own curve: the best `rate` among all thresholds that keep `limited` at most `limit`.

    reached: what `limited` is there. resolved: False where a single error is already more than `limit`, because the set
    (of `limited`'s smallest species) has fewer than 1 / limit samples; the rate is then the one at no error at all.
    """

    rate: str
    limited: str
    limit: float
    positive_class: str
    value: float
    threshold: float
    reached: float
    resolved: bool


def accepted(sorted_scores: Floats, threshold: ArrayLike) -> Floats:
    """Share of ascending scores that are `>=` each threshold; same shape as threshold."""
    return 1.0 - np.searchsorted(sorted_scores, threshold, side="left") / len(sorted_scores)


def thresholds_between(scores: Floats) -> Floats:
    """Every threshold that decides differently, ascending: below all, midway between neighbours, above all.

    Midpoints rather than the scores themselves: a threshold that equals a score sits on the edge of what it saw.
    """
    values = np.unique(scores)
    middle = (values[:-1] + values[1:]) / 2
    middle = np.where(middle > values[:-1], middle, values[1:])  # neighbours one float apart have no midpoint
    return np.concatenate([values[:1], middle, np.nextafter(values[-1:], np.inf)])


def eer_threshold(scores: Scores) -> Threshold:
    """Where |pooled attack acceptance - BPCER| is least (of two such, the one with the lower mean of both)."""
    t, far, frr = error_curve(scores)
    best = np.lexsort((far + frr, np.abs(far - frr)))[0]
    return Threshold(float(t[best]), "eer", scores.name, scores.digest())


def bpcer_threshold(scores: Scores, limit: float) -> Threshold:
    """The strictest threshold that refuses at most the share `limit` of the live samples."""
    t = thresholds_between(scores.score)
    bpcer = 1.0 - accepted(scores.live, t)
    at = np.flatnonzero(_within(bpcer, limit))[-1]  # the lowest threshold refuses nobody: there is always one
    return Threshold(float(t[at]), "bpcer", scores.name, scores.digest(), limit)


def apcer_threshold(scores: Scores, limit: float) -> Threshold:
    """The most lenient threshold at which at most the share `limit` of every attack species is accepted."""
    t = thresholds_between(scores.score)
    at = np.flatnonzero(_within(_worst(scores, t), limit))[0]  # the highest threshold accepts nothing
    return Threshold(float(t[at]), "apcer", scores.name, scores.digest(), limit)


def dev_thresholds(scores: Scores) -> dict[str, Threshold]:
    """What a model file carries, by name: eer; bpcer10, apcer10, ... for a rate of at most 10 % (5, 1) on dev."""
    rules: dict[str, Callable[[Scores, float], Threshold]] = {"bpcer": bpcer_threshold, "apcer": apcer_threshold}
    limited = {f"{name}{limit:.0%}"[:-1]: rule(scores, limit) for name, rule in rules.items() for limit in LIMITS}
    return {"eer": eer_threshold(scores), **limited}


def oracle_threshold(scores: Scores) -> Threshold:
    """The threshold that flatters: least (pooled APCER + BPCER) / 2 on the very set it is used on, as PDGAN 4.2.

    The papers' tables are made with it. Of equally good thresholds the lowest is returned.
    """
    t, far, frr = error_curve(scores)
    return Threshold(float(t[np.argmin(far + frr)]), "oracle", scores.name, scores.digest())


def measure(scores: Scores, threshold: Threshold, *, oracle: bool = False) -> Metrics:
    """All metrics of `scores` at a threshold that was fixed on other samples.

    Raises TrainingError when the threshold was chosen on the same samples (or is an oracle's) and `oracle` is not set.
    """
    if not oracle and (threshold.rule == "oracle" or threshold.digest == scores.digest()):
        raise TrainingError(
            f"{scores.name}: the threshold was chosen on the samples it is to be judged on ({threshold.source}); "
            "take it from a dev set, or pass oracle=True to report an oracle"
        )
    t = threshold.value
    per_attack = {a: float(accepted(scores.species(a), t)) for a in scores.attacks}
    counts = {a: len(scores.species(a)) for a in scores.attacks}
    pooled, bpcer = float(accepted(scores.spoof, t)), float(1.0 - accepted(scores.live, t))
    worst = max(per_attack, key=lambda a: per_attack[a])
    n_live, n_spoof = len(scores.live), len(scores.spoof)
    live_share = n_live / (n_live + n_spoof)
    return Metrics(
        positive_class="live",
        n_live=n_live,
        n_spoof=n_spoof,
        threshold=t,
        threshold_rule=threshold.rule,
        threshold_source=threshold.source,
        apcer=per_attack[worst],
        apcer_attack=worst,
        apcer_pooled=pooled,
        apcer_per_attack=per_attack,
        n_per_attack=counts,
        bpcer=bpcer,
        acer=(per_attack[worst] + bpcer) / 2,
        hter=(pooled + bpcer) / 2,
        eer=equal_error_rate(scores),
        auc=auc(scores),
        f1=f1(bpcer, pooled, live_share),
        accuracy=(1 - bpcer) * live_share + (1 - pooled) * (1 - live_share),
    )


def f1(bpcer: float, apcer_pooled: float, live_share: float) -> float:
    """F1 with live as the positive class, from the two rates and the share of live samples in the set.

    At live_share .5 it gives the F1 that PDGAN prints beside its rates (tables 1-4), so those tests were balanced.
    """
    hit, false, missed = (1 - bpcer) * live_share, apcer_pooled * (1 - live_share), bpcer * live_share
    return 2 * hit / (2 * hit + false + missed) if hit else 0.0


def equal_error_rate(scores: Scores) -> float:
    """Mean of pooled attack acceptance and BPCER at the set's own EER threshold."""
    t = eer_threshold(scores).value
    return float(accepted(scores.spoof, t) + 1.0 - accepted(scores.live, t)) / 2


def auc(scores: Scores) -> float:
    """Area under the ROC, attacks pooled, live positive."""
    from sklearn.metrics import roc_auc_score

    live, spoof = scores.live, scores.spoof
    is_live = np.repeat([1, 0], [len(live), len(spoof)])
    return float(roc_auc_score(is_live, np.concatenate([live, spoof])))


def error_curve(scores: Scores) -> tuple[Floats, Floats, Floats]:
    """(threshold, pooled APCER, BPCER) at every decision boundary, ascending threshold: the points of a DET curve.

    The ROC is (pooled APCER, 1 - BPCER).
    """
    t = thresholds_between(scores.score)
    return t, accepted(scores.spoof, t), 1.0 - accepted(scores.live, t)


def operating_points(scores: Scores) -> list[OperatingPoint]:
    """BPCER at an APCER (worst species) of 10, 5 and 1 % (BPCER10, 20, 100), TPR at an FPR of 1, .5 and .1 %.

    TPR at FPR is used in two ways, so the positive class is named: with live positive the FPR is the pooled APCER
    (CASIA-SURF), with spoof positive it is the BPCER (CelebA-Spoof). Points of the set's own curve: like its EER they
    tell how well the scores separate, not what a threshold that was fixed before would do.
    """
    t, pooled, bpcer = error_curve(scores)
    smallest = min(len(scores.species(a)) for a in scores.attacks)
    curves = [
        ("BPCER", "APCER", "live", bpcer, _worst(scores, t), smallest, LIMITS, np.argmin),
        ("TPR", "FPR", "live", 1 - bpcer, pooled, len(scores.spoof), FPRS, np.argmax),
        ("TPR", "FPR", "spoof", 1 - pooled, bpcer, len(scores.live), FPRS, np.argmax),
    ]
    points = []
    for rate, limited, positive, values, limiting, count, limits, best in curves:
        for limit in limits:
            allowed = np.flatnonzero(_within(limiting, limit))
            at = allowed[best(values[allowed])]
            figures = float(values[at]), float(t[at]), float(limiting[at])
            points.append(OperatingPoint(rate, limited, limit, positive, *figures, resolved=count * limit >= 1))
    return points


def _worst(scores: Scores, thresholds: Floats) -> Floats:
    """APCER, the worst species', at each threshold."""
    rates: Floats = np.max([accepted(scores.species(a), thresholds) for a in scores.attacks], axis=0)
    return rates


def _within(rates: Floats, limit: float) -> NDArray[np.bool_]:
    """rates <= limit, for rates that are counts over a whole number and carry its rounding error."""
    return rates <= limit + 1e-12
