"""The video datasets, row by row, over trees with their real names and quirks."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import BuildError
from tasks.sources import SOURCES, Scan, scan, shared_subjects
from tests.fixtures import datasets


def rows(found: Scan) -> dict[str, tuple[Any, ...]]:
    """Path -> split, subject without the dataset, label, attack, detail, session, kind."""
    names = ("split", "subject", "label", "attack", "attack_detail", "session", "kind")
    return {
        row["path"]: tuple(
            row[name].removeprefix(f"{found.dataset}/") if name == "subject" else row[name] for name in names
        )
        for row in found.media.to_pylist()
    }


def extras(found: Scan) -> dict[str, dict[str, Any]]:
    return {row["path"]: json.loads(row["extra"]) for row in found.media.to_pylist()}


def tracks(found: Scan) -> dict[str, tuple[str, str]]:
    return {
        path: (extra["track"]["file"], extra["track"]["fields"])
        for path, extra in extras(found).items()
        if "track" in extra
    }


def test_oulu_npu(tmp_path: Path) -> None:
    found = scan("oulu-npu", datasets.oulu_npu(tmp_path))
    assert rows(found) == {
        "Dev_files/2_1_35_1.avi": ("dev", "35", 0, "", "", "1", "video"),
        "Dev_files/2_3_21_5.avi": ("dev", "21", 1, "replay", "display2", "3", "video"),
        "Test_files/1_3_36_1.avi": ("test", "36", 0, "", "", "3", "video"),
        "Test_files/1_3_36_2.avi": ("test", "36", 1, "print", "print1", "3", "video"),
        "Test_files/1_3_36_4.avi": ("test", "36", 1, "replay", "display1", "3", "video"),
        "Train_files/1_1_01_1.avi": ("train", "01", 0, "", "", "1", "video"),
        "Train_files/6_2_20_3.avi": ("train", "20", 1, "print", "print2", "2", "video"),
    }
    about = {"phone": 6, "device": "phone-6", "illumination": "session-2"}
    assert extras(found)["Train_files/6_2_20_3.avi"] == about
    assert extras(found)["Train_files/1_1_01_1.avi"]["track"]["bytes"] == 28
    assert tracks(found) == {
        path: (path.replace(".avi", ".txt"), "frame rx ry lx ly")
        for path in ("Test_files/1_3_36_1.avi", "Train_files/1_1_01_1.avi")
    }
    assert found.ignored == [
        ("Protocols", "not a folder of media"),
        ("Test_files/7_3_36_1.avi", "not named like Train_files/1_1_01_1.avi"),
    ]
    assert found.layout == "OULU-NPU"
    assert shared_subjects(found.media) == {}


def test_siw(tmp_path: Path) -> None:
    found = scan("siw", datasets.siw(tmp_path))
    assert rows(found) == {
        "Test/live/153/153-2-1-1-1.m.mov": ("test", "153", 0, "", "", "1", "video"),
        "Test/live/154/154-2-1-2-1.m.mov": ("test", "154", 0, "", "", "1", "video"),
        "Test/spoof/153/153-2-2-2-1.mov": ("test", "153", 1, "print", "print-2", "1", "video"),
        "Train/live/003/003-1-1-1-1.mov": ("train", "003", 0, "", "", "1", "video"),
        "Train/spoof/003/003-1-2-1-1.mov": ("train", "003", 1, "print", "print-1", "1", "video"),
        "Train/spoof/003/003-1-3-4-2.mov": ("train", "003", 1, "replay", "replay-4", "2", "video"),
    }
    assert extras(found)["Train/spoof/003/003-1-3-4-2.mov"] == {"device": "sensor-1", "medium": 4}
    fields = "x1 y1 x2 y2"
    assert tracks(found) == {
        "Train/live/003/003-1-1-1-1.mov": ("Train/live/003/003-1-1-1-1.face", fields),
        "Test/live/153/153-2-1-1-1.m.mov": ("Test/live/153/153-2-1-1-1.m.face", fields),
        "Test/live/154/154-2-1-2-1.m.mov": ("Test/live/154/154-2-1-2-1.face", fields),
    }
    assert found.ignored == [
        ("Test/live/153/153-2-3-1-1.mov", "its name says spoof, its folder says live"),
        ("Test/live/153/154-2-1-1-1.mov", "its name says subject 154, its folder says 153"),
    ]


def test_casia_fasd_has_two_people_of_the_same_number(tmp_path: Path) -> None:
    found = scan("casia-fasd", datasets.casia_fasd(tmp_path))
    assert rows(found) == {
        "test_release/1/1.avi": ("test", "test_1", 0, "", "", "normal", "video"),
        "test_release/1/3.avi": ("test", "test_1", 1, "print", "warped-photo", "normal", "video"),
        "test_release/30/HR_3.avi": ("test", "test_30", 1, "papercut", "cut-photo", "high", "video"),
        "train_release/1/1.avi": ("train", "train_1", 0, "", "", "normal", "video"),
        "train_release/1/3.avi": ("train", "train_1", 1, "print", "warped-photo", "normal", "video"),
        "train_release/1/6.avi": ("train", "train_1", 1, "papercut", "cut-photo", "low", "video"),
        "train_release/1/7.avi": ("train", "train_1", 1, "replay", "video", "normal", "video"),
        "train_release/1/HR_1.avi": ("train", "train_1", 0, "", "", "high", "video"),
        "train_release/1/HR_4.avi": ("train", "train_1", 1, "replay", "video", "high", "video"),
    }
    assert tracks(found) == {"train_release/1/3.avi": ("face-locations/train_release/1/3.face", "frame x y w h")}
    assert shared_subjects(found.media) == {}
    assert ("test_release/30/9.avi", "not named like train_release/1/HR_1.avi") in found.ignored


@pytest.mark.parametrize("archives", [False, True])
def test_replay_attack_in_one_folder_and_in_four(tmp_path: Path, archives: bool) -> None:
    found = scan("replay-attack", datasets.replay_attack(tmp_path, archives=archives))
    got = {path.partition("/")[2] if archives else path: row for path, row in rows(found).items()}
    assert got == {
        "devel/attack/fixed/attack_mobile_client003_session01_mobile_video_adverse.mov": (
            *("dev", "client003", 1, "replay", "mobile-video", "session01", "video"),
        ),
        "devel/real/client003_session01_webcam_authenticate_controlled_2.mov": (
            *("dev", "client003", 0, "", "", "session01", "video"),
        ),
        "test/attack/fixed/attack_highdef_client009_session01_highdef_photo_adverse.mov": (
            *("test", "client009", 1, "replay", "highdef-photo", "session01", "video"),
        ),
        "test/real/client009_session01_webcam_authenticate_controlled_1.mov": (
            *("test", "client009", 0, "", "", "session01", "video"),
        ),
        "train/attack/hand/attack_print_client001_session01_highdef_photo_controlled.mov": (
            *("train", "client001", 1, "print", "print-photo", "session01", "video"),
        ),
        "train/real/client001_session01_webcam_authenticate_adverse_1.mov": (
            *("train", "client001", 0, "", "", "session01", "video"),
        ),
    }
    extra = next(extra for path, extra in extras(found).items() if "attack_print" in path)
    assert extra == {"device": "webcam", "illumination": "controlled", "support": "hand", "sample": "highdef"}
    face = "face-locations/train/real/client001_session01_webcam_authenticate_adverse_1.face"
    assert list(tracks(found).values()) == [(face, "frame x y w h")]
    assert found.ignored == [(name, "not a folder of media") for name in ("enroll", "face-locations", "protocols")]
    assert ("a folder for each archive" in found.layout) is archives


def test_msu_mfsd_is_split_by_its_lists(tmp_path: Path) -> None:
    found = scan("msu-mfsd", datasets.msu_mfsd(tmp_path))
    assert rows(found) == {
        "scene01/attack/attack_client001_laptop_SD_iphone_video_scene01.mov": (
            *("test", "client001", 1, "replay", "iphone-video", "scene01", "video"),
        ),
        "scene01/attack/attack_client002_android_SD_ipad_video_scene01.mp4": (
            *("train", "client002", 1, "replay", "ipad-video", "scene01", "video"),
        ),
        "scene01/attack/attack_client013_laptop_SD_printed_photo_scene01.mov": (
            *("test", "client013", 1, "print", "printed-photo", "scene01", "video"),
        ),
        "scene01/real/real_client002_laptop_SD_scene01.mov": ("train", "client002", 0, "", "", "scene01", "video"),
        "scene01/real/real_client003_android_SD_scene01.mp4": ("train", "client003", 0, "", "", "scene01", "video"),
    }
    turned = [path for path, extra in extras(found).items() if extra.get("turns") == [0, 180]]
    assert turned == ["scene01/real/real_client003_android_SD_scene01.mp4"]
    face = "scene01/real/real_client002_laptop_SD_scene01"
    assert tracks(found) == {f"{face}.mov": (f"{face}.face", "frame x1 y1 x2 y2 lx ly rx ry")}
    reason = "subject 4 is in neither train_sub_list.txt nor test_sub_list.txt"
    assert ("scene01/real/real_client004_laptop_SD_scene01.mov", reason) in found.ignored


def test_msu_mfsd_without_a_usable_list_says_which(tmp_path: Path) -> None:
    root = datasets.msu_mfsd(tmp_path)
    (root / "test_sub_list.txt").write_text("01\r\n02")
    with pytest.raises(BuildError, match=r"test_sub_list.txt: subject 2 is in train_sub_list.txt as well"):
        scan("msu-mfsd", root)
    (root / "test_sub_list.txt").write_text("01\r\nx")
    with pytest.raises(BuildError, match=r"test_sub_list.txt: expected one subject number a line"):
        scan("msu-mfsd", root)
    (root / "test_sub_list.txt").unlink()
    with pytest.raises(BuildError, match=r"test_sub_list.txt: this list of the dataset cannot be read \(No such file"):
        scan("msu-mfsd", root)


BUILDERS = {
    "casia-fasd": datasets.casia_fasd,
    "msu-mfsd": datasets.msu_mfsd,
    "oulu-npu": datasets.oulu_npu,
    "replay-attack": datasets.replay_attack,
    "siw": datasets.siw,
}


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_a_wrong_root_says_what_was_looked_for_what_was_found_and_where_it_likely_is(name: str, tmp_path: Path) -> None:
    right = BUILDERS[name](tmp_path / "download" / "the_dataset")
    inside = right / scan(name, right).media["path"][0].as_py().split("/")[0]
    for wrong in (tmp_path, right.parent, inside):
        with pytest.raises(BuildError, match=f"does not hold .*; found .*Did you mean {right}[?]$"):
            scan(name, wrong)


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_a_folder_whose_media_were_lost_is_an_error_that_shows_what_is_there(name: str, tmp_path: Path) -> None:
    root = BUILDERS[name](tmp_path)
    folder = root / scan(name, root).media["path"][-1].as_py().split("/")[0]
    shutil.rmtree(folder)
    for kind in ("live", "real"):  # the folders by which some are recognised
        datasets.write(folder, {f"{kind}/readme.pdf": "x"})
    with pytest.raises(BuildError, match=r"holds no medium of this dataset; looked for .*, found .*readme"):
        scan(name, root)


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_published_sizes_add_up(name: str) -> None:
    official = SOURCES[name].official
    assert official is not None
    for split in ("train", "dev", "test"):
        if (split, "all") in official.counts and (split, "live") in official.counts:
            kinds = [official.counts[split, kind] for kind in ("live", "spoof")]
            assert sum(kinds) == official.counts[split, "all"]
