"""A video file keeps the times it was given, and is whole or not there."""

import av
import numpy as np
import pytest

from tasks.errors import BuildError
from tasks.write_video import write_video


def picture(value: int) -> np.ndarray:
    return np.full((61, 81, 3), value, np.uint8)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_frames_come_back_at_their_times(tmp_path, name):
    times = [0, 0.1, 0.2, 0.5, 0.533, 1.0]  # a camera whose frames were partly dropped
    with write_video(tmp_path / name, 30) as write:
        for seconds in times:
            write(picture(round(200 * seconds)), seconds)
    with av.open(str(tmp_path / name)) as container:
        frames = list(container.decode(video=0))
    assert [f.time for f in frames] == pytest.approx(times, abs=1e-3)
    assert [f.to_ndarray(format="rgb24").mean() for f in frames] == pytest.approx([200 * t for t in times], abs=3)
    assert {(f.width, f.height) for f in frames} == {(80, 60)}


def test_after_an_exception_or_without_a_frame_nothing_is_left(tmp_path):
    def stopped() -> None:
        with write_video(tmp_path / "a.mp4", 30) as write:
            write(picture(1), 0)
            raise KeyError

    with pytest.raises(KeyError):
        stopped()
    assert not list(tmp_path.iterdir())
    with write_video(tmp_path / "a.mp4", 30) as write:
        assert callable(write), "and is not called"
    assert not list(tmp_path.iterdir())


def test_a_name_or_place_that_will_not_do_is_said(tmp_path):
    for path, said in ((tmp_path / "a.doc", "expected one of .mp4"), (tmp_path / "x" / "a.mp4", "No such file")):
        with pytest.raises(BuildError, match=said), write_video(path, 30):
            pass
