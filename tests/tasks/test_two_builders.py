"""Two real builds of one store at once: one commits, the other goes on top; nothing is lost, doubled or done twice."""

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from storage.snapshot import Store
from storage.verify import verify
from tests.fixtures.photos import ASTRONAUT, GRACE_HOPPER, photo
from tests.fixtures.trees import codes, save

ROOT = Path(__file__).parents[2]


def dataset(root: Path, numbers: range) -> Path:
    """Pictures by number, even ones live; the same number is the same picture in every dataset."""
    labels = {"train": {}, "test": {}}
    for number in numbers:
        live = number % 2 == 0
        key = f"Data/{'test' if number > 90 else 'train'}/{number}/{'live' if live else 'spoof'}/{number:06}.png"
        face = photo(ASTRONAUT) if number % 4 < 2 else photo(GRACE_HOPPER)[:512]
        save(root / key, face[: 400 + number % 5, :400])
        labels["test" if number > 90 else "train"][key] = codes(0 if live else 1)
    (root / "metas/intra_test").mkdir(parents=True)
    for split, entries in labels.items():
        (root / f"metas/intra_test/{split}_label.json").write_text(json.dumps(entries))
    return root


def start(source: Path, store: Path, samples: int, ready: Path, go: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.tasks.build_beside", str(source), str(store), str(samples)]
    return subprocess.Popen([*command, str(ready), str(go)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("samples", [4, 100])  # shards that both build alike, and shards that only overlap
def test_of_two_builds_at_once_the_second_to_commit_goes_on_top(tmp_path: Path, samples: int) -> None:
    store, go = tmp_path / "store", tmp_path / "go"
    numbers = [[*range(0, 6), *range(91, 93)], [*range(2, 8), *range(91, 93)]]
    sources = [dataset(tmp_path / name, n) for name, n in zip("ab", numbers, strict=True)]
    for number in set(numbers[0]) & set(numbers[1]):  # the same files: same times
        for path in sources[0].rglob(f"{number:06}.png"):
            shutil.copystat(path, sources[1] / path.relative_to(sources[0]))
    ready = [tmp_path / "ready-a", tmp_path / "ready-b"]
    builders = [start(source, store, samples, at, go) for source, at in zip(sources, ready, strict=True)]
    deadline = time.monotonic() + 120
    while not all(at.exists() for at in ready):
        assert time.monotonic() < deadline
        assert all(builder.poll() is None for builder in builders)
        time.sleep(0.02)
    go.touch()
    said = sorted(builder.communicate(timeout=120)[0].split() for builder in builders)
    assert [builder.returncode for builder in builders] == [0, 0]

    assert [words[:2] for words in said] == [["1", "True"], ["2", "True"]]
    assert said[1][3] == "0", "the second builds nothing again: it keeps and copies"
    found = Store(store).current()
    paths = Counter(found.media()["path"].to_pylist())
    assert set(paths.values()) == {1}
    assert len(paths) == len({*numbers[0], *numbers[1]})
    rows = Counter(found.columns(["sample_id"])["sample_id"].to_pylist())
    assert set(rows.values()) == {1}
    assert len(rows) == 2 * len(paths)
    assert verify(store).ok
