"""Scores of frames become a decision: when there is one, and what it stands for."""

import numpy as np
import pytest
from pydantic import ValidationError

from flows.live.fusion import Fusion, FusionConfig


def test_a_mean_waits_for_enough_frames_and_keeps_the_last_n():
    fusion = Fusion(FusionConfig(n=4, least=2))
    assert [fusion.add(s) for s in (0.0, 1.0, 1.0, 1.0, 1.0)] == [None, 0.5, pytest.approx(2 / 3), 0.75, 1.0]


def test_k_of_n_reaches_a_threshold_exactly_if_k_frames_do():
    rng = np.random.default_rng(0)
    fusion, seen = Fusion(FusionConfig(how="k-of-n", n=7, k=5)), []
    for score in rng.random(200).tolist():
        seen.append(score)
        fused = fusion.add(score)
        for threshold in (0.2, 0.5):
            live = sum(s >= threshold for s in seen[-7:]) >= 5
            assert (fused is not None and fused >= threshold) == live


def test_a_few_frames_without_a_score_change_nothing_and_many_forget():
    fusion = Fusion(FusionConfig(n=3, least=1))
    fusion.add(1.0)
    assert [fusion.add(None) for _ in range(2)] == [None, None]
    assert fusion.add(0.0) == 0.5
    for _ in range(3):
        fusion.add(None)
    assert fusion.add(0.0) == 0.0


@pytest.mark.parametrize("wrong", [{"how": "k-of-n", "n": 5, "k": 6}, {"n": 3, "least": 4}, {"n": 0}, {"kk": 1}])
def test_settings_that_cannot_be_met_are_refused(wrong):
    with pytest.raises(ValidationError):
        FusionConfig(**wrong)
