"""What every source shares: walking, checking, and clear errors before any work."""

import os
from pathlib import Path

import pytest

from tasks.errors import BuildError, MediumError
from tasks.read import ReadConfig, read_frames
from tasks.sources import MEDIA_SCHEMA, scan
from tests.fixtures.trees import celeba_spoof, folder_tree, save


def test_an_unknown_source_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"siw2: not a known source; known are .*celeba-spoof, folder, .*siw"):
        scan("siw2", tmp_path)


@pytest.mark.parametrize("source", ["celeba-spoof", "folder"])
def test_a_missing_root_a_file_and_an_empty_folder_are_one_clear_line(source: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="does not exist") as missing:
        scan(source, tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BuildError, match="is a file"):
        scan(source, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BuildError, match=r"does not hold .* found nothing"):
        scan(source, tmp_path / "empty")
    assert "\n" not in str(missing.value)


def test_a_wrong_root_names_the_likely_right_one(tmp_path: Path) -> None:
    right = celeba_spoof(tmp_path / "download" / "CelebA_Spoof")
    for wrong in (tmp_path, right.parent, right / "Data", right / "Data" / "train"):
        with pytest.raises(BuildError, match=f"Did you mean {right}[?]$"):
            scan("celeba-spoof", wrong)
    right = folder_tree(tmp_path / "mine" / "faces")
    for wrong in (right.parent, right / "train"):
        with pytest.raises(BuildError, match=f"Did you mean {right}[?]$"):
            scan("folder", wrong)


def test_an_empty_split_is_an_error_before_any_work(tmp_path: Path) -> None:
    root = folder_tree(tmp_path)
    (root / "dev" / "live").mkdir(parents=True)
    with pytest.raises(BuildError, match=r"the dev split of .* is empty"):
        scan("folder", root)


def test_the_table_has_the_schema_is_sorted_and_knows_size_and_time(tmp_path: Path) -> None:
    media = scan("folder", folder_tree(tmp_path)).media
    assert media.schema == MEDIA_SCHEMA
    paths = media["path"].to_pylist()
    assert paths == sorted(paths)
    for row in media.to_pylist():
        status = os.stat(tmp_path / row["path"])
        assert (row["size"], row["mtime_ns"]) == (status.st_size, status.st_mtime_ns)


def test_linked_folders_are_followed_once_and_a_dead_link_stays_a_medium(tmp_path: Path) -> None:
    elsewhere = tmp_path / "disk"
    save(elsewhere / "1.jpg")
    root = tmp_path / "root"
    save(root / "train/live/a/2.jpg")
    (root / "train/live/b").symlink_to(elsewhere)
    (root / "train/live/c").symlink_to(elsewhere)  # the same again
    (root / "train/live/a/loop").symlink_to(root / "train")
    (root / "train/live/a/gone.jpg").symlink_to(tmp_path / "nothing")
    found = scan("folder", root)
    assert found.media["path"].to_pylist() == ["train/live/a/2.jpg", "train/live/a/gone.jpg", "train/live/b/1.jpg"]
    assert [path for path, _ in found.ignored] == ["train/live/a/loop", "train/live/c"]


def test_a_name_that_is_not_utf8_is_ignored_and_listed(tmp_path: Path) -> None:
    save(tmp_path / "train/live/a/2.jpg")
    with open(os.fsencode(tmp_path) + b"/train/live/a/\xff.jpg", "wb"):
        pass
    found = scan("folder", tmp_path)
    assert found.media.num_rows == 1
    assert found.ignored == [
        (r"'train/live/a/\udcff.jpg'", "its name holds control characters or is not UTF-8; rename it")
    ]


def test_names_with_unusual_spaces_are_media_and_control_characters_are_not(tmp_path: Path) -> None:
    for name in ("a\u00a0b.jpg", "Bildschirmfoto 9.41\u202fAM.png", "a\x1eb.jpg", "a\x1fb.jpg", "a\nb.jpg"):
        save(tmp_path / "train/live/a" / name)
    found = scan("folder", tmp_path)
    assert [path[13:] for path in found.media["path"].to_pylist()] == [
        "Bildschirmfoto 9.41\u202fAM.png",
        "a\u00a0b.jpg",
    ]
    assert len(found.ignored) == 3


@pytest.mark.parametrize("target", ["..", "../..", "."])
def test_a_link_to_a_folder_above_lists_nothing_twice(tmp_path: Path, target: str) -> None:
    save(tmp_path / "train/live/s1/1.jpg")
    save(tmp_path / "train/live/s2/1.jpg")
    (tmp_path / "train/live/s1/up").symlink_to(target)
    found = scan("folder", tmp_path)
    assert found.media["path"].to_pylist() == ["train/live/s1/1.jpg", "train/live/s2/1.jpg"]
    assert [path for path, _ in found.ignored] == ["train/live/s1/up"]


def test_a_linked_sibling_is_listed_once_whichever_comes_first(tmp_path: Path) -> None:
    save(tmp_path / "train/live/s2/1.jpg")
    (tmp_path / "train/live/s1").symlink_to("s2")
    (tmp_path / "train/live/s3").symlink_to("s2")
    assert scan("folder", tmp_path).media["path"].to_pylist() == ["train/live/s1/1.jpg"]


def test_a_file_linked_to_itself_is_a_medium_that_reading_rejects(tmp_path: Path) -> None:
    save(tmp_path / "train/live/a/1.jpg")
    loop = tmp_path / "train/live/a/loop.jpg"
    loop.symlink_to("loop.jpg")
    assert scan("folder", tmp_path).media["path"].to_pylist() == ["train/live/a/1.jpg", "train/live/a/loop.jpg"]
    with pytest.raises(MediumError) as caught:
        list(read_frames(loop, "image", ReadConfig()))
    assert caught.value.reason == "unreadable"


def test_many_rows_pass_through_chunks_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = celeba_spoof(tmp_path)
    whole = scan("celeba-spoof", root).media
    monkeypatch.setattr("tasks.sources.media._CHUNK", 2)
    assert scan("celeba-spoof", root).media.equals(whole)
