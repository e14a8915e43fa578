"""The faces that datasets ship for each frame of a video."""

from pathlib import Path

import numpy as np
import pytest

from tasks.errors import MediumError
from tasks.tracks import NEAR, parse_track, read_track

SIW = "x1 y1 x2 y2"
OULU = "frame rx ry lx ly"
REPLAY = "frame x y w h"
MSU = "frame x1 y1 x2 y2 lx ly rx ry"


def boxes(text: str, fields: str) -> dict[int, list[float]]:
    track = parse_track(text, fields, "a.face")
    return dict(zip(track.frames.tolist(), track.boxes.tolist(), strict=True))


@pytest.mark.parametrize(
    ("fields", "text", "expected"),
    [
        (SIW, "785 425 1070 710\n0 0 0 0\n790 430 1075 715\n", {0: [785, 425, 1070, 710], 2: [790, 430, 1075, 715]}),
        (SIW, "\n1 2 3 4", {1: [1, 2, 3, 4]}),  # an empty line is a frame without a face
        (REPLAY, "0 91 60 120 120\n3 92 61 119 119\n", {0: [91, 60, 211, 180], 3: [92, 61, 211, 180]}),
        (MSU, "7, 120, 80, 260, 250, 160, 130, 220, 131\n", {7: [120, 80, 260, 250]}),
        (REPLAY, "5 1 2 3 4\r\n4 1 1 1 1\r\n", {4: [1, 1, 2, 2], 5: [1, 2, 4, 6]}),
        (SIW, "", {}),
    ],
)
def test_boxes_by_frame(fields: str, text: str, expected: dict[int, list[float]]) -> None:
    assert boxes(text, fields) == expected


def test_eyes_stand_left_to_right_in_the_picture_and_give_a_box_around_the_face() -> None:
    track = parse_track("0,400,650,600,650\n1,0,0,0,0\n", OULU, "a.txt")
    assert track.frames.tolist() == [0]
    assert track.points[0, :2].tolist() == [[400, 650], [600, 650]]
    assert np.isnan(track.points[0, 2:]).all()
    assert track.boxes[0].tolist() == pytest.approx([280, 450, 720, 990])
    other = parse_track("0 1 1 9 9 600 650 400 650", MSU, "a.face")  # the left eye first
    assert other.points[0, :2].tolist() == [[400, 650], [600, 650]]


def test_the_nearest_listed_frame_serves_if_it_is_near_enough() -> None:
    track = parse_track("10 1 1 5 5\n20 2 2 5 5\n", REPLAY, "a.face")
    for frame, x in ((10, 1), (14, 1), (16, 2), (20 + NEAR, 2), (10 - 5, 1)):
        found = track.at(frame)
        assert found is not None
        assert found[0][0] == x
    assert track.at(20 + NEAR + 1) is None
    assert parse_track("", REPLAY, "a.face").at(0) is None


def test_a_file_that_holds_no_faces_is_bad_and_one_broken_line_is_not(tmp_path: Path) -> None:
    assert boxes("1 2 3 4\nx\n5 6 7 8", SIW) == {0: [1, 2, 3, 4], 2: [5, 6, 7, 8]}
    with pytest.raises(MediumError, match=r"bad-box: a.face: no line reads as `x1 y1 x2 y2`, the first is '1,2'"):
        parse_track("1,2\n3,4\n", SIW, "a.face")
    with pytest.raises(MediumError, match=r"gone.face: the faces of this video cannot be read \(No such file"):
        read_track(tmp_path, {"file": "gone.face", "fields": SIW})
    (tmp_path / "a.face").write_bytes(b"1 2 3 4\n\xff\xfe\n")
    assert read_track(tmp_path, {"file": "a.face", "fields": SIW}).frames.tolist() == [0]
