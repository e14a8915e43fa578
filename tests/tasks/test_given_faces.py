"""What a dataset says of its videos' frames, on the way through a shard: its faces, and which way up they are."""

import json
from pathlib import Path

import numpy as np
import pytest

from storage.reader import open_shard
from tasks.config import BuildConfig, detector_of
from tasks.plan import plan_build
from tasks.shard import build_shard
from tasks.sources import scan
from tasks.upright import choose_turn, turned
from tests.fixtures.photos import ASTRONAUT, GRACE_HOPPER, photo
from tests.fixtures.trees import picture, video

CONFIG = BuildConfig.model_validate({"read": {"n": 2}})
EILEEN = photo(ASTRONAUT)[:400, 100:400]  # her face is at 65..185, 75..245
TWO = np.concatenate([EILEEN, EILEEN], axis=1)


def built(root: Path, store: Path, source: str, config: BuildConfig = CONFIG) -> tuple[list[dict], list[tuple]]:
    [plan] = plan_build([scan(source, root)], None, config).shards
    info, _ = build_shard(plan, config, store)
    shard = open_shard(store / info.file)
    return shard.columns().to_pylist(), [info.rows, info.rejects]


def siw(root: Path, frames: list[np.ndarray], faces: str) -> Path:
    clip = root / "Train/spoof/001/001-1-2-1-1.mov"
    video(clip, frames, codec="libx264")
    clip.with_suffix(".face").write_text(faces)
    return root


def test_the_datasets_face_in_each_frame_says_whose_face_is_meant(tmp_path: Path) -> None:
    left, right = "65 75 185 245\n", "365 75 485 245\n"
    rows, _ = built(siw(tmp_path, [TWO] * 4, left + left + right + right), tmp_path / "store", "siw")
    assert [(row["frame"], row["box"][0] > 300) for row in rows] == [(1, False), (3, True)]
    assert all(row["box_source"] == "retinaface" for row in rows)


def test_the_datasets_face_is_the_crop_where_nothing_is_detected(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"detect": CONFIG.detect.model_copy(update={"detector": "given"})})
    frames = [picture(1, 300, 200)] * 4
    rows, _ = built(
        siw(tmp_path, frames, "0 0 0 0\n10 20 110 120\n0 0 0 0\n30 40 130 140\n"), tmp_path / "s", "siw", config
    )
    assert [(row["box"], row["box_source"]) for row in rows] == [
        ([10, 20, 110, 120], "given"),
        ([30, 40, 130, 140], "given"),
    ]


def test_a_list_of_faces_that_cannot_be_read_ends_its_video_alone(tmp_path: Path) -> None:
    siw(tmp_path, [TWO] * 4, "no faces here")
    video(tmp_path / "Train/spoof/001/001-1-2-1-2.mov", [EILEEN] * 2, codec="libx264")
    rows, counts = built(tmp_path, tmp_path / "store", "siw")
    assert {row["path"] for row in rows} == {"Train/spoof/001/001-1-2-1-2.mov"}
    assert counts[1] == 1


@pytest.mark.parametrize("lost", [0, 90, 180, 270])
def test_a_turn_that_got_lost_is_found_by_the_face(lost: int) -> None:
    detector = detector_of(CONFIG.detect)
    assert detector is not None
    for path in (ASTRONAUT, GRACE_HOPPER):
        assert choose_turn(turned(photo(path), -lost), (0, 90, 180, 270), detector) == lost
    assert choose_turn(picture(1, 300, 200), (0, 180), detector) is None


def test_a_video_that_is_known_to_be_upside_down_in_some_copies_is_upright_in_the_store(tmp_path: Path) -> None:
    for client, turn in ((3, 180), (5, 0)):
        clip = tmp_path / f"scene01/real/real_client{client:03}_android_SD_scene01.mp4"
        video(clip, [turned(EILEEN, turn)] * 3, codec="libx264")
        clip.with_suffix(".face").write_text("".join(f"{n}, 65, 75, 185, 245, 0, 0, 0, 0\n" for n in range(3)))
    (tmp_path / "train_sub_list.txt").write_text("03\r\n05")
    (tmp_path / "test_sub_list.txt").write_text("01")
    rows, _ = built(tmp_path, tmp_path / "store", "msu-mfsd")
    assert [json.loads(row["extra"])["turned"] for row in rows] == [180, 180, 0, 0]
    for row in rows:
        assert row["points"][1] < row["points"][7], "eyes above the mouth"
        assert abs(row["box"][0] - 65) < 20
