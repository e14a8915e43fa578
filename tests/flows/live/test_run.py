"""The whole stream: what the command prints and films, without a screen and without torch."""

import json
import subprocess
import sys
from dataclasses import replace

import av
import numpy as np
import pytest

from flows.live.overlay import WORDS, draw
from flows.live.run import run
from flows.live.watch import STATES, Watch
from tasks.errors import BuildError
from tests.fixtures.photos import ASTRONAUT, photo
from tests.flows.test_cli import call


def test_every_frame_of_a_file_is_told_and_filmed_at_its_time(predictor, film, tmp_path):
    told = []
    tally = run(
        str(film[0]), Watch(predictor), every_frame=True, out=tmp_path / "seen.mkv", tell=lambda *t: told.append(t)
    )
    assert (tally.seen, tally.dropped) == (len(film[1]), 0)
    assert sum(tally.states.values()) == len(told) == tally.seen
    assert [shot.number for shot, *_ in told] == list(range(tally.seen))
    with av.open(str(tmp_path / "seen.mkv")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([shot.seconds for shot, *_ in told], abs=2e-3)


def test_a_watcher_that_is_too_slow_drops_frames_and_stays_up_to_date(predictor, film):
    class Slow(Watch):
        def see(self, image):
            import time

            time.sleep(0.35)  # three frames and a half
            return super().see(image)

    numbers = []
    tally = run(str(film[0]), Slow(predictor), tell=lambda shot, *_: numbers.append(shot.number))
    assert tally.seen + tally.dropped == len(film[1])
    assert tally.dropped > tally.seen
    assert numbers[-1] == len(film[1]) - 1  # it ends with the newest
    # a queue would be 20 frames, 2 s, late by now; here it is the wait for one frame and the judging of one
    assert np.median(tally.latency) < 1200


def test_the_overlay_says_the_state_in_its_colour_and_leaves_the_frame_alone(predictor):
    image = photo(ASTRONAUT)
    before = image.copy()
    sight = Watch(predictor).see(image)
    drawn = draw(image, sight, "30 frames/s")
    assert (image == before).all()
    assert tuple(drawn[1, 1]) == WORDS[sight.state][1]
    x1, y1 = (round(float(v)) for v in sight.frame.face.box[:2])
    assert tuple(drawn[y1 + 1, x1 + 20]) == WORDS[sight.state][1]
    assert set(WORDS) == set(STATES)


def test_a_methods_map_is_shown_in_the_corner(predictor):
    image = photo(ASTRONAUT)
    sight = Watch(predictor).see(image)
    seen = np.zeros((14, 14), np.float32)
    seen[:, 7:] = 1
    drawn = draw(image, replace(sight, frame=replace(sight.frame, map=seen)))
    side = image.shape[0] // 4
    corner = drawn[-side:, -side:]
    assert corner[:, : side // 3].max() == 0
    assert corner[:, -side // 3 :].min() == 255


def test_the_command_answers_in_json_and_never_loads_torch(shipped, film, tmp_path):
    code = (
        "import sys; from flows.cli import main\n"
        f"sys.argv = ['pseudodepth', 'live', {str(film[0])!r}, '--model', {str(shipped)!r}, '--no-show', '--json',\n"
        f"    '-o', {str(tmp_path / 'seen.mp4')!r}, '--every-frame', '--fusion', 'k-of-n', '--k', '3']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'torch', 'prefect', 'dask', 'numba', 'onnx', 'cv2', 'tkinter'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *lines, loaded = done.stdout.splitlines()
    assert loaded == "[]"
    found = [json.loads(line) for line in lines]
    assert [line["frame"] for line in found] == list(range(len(film[1])))
    assert {line["state"] for line in found} >= {"no-face", "wait", "look-at-the-camera"}
    assert all((line["score"] is not None) == (line["state"] in ("live", "spoof")) for line in found)
    assert {line["positive_class"] for line in found} == {"live"}
    assert f"{len(film[1])} frames in" in done.stderr
    assert (tmp_path / "seen.mp4").stat().st_size > 1000


def test_mistakes_of_the_command_are_one_line(shipped, film, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY", raising=False)
    live = ["live", film[0], "--model", shipped]
    for words, said in (
        ([*live], "--no-show"),  # no display, or no tkinter
        (["live", tmp_path / "x.mp4", "--model", shipped, "--no-show"], "no such webcam, file, folder or URL"),
        ([*live, "--no-show", "-o", tmp_path / "x.gif"], "expected one of .mp4"),
        ([*live, "--no-show", "--fusion", "k-of-n", "--n", "3", "--k", "4"], "k must not be larger"),
        ([*live, "--no-show", "--threshold", "x"], "there are bpcer5, eer"),
        (["film", "-o", tmp_path / "x.gif"], "expected one of .mp4"),
    ):
        assert call(monkeypatch, *words) == 2, words
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


def test_a_source_that_breaks_keeps_no_half_film(predictor, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(BuildError, match="cannot be opened"):
        run(str(tmp_path / "bad.mp4"), Watch(predictor), out=tmp_path / "seen.mp4")
    assert {p.name for p in tmp_path.iterdir()} == {"bad.mp4"}
