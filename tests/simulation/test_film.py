"""The film that a camera stream is tried on: its acts, and that it goes on from frame to frame."""

from itertools import islice, pairwise

import av
import numpy as np
import pytest

from simulation.film import AWAY, film, simulate_film
from simulation.packaged import packaged_photographs
from tasks.detect import DetectConfig
from tasks.detectors import load_detector
from tasks.errors import BuildError

RATE = 4


@pytest.fixture(scope="module")
def frames():
    return list(film(packaged_photographs()[0], seconds=2, rate=RATE, seed=3))


def test_a_person_then_a_print_then_a_screen_and_nobody_between(frames):
    assert [f.act for f in frames] == ["live"] * 8 + ["empty"] * 2 + ["print"] * 8 + ["empty"] * 2 + ["replay"] * 8
    found = load_detector(DetectConfig())([f.image for f in frames])
    assert [len(faces) == 0 for faces in found] == [f.act == "empty" for f in frames]


def test_the_live_head_turns_away_once(frames):
    yaws = [abs(f.yaw) for f in frames if f.act == "live"]
    assert AWAY * 0.6 < max(yaws) <= AWAY + 1
    assert max(yaws[:4]) < 15


def test_within_an_act_light_and_medium_stay_and_only_noise_and_motion_change(frames):
    for one, other in pairwise(f for f in frames if f.act == "print"):
        difference = np.abs(one.image.astype(int) - other.image)
        assert np.median(difference) < 6  # the same light, the same sheet
        assert (difference[:40] > 0).mean() > 0.3  # but the wall behind it is never twice the same noise


def test_the_same_seed_films_the_same(frames):
    again = film(packaged_photographs()[0], seconds=2, rate=RATE, seed=3)
    assert all((a.image == b.image).all() for a, b in islice(zip(frames, again, strict=False), 3))


def test_a_film_is_written_as_video_or_as_a_webcams_mjpeg(tmp_path):
    for name, codec in (("film.mp4", "h264"), ("film.mjpeg", "mjpeg")):
        acts = simulate_film(tmp_path / name, seconds=0.5, rate=2, seed=0)
        assert acts == ["live", "empty", "print", "empty", "replay"]
        with av.open(str(tmp_path / name)) as container:
            assert container.streams.video[0].codec_context.name == codec
            assert sum(1 for _ in container.decode(video=0)) == 5
    assert {p.name for p in tmp_path.iterdir()} == {"film.mp4", "film.mjpeg"}


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(BuildError, match=r"gone/film\.mp4: cannot write a video there"):
        simulate_film(tmp_path / "gone" / "film.mp4", seconds=1, rate=1, seed=0)
    with pytest.raises(BuildError, match=r"expected one of \.mp4"):
        simulate_film(tmp_path / "film.doc", seconds=1, rate=1, seed=0)
