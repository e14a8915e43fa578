"""The CelebA-Spoof adapter, row by row, over a tree with the quirks of the release."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tasks.errors import BuildError
from tasks.sources import Scan, scan
from tests.fixtures.trees import celeba_spoof


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return celeba_spoof(tmp_path)


def rows(found: Scan) -> dict[str, dict]:
    return {row["path"].removeprefix("Data/"): row for row in found.media.to_pylist()}


def test_every_picture_has_its_split_subject_label_and_attack(root: Path) -> None:
    got = {
        path: (row["split"], row["subject"], row["label"], row["attack"], row["attack_detail"])
        for path, row in rows(scan("celeba-spoof", root)).items()
    }
    assert got == {
        "test/5000/live/500000.png": ("test", "celeba-spoof/5000", 0, "", ""),
        "test/5000/spoof/500001.png": ("test", "celeba-spoof/5000", 1, "replay", "pad"),
        "test/5000/spoof/500002.jpg": ("test", "celeba-spoof/5000", 1, "other", "type-11"),
        "train/3329/spoof/004046.jpg": ("train", "celeba-spoof/3329", 1, "print", "photo"),
        "train/3329/spoof/004047.JPEG": ("train", "celeba-spoof/3329", 1, "mask3d", "3d-mask"),
        "train/3329/spoof/004048.jpg": ("test", "celeba-spoof/3329", 1, "replay", "pc"),  # the json decides the split
        "train/4980/live/000001.jpg": ("train", "celeba-spoof/4980", 0, "", ""),
        "train/4980/live/000002.png": ("train", "celeba-spoof/4980", 0, "", ""),
        "train/4980/spoof/000003.jpg": ("train", "celeba-spoof/4980", 1, "papercut", "upper-body-mask"),
    }


def test_boxes_come_from_the_224_grid_and_unusable_ones_are_null(root: Path) -> None:
    got = {path: row["box"] for path, row in rows(scan("celeba-spoof", root)).items()}
    assert got["train/4980/live/000001.jpg"] == [61, 45, 122, 157]
    assert got["train/4980/spoof/000003.jpg"] == [10, -5, 210, 165]  # negative: kept, the face leaves the picture
    assert got["test/5000/live/500000.png"] == [1.5, 2.5, 32, 42.75]
    assert got["train/3329/spoof/004046.jpg"] is None  # empty file
    assert got["train/3329/spoof/004047.JPEG"] is None  # no file
    assert got["train/3329/spoof/004048.jpg"] is None  # no width
    frames = {path: row["box_frame"] for path, row in rows(scan("celeba-spoof", root)).items()}
    assert {tuple(frame) for path, frame in frames.items() if got[path] is not None} == {(224, 224)}
    assert all(frames[path] is None for path, box in got.items() if box is None)


def test_attributes_illumination_and_environment_go_to_extra(root: Path) -> None:
    got = {path: json.loads(row["extra"]) for path, row in rows(scan("celeba-spoof", root)).items()}
    assert got["train/4980/live/000001.jpg"] == {
        "attributes": ["Male", "Young"],
        "illumination": "live",
        "environment": "live",
        "lists": ["protocol1/test"],
    }
    assert got["train/4980/spoof/000003.jpg"]["lists"] == ["protocol1/train"]
    assert got["train/3329/spoof/004046.jpg"] == {"attributes": [], "illumination": "dark", "environment": "outdoor"}


def test_what_is_left_out_is_listed_with_its_reason(root: Path) -> None:
    assert scan("celeba-spoof", root).ignored == [
        ("Data/train/3329/live/004050.jpg", "its entry in test_label.json is not 44 small integers"),
        ("Data/train/3329/live/004050.jpg", "not listed in metas/intra_test"),
        ("Data/train/4980/live/000009.jpg", "not listed in metas/intra_test"),
        ("Data/train/4980/live/Thumbs.db", "not a .jpg or .png"),
        ("Data/train/9999/live/777777.jpg", "listed in metas/intra_test/train_label.json, but there is no such file"),
        ("Data/train_2", "not one of the dataset's two splits"),
    ]


def test_without_json_files_the_folders_decide(root: Path) -> None:
    shutil.rmtree(root / "metas")
    found = scan("celeba-spoof", root)
    got = rows(found)
    assert len(got) == 11
    assert found.layout == "CelebA-Spoof, train by folder, test by folder"
    assert got["train/3329/spoof/004048.jpg"]["split"] == "train"
    assert got["train/3329/spoof/004048.jpg"]["attack"] == "other"
    assert got["train/4980/live/000009.jpg"]["label"] == 0


def test_one_json_serves_its_own_split_and_folders_the_other(root: Path) -> None:
    (root / "metas/intra_test/test_label.json").unlink()
    found = scan("celeba-spoof", root)
    got = rows(found)
    assert found.layout == "CelebA-Spoof, train by metas/intra_test, test by folder"
    assert got["test/5000/spoof/500001.png"]["attack_detail"] == "unknown"
    assert "train/3329/spoof/004048.jpg" not in got  # in the train folder, but not in train_label.json


def test_a_label_that_contradicts_its_folder_is_left_out(root: Path) -> None:
    file = root / "metas/intra_test/train_label.json"
    entries = json.loads(file.read_text())
    entries["Data/train/4980/live/000001.jpg"][43] = 1
    file.write_text(json.dumps(entries))
    found = scan("celeba-spoof", root)
    assert "train/4980/live/000001.jpg" not in rows(found)
    assert ("Data/train/4980/live/000001.jpg", "metas/intra_test says label 1, its folder says live") in found.ignored


def test_a_picture_listed_in_both_splits_is_kept_out_of_training(root: Path) -> None:
    file = root / "metas/intra_test/test_label.json"
    entries = json.loads(file.read_text())
    entries["Data/train/4980/live/000001.jpg"] = [0] * 44
    file.write_text(json.dumps(entries))
    found = scan("celeba-spoof", root)
    assert rows(found)["train/4980/live/000001.jpg"]["split"] == "test"
    assert any("both" in reason for _, reason in found.ignored)


@pytest.mark.parametrize("content", ["{", "[1, 2]", ""])
def test_a_broken_json_is_one_clear_line(root: Path, content: str) -> None:
    file = root / "metas/intra_test/train_label.json"
    file.write_text(content)
    with pytest.raises(BuildError, match=r"train_label.json: "):
        scan("celeba-spoof", root)


def test_a_json_whose_pictures_are_all_missing_is_an_empty_split(root: Path) -> None:
    file = root / "metas/intra_test/test_label.json"
    file.write_text('{"Data/test/1/live/1.jpg": ' + json.dumps([0] * 44) + "}")
    with pytest.raises(BuildError, match=r"the test split of .* is empty"):
        scan("celeba-spoof", root)


def test_the_scan_is_the_same_twice_and_the_box_column_is_float32(root: Path) -> None:
    first, second = scan("celeba-spoof", root), scan("celeba-spoof", root)
    assert first.media.equals(second.media)
    assert first.ignored == second.ignored
    assert first.media["box"].combine_chunks().values.to_numpy(zero_copy_only=False).dtype == np.float32


def test_attributes_of_minus_one_are_unset_and_keep_the_picture(root: Path) -> None:
    before = scan("celeba-spoof", root)
    file = root / "metas/intra_test/train_label.json"
    entries = json.loads(file.read_text())
    for codes in entries.values():
        if len(codes) == 44:
            codes[:40] = [code or -1 for code in codes[:40]]
    file.write_text(json.dumps(entries))
    assert scan("celeba-spoof", root).media.drop_columns(["size", "mtime_ns"]) == before.media.drop_columns(
        ["size", "mtime_ns"]
    )
