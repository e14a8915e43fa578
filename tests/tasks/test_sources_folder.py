"""The folder adapter: bring data in a minute."""

from pathlib import Path

from tasks.sources import scan
from tests.fixtures.trees import folder_tree


def test_split_label_attack_subject_and_kind_come_from_the_path(tmp_path: Path) -> None:
    found = scan("folder", folder_tree(tmp_path))
    got = {
        row["path"]: (row["label"], row["attack"], row["attack_detail"], row["subject"], row["session"], row["kind"])
        for row in found.media.to_pylist()
    }
    assert got == {
        "test/live/carol/clip.mp4": (0, "", "", "folder/carol", "", "video"),
        "test/spoof/3d-mask/7.tif": (1, "mask3d", "3d-mask", "folder/test/spoof/3d-mask/7.tif", "", "image"),
        "train/live/alice/monday/1.jpg": (0, "", "", "folder/alice", "monday", "image"),
        "train/live/bob/2.png": (0, "", "", "folder/bob", "", "image"),
        "train/live/loose.jpg": (0, "", "", "folder/train/live/loose.jpg", "", "image"),  # a subject of its own
        "train/spoof/6.jpg": (1, "other", "unknown", "folder/train/spoof/6.jpg", "", "image"),
        "train/spoof/Screen/4.webp": (1, "replay", "Screen", "folder/train/spoof/Screen/4.webp", "", "image"),
        "train/spoof/hologram/5.bmp": (1, "other", "hologram", "folder/train/spoof/hologram/5.bmp", "", "image"),
        "train/spoof/print/alice/3.jpg": (1, "print", "print", "folder/alice", "", "image"),
    }
    assert {row["split"] for row in found.media.to_pylist()} == {"train", "test"}
    assert found.layout == "folders train, test"


def test_other_files_are_listed_with_a_reason(tmp_path: Path) -> None:
    assert scan("folder", folder_tree(tmp_path)).ignored == [
        ("old", "not train, dev or test"),
        ("train/9.jpg", "not below live/ or spoof/"),
        ("train/live/._1.jpg", "hidden file"),
        ("train/live/notes.txt", "neither a picture nor a video by its ending"),
    ]


def test_two_trees_get_two_names(tmp_path: Path) -> None:
    media = scan("folder", folder_tree(tmp_path), dataset="office").media
    assert set(media["dataset"].to_pylist()) == {"office"}
    assert "office/alice" in media["subject"].to_pylist()
