"""A stream's states in their order; a face that is followed instead of detected; nobody inherits another's scores."""

from itertools import groupby

import numpy as np
import pytest
from PIL import Image

from flows.live.fusion import FusionConfig
from flows.live.patch import Patch
from flows.live.watch import Watch, WatchConfig, turn_of
from tasks.follow import overlap
from tasks.read import ReadConfig, read_frames
from tests.fixtures.photos import ASTRONAUT, GRACE_HOPPER, photo


@pytest.fixture(scope="module")
def frames(film):
    return [image for _, image in read_frames(film[0], "video", ReadConfig(frames="all"))]


@pytest.fixture(scope="module")
def sights(predictor, frames):
    watch = Watch(predictor)
    return [watch.see(frame) for frame in frames]


def test_each_act_of_the_film_has_its_states(sights, film):
    acts = {act: [] for act in film[1]}
    for sight, act in zip(sights, film[1], strict=True):
        acts[act].append(sight.state)
    assert set(acts["empty"]) == {"no-face"}
    live = [state for state, _ in groupby(acts["live"])]
    assert live[0] == "wait"
    assert live.count("look-at-the-camera") == 1
    assert live.index("look-at-the-camera") >= 2  # first it was decided
    assert "look-at-the-camera" not in acts["print"] + acts["replay"]
    assert acts["print"][:4] == ["wait"] * 4  # whoever comes after an empty place has no past
    assert "wait" not in acts["print"][4:]


def test_a_decision_is_that_of_the_fused_scores_of_this_face(sights, predictor, film):
    start = film[1].index("print")
    scores = [s.frame.score for s in sights[start : start + 20]]
    for i in range(4, 20):
        sight = sights[start + i]
        assert sight.score == pytest.approx(np.mean(scores[max(0, i - 14) : i + 1]))
        assert sight.state == predictor.decide(sight.score)


def test_between_detections_the_face_is_followed_to_where_a_detection_finds_it(sights, predictor, frames):
    followed = [i for i, sight in enumerate(sights) if not sight.detected]
    faces = [s for s in sights if s.frame.face]
    assert len(followed) > 0.6 * len(faces)
    detected = predictor.find([frames[i] for i in followed])
    overlaps = [overlap(sights[i].frame.face.box, face.box) for i, face in zip(followed, detected, strict=True)]
    assert np.mean(overlaps) > 0.95
    assert min(overlaps) > 0.75


def test_every_frame_is_detected_where_that_is_asked(predictor, frames):
    watch = Watch(predictor, WatchConfig(every=1))
    assert all(watch.see(frame).detected for frame in frames[:4])


def test_a_patch_is_found_where_it_was_moved_to():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)
    wall = np.asarray(Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC))
    box = np.array([250, 150, 370, 300], np.float32)
    patch = Patch(wall, box)
    assert patch.follow(wall)[1] == pytest.approx(1, abs=1e-5)
    for x, y in ((11, -7), (25, 20), (0, 0)):
        found, alike = patch.follow(np.roll(wall, (y, x), (0, 1)))
        assert found - box == pytest.approx([x, y, x, y], abs=1.0)
        assert alike > 0.9
    assert patch.follow(rng.integers(0, 256, wall.shape).astype(np.uint8))[1] < 0.5


def test_something_held_in_front_of_the_face_starts_anew(predictor):
    one = np.asarray(Image.fromarray(photo(ASTRONAUT)).resize((480, 480)))
    watch = Watch(predictor, WatchConfig(every=30, fusion=FusionConfig(least=3)))
    assert [watch.see(one).state for _ in range(3)][-1] in ("live", "spoof")
    other = np.asarray(Image.fromarray(photo(GRACE_HOPPER)).resize((480, 480)))
    sight = watch.see(other)
    assert sight.detected
    assert (sight.state, sight.frames) == ("wait", 1)


def test_a_face_elsewhere_has_no_part_in_the_scores_of_the_first(predictor):
    portrait = photo(ASTRONAUT)
    left, right = np.zeros((2, len(portrait), 2 * portrait.shape[1], 3), np.uint8)
    left[:, : portrait.shape[1]] = right[:, portrait.shape[1] :] = portrait
    watch = Watch(predictor, WatchConfig(every=1, fusion=FusionConfig(least=1)))
    assert [watch.see(picture).frames for picture in (left, left, right, right)] == [1, 2, 1, 2]


def test_a_second_of_nothing_between_two_people_keeps_nothing(predictor):
    image = photo(ASTRONAUT)
    watch = Watch(predictor, WatchConfig(fusion=FusionConfig(least=1)))
    assert watch.see(image).frames == 1
    assert watch.see(np.zeros_like(image)).state == "no-face"
    assert watch.see(image).frames == 1


def test_a_turn_is_measured_along_the_eyes():
    frontal = np.array([[0, 0], [10, 0], [5, 6], [2, 12], [8, 12]], np.float32)
    assert turn_of(frontal) == 0
    assert turn_of(frontal + np.array([[0, 0], [0, 0], [3, 0], [0, 0], [0, 0]])) == pytest.approx(0.3)
    rolled = frontal[:, ::-1] * np.array([1, -1])  # a quarter turn leaves it what it was
    assert turn_of(rolled) == 0
    assert turn_of(np.full((5, 2), np.nan, np.float32)) is None


def test_too_small_and_blurred_are_said(shipped, predictor):
    from flows.predictor import Predictor

    small = np.asarray(Image.fromarray(photo(ASTRONAUT)).resize((96, 96)))
    assert Watch(Predictor(shipped, min_face=60)).see(small).state == "too-small"
    assert Watch(Predictor(shipped, min_sharpness=1e9)).see(photo(ASTRONAUT)).state == "blurred"
