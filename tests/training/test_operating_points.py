"""Points of the error curve and thresholds for a target rate: bob.measure's, and the best of all thresholds."""

import numpy as np
import pytest

from training.metrics import (
    Scores,
    accepted,
    apcer_threshold,
    bpcer_threshold,
    dev_thresholds,
    equal_error_rate,
    f1,
    measure,
    operating_points,
    oracle_threshold,
    thresholds_between,
)

# printed by bob.measure 6.1.1 (numpy 1.26) for the scores of `made(seed)`: eer, min_hter_threshold and f_score with
# farfrr at .55, far_threshold of each species for BPCER10, 20, 100, far_threshold and frr_threshold for TPR at FPR.
# far_threshold stops on an attack's score; live samples between it and the next attack are refused for nothing, so its
# BPCER can only be higher than the least one at the same APCER.
BOB = {
    0: {
        "eer": 0.2,
        "min_hter": 0.18055555555555555,
        "f1": 0.7647058823529413,
        "farfrr": (0.26666666666666666, 0.13333333333333333),
        "bpcer": (0.31666666666666665, 0.38333333333333336, 0.4666666666666667),
        "tpr": (0.5333333333333333, 0.2777777777777778),
    },
    1: {
        "eer": 0.1388888888888889,
        "min_hter": 0.11944444444444444,
        "f1": 0.8188976377952756,
        "farfrr": (0.16666666666666666, 0.13333333333333333),
        "bpcer": (0.21666666666666667, 0.43333333333333335, 0.8333333333333334),
        "tpr": (0.16666666666666663, 0.1333333333333333),
    },
    2: {
        "eer": 0.18055555555555555,
        "min_hter": 0.16944444444444445,
        "f1": 0.7727272727272727,
        "farfrr": (0.23333333333333334, 0.15),
        "bpcer": (0.36666666666666664, 0.43333333333333335, 0.6666666666666666),
        "tpr": (0.33333333333333337, 0.2222222222222222),
    },
}


def made(seed, name="test"):
    rng = np.random.default_rng(seed)
    live = rng.normal(0.7, 0.15, 60).round(3)  # rounding makes ties
    prints, replays = rng.normal(0.4, 0.15, 50).round(3), rng.normal(0.5, 0.12, 40).round(3)
    attack = [""] * 60 + ["print"] * 50 + ["replay"] * 40
    return Scores.of(name, np.concatenate([live, prints, replays]), np.repeat([0, 1], [60, 90]), attack)


@pytest.mark.parametrize("seed", BOB)
def test_agrees_with_bob_measure(seed):
    scores, bob = made(seed), BOB[seed]
    assert equal_error_rate(scores) == pytest.approx(bob["eer"])
    assert measure(scores, oracle_threshold(scores), oracle=True).hter == pytest.approx(bob["min_hter"])
    far, frr = float(accepted(scores.spoof, 0.55)), 1 - float(accepted(scores.live, 0.55))
    assert (far, frr) == pytest.approx(bob["farfrr"])
    assert f1(frr, far, 60 / 150) == pytest.approx(bob["f1"])
    points = operating_points(scores)
    bpcers = [p for p in points if p.rate == "BPCER"]
    assert [p.reached for p in bpcers] == pytest.approx([0.1, 0.05, 0])  # as at bob's thresholds
    assert all(p.value <= theirs + 1e-12 for p, theirs in zip(bpcers, bob["bpcer"], strict=True))
    assert bpcers[-1].value == pytest.approx(bob["bpcer"][-1])
    for positive, expected in zip(("live", "spoof"), bob["tpr"], strict=True):
        # 90 attacks and 60 live samples: at 1 % and below no error at all is allowed
        got = [p for p in points if p.rate == "TPR" and p.positive_class == positive]
        assert [p.value for p in got] == pytest.approx([expected] * 3)
        assert not any(p.resolved for p in got)


@pytest.mark.parametrize("seed", range(4))
def test_no_threshold_does_better_than_an_operating_point(seed):
    scores = made(seed)
    grid = [(measure_at(scores, t)) for t in thresholds_between(scores.score)]
    for point in operating_points(scores):
        apcer, pooled, bpcer = (np.array(column) for column in zip(*grid, strict=True))
        rate, limited = {
            ("BPCER", "live"): (-bpcer, apcer),
            ("TPR", "live"): (1 - bpcer, pooled),
            ("TPR", "spoof"): (1 - pooled, bpcer),
        }[point.rate, point.positive_class]
        assert point.reached <= point.limit + 1e-12
        assert abs(point.value) == pytest.approx(abs(rate[limited <= point.limit + 1e-12].max()))


def measure_at(scores, t):
    species = [(scores.species(a) >= t).mean() for a in scores.attacks]
    return max(species), (scores.spoof >= t).mean(), (scores.live < t).mean()


def test_a_species_too_small_for_the_limit_is_said_to_be():
    points = {(p.rate, p.positive_class, p.limit): p for p in operating_points(made(0))}
    assert points["BPCER", "live", 0.05].resolved  # 40 replays: one is 2.5 %
    assert not points["BPCER", "live", 0.01].resolved
    assert points["BPCER", "live", 0.01].reached == 0


@pytest.mark.parametrize("limit", [0.1, 0.05, 0.01])
def test_thresholds_for_a_target_keep_it_and_are_the_last_that_do(limit):
    dev = made(5, "dev")
    for rule, threshold, rate in (
        ("bpcer", bpcer_threshold(dev, limit), lambda t: (dev.live < t).mean()),
        ("apcer", apcer_threshold(dev, limit), lambda t: measure_at(dev, t)[0]),
    ):
        assert (threshold.rule, threshold.limit, threshold.source) == (rule, limit, "dev")
        assert rate(threshold.value) <= limit
        grid = thresholds_between(dev.score)
        beyond = grid[grid > threshold.value][:1] if rule == "bpcer" else grid[grid < threshold.value][-1:]
        assert rate(beyond[0]) > limit


def test_rates_that_are_whole_multiples_of_the_limit_are_within_it():
    # 1 - 0.9 is above 0.1 in floating point; one of ten is 10 % all the same
    scores = Scores.of("dev", [*np.arange(10) / 10, 0.55, 0.05], [0] * 10 + [1, 1], [""] * 10 + ["print"] * 2)
    threshold = bpcer_threshold(scores, 0.1)
    assert (scores.live < threshold.value).sum() == 1


def test_a_model_carries_its_thresholds_by_name():
    named = dev_thresholds(made(0, "dev"))
    assert list(named) == ["eer", "bpcer10", "bpcer5", "bpcer1", "apcer10", "apcer5", "apcer1"]
    values = [named[name].value for name in ("bpcer1", "bpcer5", "bpcer10")]
    assert values == sorted(values)  # the more live samples may be refused, the stricter
    assert len({t.digest for t in named.values()}) == 1
