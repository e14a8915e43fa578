"""Groups, presentations and media without a score, by hand."""

import json

import numpy as np
import pyarrow as pa
import pytest

from training.breakdown import by_group, clusters, fuse, group_values, non_response, presentations
from training.errors import TrainingError
from training.metrics import Scores

ROWS = [  # score, label, attack, dataset, path, subject, extra
    (0.9, 0, "", "a", "1.mp4", "p", {"device": "phone", "attributes": ["Male"]}),
    (0.3, 0, "", "a", "1.mp4", "p", {"device": "phone", "attributes": ["Male"]}),
    (0.8, 0, "", "b", "1.mp4", "", {"device": "webcam", "attributes": []}),
    (0.7, 1, "print", "a", "2.mp4", "q", {"device": "phone"}),
    (0.2, 1, "replay", "b", "3.mp4", "q", {"device": "webcam"}),
    (0.1, 1, "replay", "b", "3.mp4", "q", {"device": "webcam"}),
]


def table():
    columns = list(zip(*ROWS, strict=True))
    return pa.table(
        {
            "label": pa.array(columns[1], pa.int8()),
            "attack": columns[2],
            "attack_detail": [""] * len(ROWS),
            "session": ["1"] * len(ROWS),
            "dataset": columns[3],
            "path": columns[4],
            "subject": columns[5],
            "extra": [json.dumps(e) for e in columns[6]],
        }
    )


def scores():
    return Scores.of("test", [r[0] for r in ROWS], [r[1] for r in ROWS], [r[2] for r in ROWS])


def test_every_column_that_groups_is_taken():
    groups = {(g.column, g.value): g for g in by_group(table(), scores(), 0.5)}
    assert {column for column, _ in groups} == {"dataset", "attack", "device", "attributes: Male"}  # one session only
    phone = groups["device", "phone"]
    assert (phone.n_live, phone.n_spoof) == (2, 1)
    assert phone.bpcer.value == 0.5
    assert phone.apcer.value == 1
    webcam = groups["dataset", "b"]
    assert (webcam.bpcer.value, webcam.apcer.value) == (0, 0)
    assert 0 < webcam.apcer.high < 1
    assert groups["attributes: Male", "yes"].apcer is None  # no attack of that group: no rate, not a rate of 0
    assert groups["attributes: Male", "no"].n_live == 1
    assert groups["attack", "print"].bpcer is None


def test_a_column_can_be_asked_for_by_name():
    assert [g.value for g in by_group(table(), scores(), 0.5, ["session"])] == ["1"]
    with pytest.raises(TrainingError, match=r"'camera'; there are attack, .*device"):
        group_values(table(), ["camera"])


def test_frames_become_videos():
    made, video = scores(), presentations(table())
    fused = fuse(made, video)
    assert fused.sample_id.tolist() == ["a|1.mp4", "a|2.mp4", "b|1.mp4", "b|3.mp4"]
    assert fused.score == pytest.approx([0.6, 0.7, 0.8, 0.15])
    assert fused.label.tolist() == [0, 1, 0, 1]
    assert fused.attack.tolist() == ["", "print", "", "replay"]
    assert fuse(made, video, "min").score == pytest.approx([0.3, 0.7, 0.8, 0.1])
    assert fuse(made, video, "max").score == pytest.approx([0.9, 0.7, 0.8, 0.2])


@pytest.mark.parametrize(("how", "by_hand"), [("mean", np.mean), ("median", np.median), ("min", np.min)])
def test_fusion_is_numpys_group_by_group(how, by_hand):
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 17, 200).astype(str)
    made = Scores.of("test", rng.uniform(size=200), (groups.astype(int) % 2))
    fused = fuse(made, groups, how)
    assert fused.score == pytest.approx([by_hand(made.score[groups == g]) for g in fused.sample_id])


def test_a_video_is_live_or_an_attack():
    with pytest.raises(TrainingError, match="v has frames of two labels"):
        fuse(scores(), np.array(["v"] * 6))


def test_who_a_row_is_of():
    assert clusters(table()).tolist() == ["p", "p", "b|1.mp4", "q", "q", "q"]


def test_media_without_a_score_are_counted_once_and_with_their_reason():
    rejects = pa.table(
        {
            "dataset": ["a", "a", "a", "b", "b"],
            "path": ["1.mp4", "9.png", "8.png", "7.png", "6.png"],
            "label": pa.array([0, 0, 0, 1, 1], pa.int8()),
            "attack": ["", "", "", "replay", "mask"],
            "reason": ["no-face", "no-face", "low-quality", "too-small", "no-face"],
        }
    )
    live, mask, prints, replay = non_response(table(), rejects)
    # 1.mp4 has other frames that gave a score; 8.png lacks only a label for training
    assert (live.kind, live.presentations, live.unscored, live.unlabelled) == ("live", 4, 1, 1)
    assert live.rate.value == pytest.approx(1 / 3)
    assert live.reasons == {"no-face": 1}
    assert (mask.kind, mask.rate.value) == ("mask", 1)  # a species of which nothing was scored is still there
    assert (prints.kind, prints.unscored) == ("print", 0)
    assert (replay.rate.value, replay.reasons) == (0.5, {"too-small": 1})
