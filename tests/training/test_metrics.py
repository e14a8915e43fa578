"""Rates by hand, rates by the paper, and a threshold that never sees the samples it is judged on."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from training.errors import TrainingError
from training.metrics import (
    Scores,
    Threshold,
    auc,
    eer_threshold,
    equal_error_rate,
    error_curve,
    f1,
    measure,
    oracle_threshold,
    thresholds_between,
)

AT_HALF = Threshold(0.5, "given", "by hand")


def scores(live, attacks, name="test"):
    spoof = [(s, a) for a, values in attacks.items() for s in values]
    return Scores.of(
        name,
        [*live, *(s for s, _ in spoof)],
        [0] * len(live) + [1] * len(spoof),
        [""] * len(live) + [a for _, a in spoof],
    )


def random_scores(seed, n=400, name="test"):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    value = np.clip(rng.normal(0.6 - 0.25 * label, 0.2), 0, 1).round(2)  # rounding makes ties
    return Scores.of(name, value, label, np.where(label == 1, rng.choice(["print", "replay"], n), ""))


def test_rates_of_a_hand_made_set():
    made = scores([0.9, 0.8, 0.7, 0.4], {"print": [0.1, 0.2, 0.3, 0.6, 0.1], "mask": [0.9, 0.2]})
    got = measure(made, AT_HALF)
    assert got.apcer_per_attack == {"mask": 0.5, "print": pytest.approx(0.2)}
    assert got.n_per_attack == {"mask": 2, "print": 5}
    assert (got.apcer, got.apcer_attack) == (0.5, "mask")  # the worst species, not the pool
    assert got.apcer_pooled == pytest.approx(2 / 7)
    assert got.bpcer == 0.25
    assert got.acer == pytest.approx(0.375)
    assert got.hter == pytest.approx((2 / 7 + 0.25) / 2)
    assert got.accuracy == pytest.approx(8 / 11)
    assert got.f1 == pytest.approx(2 * 3 / (2 * 3 + 2 + 1))
    assert (got.n_live, got.n_spoof, got.positive_class) == (4, 7, "live")


def test_worst_species_is_not_hidden_by_a_larger_good_one():
    made = scores([0.9] * 10, {"print": [0.1] * 99 + [0.9], "mask": [0.9] * 29 + [0.1] * 71})
    got = measure(made, AT_HALF)
    assert got.apcer == pytest.approx(0.29)
    assert got.apcer_pooled == pytest.approx(0.15)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn(seed):
    made = random_scores(seed)
    got = measure(made, AT_HALF)
    live, accepted = made.label == 0, made.score >= 0.5
    assert got.f1 == pytest.approx(f1_score(live, accepted))
    assert got.accuracy == pytest.approx(accuracy_score(live, accepted))
    assert got.auc == pytest.approx(roc_auc_score(live, made.score))


# tables 1-4 of the paper: BPCER, APCER, F1, AUC is not needed
@pytest.mark.parametrize(
    ("bpcer", "apcer", "printed"),
    [
        (0.0958, 0.0837, 0.9097),  # intra, ImageNet
        (0.0618, 0.0653, 0.9366),  # intra, PDGAN
        (0.1008, 0.1303, 0.8862),  # intra, ImageNet multi-head
        (0.1036, 0.0743, 0.9097),  # intra, PDGAN multi-head
        (0.4229, 0.2360, 0.6366),  # inter, ImageNet
        (0.4067, 0.2712, 0.6364),  # inter, ImageNet multi-head
        (0.3987, 0.2469, 0.6507),  # inter, PDGAN
        (0.4280, 0.2577, 0.6252),  # inter, PDGAN multi-head
    ],
)
def test_the_papers_f1_follows_from_its_rates_at_one_to_one(bpcer, apcer, printed):
    assert f1(bpcer, apcer, 0.5) == pytest.approx(printed, abs=1.5e-4)
    assert abs(f1(bpcer, apcer, 0.297) - printed) > 0.01  # and not at the ratio of the test split


def test_a_score_at_the_threshold_is_accepted():
    got = measure(scores([0.5, 0.4], {"print": [0.5, 0.4]}), AT_HALF)
    assert (got.bpcer, got.apcer) == (0.5, 0.5)


def test_turning_scores_round_swaps_the_two_errors():
    made = random_scores(3)
    turned = dataclasses.replace(made, score=1 - made.score)
    # >= on one side is > on the other, so the threshold stands between scores
    before, after = (measure(s, Threshold(t, "given", "")) for s, t in ((made, 0.555), (turned, 0.445)))
    assert after.bpcer == pytest.approx(1 - before.bpcer)
    assert after.apcer_pooled == pytest.approx(1 - before.apcer_pooled)
    assert after.auc == pytest.approx(1 - before.auc)
    relabelled = Scores.of("test", turned.score, 1 - made.label)
    swapped = measure(relabelled, Threshold(0.445, "given", ""))
    assert (swapped.bpcer, swapped.apcer_pooled) == (pytest.approx(before.apcer_pooled), pytest.approx(before.bpcer))


def test_eer_threshold_stands_in_the_middle_of_the_gap():
    made = scores([0.9, 0.8], {"print": [0.2, 0.4]}, "dev")
    assert eer_threshold(made).value == pytest.approx(0.6)
    assert equal_error_rate(made) == 0


def test_eer_with_ties():
    # half of each class scores .5: no threshold separates them, both errors are .5 or one is 1 and the other 0
    made = scores([0.5, 0.5, 0.9, 0.9], {"print": [0.5, 0.5, 0.1, 0.1]})
    got = eer_threshold(made)
    assert equal_error_rate(made) == pytest.approx(0.25)
    assert 0.1 < got.value <= 0.9
    same = scores([0.5] * 4, {"print": [0.5] * 4})
    assert equal_error_rate(same) == 0.5


@pytest.mark.parametrize("seed", range(4))
def test_eer_threshold_is_the_best_of_all(seed):
    made = random_scores(seed)
    t = eer_threshold(made).value
    every = np.unique(made.score)
    gaps = [abs((made.spoof >= x).mean() - (made.live < x).mean()) for x in every]
    assert abs((made.spoof >= t).mean() - (made.live < t).mean()) <= min(gaps) + 1e-12


@pytest.mark.parametrize("seed", range(4))
def test_oracle_is_never_worse_than_any_threshold(seed):
    made = random_scores(seed)
    best = measure(made, oracle_threshold(made), oracle=True)
    for t in np.linspace(0, 1, 101):
        assert best.hter <= measure(made, Threshold(float(t), "given", "")).hter + 1e-12


def test_a_threshold_is_not_judged_on_the_samples_it_came_from():
    made = random_scores(0, name="dev")
    with pytest.raises(TrainingError, match="take it from a dev set"):
        measure(made, eer_threshold(made))
    with pytest.raises(TrainingError, match="take it from a dev set"):
        measure(random_scores(1), oracle_threshold(made))  # an oracle stays one wherever it goes
    renamed = dataclasses.replace(made, name="test", score=made.score * 0.9)
    with pytest.raises(TrainingError, match="take it from a dev set"):
        measure(renamed, eer_threshold(made))  # same samples under another name
    assert measure(made, eer_threshold(made), oracle=True).threshold_source == "dev"


def test_dev_threshold_does_not_move_with_test_scores():
    dev, threshold = random_scores(0, name="dev"), eer_threshold(random_scores(0, name="dev"))
    easy, hard = random_scores(1), random_scores(2)
    assert measure(easy, threshold).threshold == measure(hard, threshold).threshold == eer_threshold(dev).value
    assert oracle_threshold(easy).value != oracle_threshold(hard).value


def test_a_class_or_species_without_samples_is_an_error_and_not_zero():
    only_live = Scores.of("test", [0.9, 0.8], [0, 0])
    with pytest.raises(TrainingError, match="no spoof samples"):
        measure(only_live, AT_HALF)
    with pytest.raises(TrainingError, match="no live samples"):
        auc(Scores.of("test", [0.9, 0.8], [1, 1]))
    with pytest.raises(TrainingError, match="attack 'mask'"):
        scores([0.9], {"print": [0.1]}).species("mask")


@pytest.mark.parametrize(
    ("score", "label", "message"),
    [
        ([0.1, np.nan], [0, 1], "not finite"),
        ([0.1, 0.2], [0, 2], "labels must be"),
        ([0.1], [0, 1], "1 scores, 2 labels"),
    ],
)
def test_nonsense_is_refused(score, label, message):
    with pytest.raises(TrainingError, match=message):
        Scores.of("test", score, label)


def test_curve_runs_from_all_accepted_to_none():
    t, apcer, bpcer = error_curve(random_scores(0))
    assert (apcer[0], bpcer[0], apcer[-1], bpcer[-1]) == (1, 0, 0, 1)
    assert (np.diff(t) > 0).all()
    assert (np.diff(apcer) <= 0).all()
    assert (np.diff(bpcer) >= 0).all()


def test_thresholds_between_neighbouring_floats_still_separate_them():
    low = 0.3
    high = np.nextafter(low, 1)
    t = thresholds_between(np.array([low, high]))
    assert [int((np.array([low, high]) >= x).sum()) for x in t] == [2, 1, 0]
