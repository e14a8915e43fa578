"""What an evaluation says beyond its rates: whole videos, groups, media without a score, thresholds by name."""

import json
from pathlib import Path

import numpy as np
import pytest

from storage.config import StoreConfig
from storage.schema import Sample
from storage.snapshot import Store
from storage.writer import shard_writer
from tests.fixtures.balls import SIZE, face, row
from training.checkpoint import load_json, save_json
from training.errors import TrainingError
from training.evaluate import evaluate, read_scores

SUBJECTS, FRAMES = 10, 3


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Ten new subjects, a live video, a print and a replay each; one picture more of which no face was found."""
    folder = tmp_path_factory.mktemp("videos") / "store"
    with shard_writer(str(folder), "only", StoreConfig(), {}) as writer:
        for person in range(SUBJECTS):
            for attack in ("", "print", "replay"):
                for frame in range(FRAMES):
                    rng = np.random.default_rng([7, person, frame])
                    sample = face(rng, attack=attack)
                    columns = row(0, split="test", subject=f"v{person}", attack=attack) | {
                        "path": f"{person}/{attack or 'live'}.mp4",
                        "frame": frame,
                        "extra": json.dumps({"device": ["phone", "webcam"][person % 2]}),
                    }
                    writer.write([Sample(sample.image, sample.depth, columns)])
        reject = {"dataset": "balls", "path": "x.png", "frame": -1, "split": "test", "label": 1, "attack": "print"}
        rest = {"reason": "no-face", "detail": "none", "quality": None, "source_size": 1, "source_mtime_ns": 1}
        writer.reject({**reject, **rest})
        writer.reject({**reject, **rest, "path": "y.png", "split": "train"})
    Store(str(folder)).commit([writer.info], parent=None, config={"size": SIZE}, lineage={})
    return folder


@pytest.fixture(scope="module")
def judged(videos, trained, tmp_path_factory):
    return evaluate(str(videos), trained.model, tmp_path_factory.mktemp("judged"))


def test_frames_are_judged_and_whole_videos_too(judged):
    assert judged.samples.metrics.n_live == SUBJECTS * FRAMES
    assert judged.presentations.metrics.n_live == SUBJECTS
    assert judged.presentations.metrics.n_per_attack == {"print": SUBJECTS, "replay": SUBJECTS}
    assert judged.presentations.metrics.threshold == judged.metrics.threshold
    assert judged.metrics == judged.samples.metrics


def test_pictures_have_no_level_of_their_own(trained):
    assert trained.evaluation.presentations is None


def test_every_rate_has_its_interval(judged):
    samples = judged.samples
    for name, interval in {**samples.intervals, **samples.bootstrap}.items():
        assert 0 <= interval.low <= interval.value <= interval.high <= 1, name
    assert samples.bootstrap["acer"].value == pytest.approx(judged.metrics.acer)
    assert samples.bootstrap["auc"].value == pytest.approx(judged.metrics.auc)
    assert samples.bootstrap["eer"].value == pytest.approx(judged.metrics.eer)
    assert samples.bootstrap_note == ""


def test_few_subjects_have_no_bootstrap_and_it_is_said(trained):
    samples = trained.evaluation.samples
    assert samples.bootstrap == {}
    assert samples.bootstrap_note.startswith("4 subjects are too few")
    assert samples.intervals["bpcer"].high > samples.intervals["bpcer"].value


def test_groups_come_from_columns_and_from_extra(judged):
    assert {g.column for g in judged.groups} == {"attack", "device"}
    phone = next(g for g in judged.groups if g.value == "phone")
    assert (phone.n_live, phone.n_spoof) == (5 * FRAMES, 10 * FRAMES)


def test_media_without_a_score_count_in_their_split_only(judged):
    kinds = {k.kind: k for k in judged.non_response}
    assert (kinds["print"].unscored, kinds["print"].presentations) == (1, SUBJECTS + 1)
    assert kinds["live"].unscored == kinds["replay"].unscored == 0


def test_a_threshold_is_chosen_by_the_name_that_the_model_has_for_it(videos, trained, tmp_path, judged):
    card = load_json(trained.model / "model.json")
    strict = evaluate(str(videos), trained.model, tmp_path / "a", threshold="apcer1")
    assert strict.metrics.threshold == card["thresholds"]["apcer1"]["value"]
    assert (strict.metrics.threshold_rule, strict.threshold) == ("apcer", "apcer1")
    assert strict.oracle.threshold == judged.oracle.threshold
    with pytest.raises(TrainingError, match="no threshold 'apcer2'; there are apcer1, apcer10"):
        evaluate(str(videos), trained.model, tmp_path / "b", threshold="apcer2")
    with pytest.raises(TrainingError, match="'hair'"):
        evaluate(str(videos), trained.model, tmp_path / "c", groups=["hair"])
    assert not (tmp_path / "c").exists()


def test_subjects_that_were_trained_on_stay_named_in_the_result(trained, tmp_path):
    assert trained.evaluation.seen_subjects == []
    got = evaluate(str(trained.store), trained.model, tmp_path, split="train", seen_subjects=True)
    assert got.seen_subjects == [f"balls/s{i}" for i in range(10)]


def test_all_of_it_is_json(judged, tmp_path):
    save_json(tmp_path / "e.json", judged.to_json())
    assert load_json(tmp_path / "e.json")["presentations"]["metrics"]["positive_class"] == "live"
    assert len(read_scores(Path(judged.scores)).score) == SUBJECTS * 3 * FRAMES
