"""A subject in two splits is said before any work, and refused where that is asked for."""

from pathlib import Path

import pytest

from tasks.errors import BuildError
from tasks.leaks import leaks_of
from tasks.sources import scan
from tests.fixtures.trees import save


def test_a_subject_in_two_splits_is_named_and_refused_on_request(tmp_path: Path) -> None:
    for path in ("train/live/ann/1.png", "train/live/bob/2.png", "test/live/ann/3.png", "test/live/carol/4.png"):
        save(tmp_path / path)
    scans = [scan("folder", tmp_path)]
    assert leaks_of(scans) == ["1 subjects are in test and train, such as folder/ann"]
    with pytest.raises(BuildError, match="folder/ann: a leak"):
        leaks_of(scans, refuse=True)


def test_subjects_of_one_split_and_equal_names_in_two_datasets_are_no_leak(tmp_path: Path) -> None:
    save(tmp_path / "a/train/live/ann/1.png")
    save(tmp_path / "b/test/live/ann/1.png")
    assert leaks_of([scan("folder", tmp_path / name, name) for name in "ab"], refuse=True) == []
