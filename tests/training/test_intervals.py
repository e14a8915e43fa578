"""Intervals against scipy, and against a bootstrap written out by hand."""

import numpy as np
import pytest
from scipy.stats import binomtest

from training.errors import TrainingError
from training.intervals import bootstrap, clopper_pearson, error_intervals
from training.metrics import Scores, Threshold, measure


def made(seed=0, n=300, subjects=30):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    score = np.clip(rng.normal(0.6 - 0.2 * label, 0.2), 0, 1).round(2)
    attack = np.where(label == 1, rng.choice(["print", "replay"], n), "")
    return Scores.of("test", score, label, attack), rng.integers(0, subjects, n).astype(str)


@pytest.mark.parametrize(("errors", "trials"), [(0, 10), (10, 10), (1, 7), (3, 1000), (50, 100)])
def test_exact_intervals_are_scipys(errors, trials):
    low, high = clopper_pearson(errors, trials)
    expected = binomtest(errors, trials).proportion_ci(0.95, method="exact")
    assert (float(low), float(high)) == pytest.approx((expected.low, expected.high))


def test_no_error_in_ten_still_allows_for_three():
    low, high = clopper_pearson([0, 0], [10, 1000])
    assert low.tolist() == [0, 0]
    assert high == pytest.approx([0.3085, 0.003682], abs=1e-4)


def test_counted_rates_have_an_interval_each():
    scores, _ = made()
    rates = measure(scores, Threshold(0.5, "given", ""))
    found = error_intervals(scores, 0.5)
    assert found.keys() == {"bpcer", "apcer_pooled", "apcer:print", "apcer:replay"}
    assert found["bpcer"].value == pytest.approx(rates.bpcer)
    assert found["apcer:print"].value == pytest.approx(rates.apcer_per_attack["print"])
    for interval in found.values():
        assert interval.low < interval.value < interval.high


def test_the_bootstrap_is_the_measure_of_drawn_subjects():
    """Every replicate by hand: the subjects drawn, their samples as often, measured by `metrics.measure`."""
    scores, subject = made(n=120, subjects=12)
    names = np.unique(subject)
    draws = np.random.default_rng(3).multinomial(len(names), np.full(len(names), 1 / len(names)), 40)
    by_hand = []
    for draw in draws:
        rows = np.concatenate([np.tile(np.flatnonzero(subject == n), k) for n, k in zip(names, draw, strict=True) if k])
        again = Scores.of("again", scores.score[rows], scores.label[rows], scores.attack[rows])
        by_hand.append(measure(again, Threshold(0.5, "given", "")))
    found = bootstrap(scores, 0.5, subject, replicates=40, seed=3)
    for name, interval in found.items():
        values = [getattr(m, name) for m in by_hand]
        assert (interval.low, interval.high) == pytest.approx(np.quantile(values, [0.025, 0.975])), name
        assert interval.value == pytest.approx(getattr(measure(scores, Threshold(0.5, "given", "")), name)), name
        assert interval.replicates == 40


def test_few_people_seen_often_widen_the_bootstrap():
    scores, subject = made(n=400, subjects=40)
    rng = np.random.default_rng(1)
    shift = dict(zip(np.unique(subject), rng.normal(0, 0.2, 40), strict=True))
    moved = scores.score + [shift[s] for s in subject]  # who one is matters as much as what one shows
    shifted = Scores.of("test", moved, scores.label, scores.attack)
    alone = bootstrap(shifted, 0.5, np.arange(400).astype(str))
    together = bootstrap(shifted, 0.5, subject)
    assert together["bpcer"].high - together["bpcer"].low > 1.25 * (alone["bpcer"].high - alone["bpcer"].low)


def test_blocks_change_nothing(monkeypatch):
    scores, subject = made()
    whole = bootstrap(scores, 0.5, subject, replicates=50)
    monkeypatch.setattr("training.intervals._CELLS", 300 * 7)
    assert bootstrap(scores, 0.5, subject, replicates=50) == whole


def test_too_few_people_are_no_interval():
    scores = Scores.of("test", [0.9, 0.1, 0.2], [0, 1, 1], ["", "print", "mask"])
    with pytest.raises(TrainingError, match=r"too few subjects"):
        bootstrap(scores, 0.5, ["a", "b", "c"])
    with pytest.raises(TrainingError, match="3 scores, 2 clusters"):
        bootstrap(scores, 0.5, ["a", "b"])
