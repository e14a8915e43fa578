"""How sure a rate is: exact binomial intervals of counts, and a bootstrap over subjects for everything else.

Clopper-Pearson takes samples as independent, which frames of one video or pictures of one person are not: it is the
least that the interval can be. The bootstrap draws whole clusters (subjects, or media where nobody is named), so it
widens where few people were seen. With fewer than about ten clusters of a class it is itself unsure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta

from training.errors import TrainingError
from training.metrics import Floats, Scores, thresholds_between

LEVEL = 0.95
_CELLS = 4_000_000  # floats of one block of replicates


@dataclass(frozen=True)
class Interval:
    """A rate with the bounds of its confidence interval; replicates 0 = exact, from counts."""

    value: float
    low: float
    high: float
    level: float = LEVEL
    replicates: int = 0


def clopper_pearson(errors: ArrayLike, trials: ArrayLike, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Exact binomial bounds (low, high) of errors / trials, element by element; trials must be positive."""
    k, n = np.asarray(errors, np.float64), np.asarray(trials, np.float64)
    tail = (1 - level) / 2
    with np.errstate(invalid="ignore"):
        low = np.where(k > 0, beta.ppf(tail, k, n - k + 1), 0.0)
        high = np.where(k < n, beta.ppf(1 - tail, k + 1, n - k), 1.0)
    return low, high


def rate_interval(errors: int, trials: int) -> Interval:
    """A rate of counts with its Clopper-Pearson interval."""
    low, high = clopper_pearson(errors, trials)
    return Interval(errors / trials, float(low), float(high))


def error_intervals(scores: Scores, threshold: float) -> dict[str, Interval]:
    """Clopper-Pearson intervals of what is counted: `bpcer`, `apcer_pooled` and `apcer:<species>`."""
    spoof = {f"apcer:{attack}": scores.species(attack) for attack in scores.attacks}
    passed = {"apcer_pooled": scores.spoof, **spoof}
    return {
        "bpcer": rate_interval(int((scores.live < threshold).sum()), len(scores.live)),
        **{name: rate_interval(int((s >= threshold).sum()), len(s)) for name, s in passed.items()},
    }


def bootstrap(
    scores: Scores, threshold: float, clusters: ArrayLike, *, replicates: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Percentile intervals of apcer (worst species), bpcer, acer, hter, eer and auc; `clusters` (n,) are drawn whole.

    Replicates that draw no live sample, or no sample of some species, tell nothing of a rate that needs it and are left
    out; `replicates` of an interval counts the others. Raises TrainingError if fewer than half remain.
    """
    names, member = np.unique(np.asarray(clusters, np.str_), return_inverse=True)
    if len(member) != len(scores.score):
        raise TrainingError(f"{scores.name}: {len(scores.score)} scores, {len(member)} clusters")
    rng = np.random.default_rng(seed)
    chance = np.full(len(names), 1 / len(names))
    judge = _Weighted(scores, threshold)
    block = max(1, _CELLS // len(scores.score))
    parts = []
    for start in range(0, replicates, block):
        draws = rng.multinomial(len(names), chance, min(block, replicates - start))  # (r, clusters) times drawn
        parts.append(judge.rates(draws[:, member].astype(np.float64)))
    once = judge.rates(np.ones((1, len(member))))
    intervals = {}
    for name, (value,) in once.items():
        drawn = np.concatenate([part[name] for part in parts])
        drawn = drawn[np.isfinite(drawn)]
        if len(drawn) < replicates / 2:
            raise TrainingError(
                f"{scores.name}: only {len(drawn)} of {replicates} bootstrap replicates of {len(names)} clusters hold "
                f"both classes and every attack; there are too few subjects for an interval of {name}"
            )
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        intervals[name] = Interval(float(value), float(low), float(high), replicates=len(drawn))
    return intervals


class _Weighted:
    """All rates of one set under (R, n) weights a sample at once: the ascending order is found only once."""

    def __init__(self, scores: Scores, threshold: float) -> None:
        self.order = np.argsort(scores.score, kind="stable")
        score, label, attack = scores.score[self.order], scores.label[self.order], scores.attack[self.order]
        self.live = label == 0
        self.passed = score >= threshold
        self.species = [(label == 1) & (attack == name) for name in scores.attacks]
        # samples below each boundary between different scores: where an EER or an AUC can step
        self.below = np.searchsorted(score, thresholds_between(score), side="left")

    def rates(self, weights: Floats) -> dict[str, NDArray[np.float64]]:
        """Name -> (R,) rates; NaN where a replicate lacks what the rate needs."""
        w = weights[:, self.order]
        live, spoof = w * self.live, w * ~self.live
        with np.errstate(invalid="ignore", divide="ignore"):
            bpcer = (live @ ~self.passed) / live.sum(axis=1)
            pooled = (spoof @ self.passed) / spoof.sum(axis=1)
            each = [(w @ (chosen & self.passed)) / (w @ chosen) for chosen in self.species]
            apcer = np.max(each, axis=0)  # NaN as soon as one species is missing
            frr, far = self._below(live), 1 - self._below(spoof)  # (R, boundaries)
            gap = np.abs(far - frr)
            # of two equal gaps the one with the lower mean of both, as `metrics.eer_threshold`
            best = np.argmin(np.where(gap <= gap.min(axis=1, keepdims=True), far + frr, np.inf), axis=1)
            eer = np.take_along_axis(far + frr, best[:, None], axis=1)[:, 0] / 2
            # between two boundaries live rise by d(frr) over spoofs of which far lie above; ties count half
            auc = 1 - (np.diff(frr, axis=1) * (far[:, :-1] + far[:, 1:]) / 2).sum(axis=1)
        eer = np.where(np.isfinite(bpcer + pooled), eer, np.nan)
        acer, hter = (apcer + bpcer) / 2, (pooled + bpcer) / 2
        return {"apcer": apcer, "bpcer": bpcer, "acer": acer, "hter": hter, "eer": eer, "auc": auc}

    def _below(self, weights: Floats) -> Floats:
        """(R, n) weights -> (R, boundaries): the share of the weight that lies below each boundary."""
        sums = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(weights, axis=1)], axis=1)
        share: Floats = sums[:, self.below] / sums[:, -1:]
        return share
