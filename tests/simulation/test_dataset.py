import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from simulation.dataset import SimulateConfig, Summary, simulate
from simulation.layout import truth_path
from simulation.media import ATTACK_DOMAINS
from simulation.packaged import packaged_photographs
from tasks.errors import BuildError
from tests.fixtures.portraits import not_a_face

CONFIG = SimulateConfig(seed=3, train_subjects=2, test_subjects=1, live=2, spoof=6)


def digests(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    out = tmp_path_factory.mktemp("simulate") / "dataset"
    return out, simulate(None, out, CONFIG)


def labels(root: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for split in ("train", "test"):
        found |= json.loads((root / "metas" / "intra_test" / f"{split}_label.json").read_text())
    return found


def test_two_workers_write_the_same_bytes_as_one(made, tmp_path):
    again = simulate(None, tmp_path / "again", CONFIG, workers=2)
    assert again.pictures == made[1].pictures == 24
    assert digests(tmp_path / "again") == digests(made[0])


def test_another_seed_gives_other_pictures(made, tmp_path):
    config = CONFIG.model_copy(update={"seed": 4, "train_subjects": 1, "live": 1, "spoof": 1})
    simulate(None, tmp_path / "other", config)
    old, new = digests(made[0]), digests(tmp_path / "other")
    first = "Data/train/1/live/000001.jpg"
    assert old[first] != new[first]


def test_the_layout_is_celeba_spoofs(made):
    root, _ = made
    found = labels(root)
    pictures = {p.relative_to(root).as_posix() for p in (root / "Data").rglob("*") if p.suffix in (".jpg", ".png")}
    assert pictures == set(found)
    for key, label in found.items():
        _, split, subject, folder, name = key.split("/")
        assert split in ("train", "test")
        assert subject.isdigit()
        assert len(Path(name).stem) == 6
        assert len(label) == 44
        assert label[43] == int(folder == "spoof") == int(label[40] > 0)
        assert (label[41] > 0) == (label[42] > 0) == (folder == "spoof")
        x, y, w, h, score = (root / key).with_name(f"{Path(name).stem}_BB.txt").read_text().split()
        assert 0.9 <= float(score) <= 1
        assert 40 < int(w) < 224
        assert 40 < int(h) < 224
        assert -20 < int(x) < 200
        assert -20 < int(y) < 200
        with Image.open(root / key) as picture:
            assert 320 <= picture.width <= 480
            assert 320 <= picture.height <= 480
            assert picture.mode == "RGB"
    listed = (root / "metas" / "intra_test" / "test_label.txt").read_text().splitlines()
    assert listed == [f"{k} {v[43]}" for k, v in found.items() if "/test/" in k]


def test_the_projects_own_adapter_reads_it(made):
    from tasks.sources import scan

    media = scan("celeba-spoof", made[0]).media
    assert media.num_rows == 24
    assert Counter(media["label"].to_pylist()) == {0: 6, 1: 18}
    assert set(media["attack"].to_pylist()) == {"", "print", "replay", "papercut"}


def test_every_kind_of_presentation_is_there_for_every_subject(made):
    root, summary = made
    assert summary.attacks == {"papercut": 6, "print": 6, "replay": 6}
    lines = [json.loads(line) for line in (root / "truth" / "pictures.jsonl").read_text().splitlines()]
    by_subject = Counter((line["picture"].split("/")[2], line["attack"]) for line in lines if line["attack"])
    assert set(by_subject.values()) == {2}


def test_every_live_picture_has_its_truth_and_no_spoof_has(made):
    root, _ = made
    for key, label in labels(root).items():
        assert truth_path(root, key).is_file() == (label[43] == 0)
        if label[43] == 0:
            with np.load(truth_path(root, key)) as truth, Image.open(root / key) as picture:
                assert truth["depth"].shape == picture.size[::-1]
                assert truth["depth"].dtype == np.uint16
                x, y = truth["vertices"][:, :2].T
                row, col = np.nonzero(truth["depth"])
                assert row.min() >= y.min() - 1
                assert row.max() <= y.max() + 1
                assert col.min() >= x.min() - 1
                assert col.max() <= x.max() + 1


def test_the_dataset_says_that_it_is_simulated(made):
    assert "SIMULATED" in (made[0] / "README.txt").read_text()
    assert json.loads((made[0] / "simulation.json").read_text())["simulated"] is True


def test_the_same_simulation_is_reused(made):
    before = {p: p.stat().st_mtime_ns for p in made[0].rglob("*")}
    again = simulate(None, made[0], CONFIG)
    assert again.reused
    assert again.attacks == made[1].attacks
    assert before == {p: p.stat().st_mtime_ns for p in made[0].rglob("*")}


def test_a_folder_with_anything_else_is_refused(made, tmp_path):
    with pytest.raises(BuildError, match="other settings"):
        simulate(None, made[0], CONFIG.model_copy(update={"seed": 9}))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(BuildError, match="not empty"):
        simulate(None, tmp_path / "mine", CONFIG)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"


def test_an_interrupted_run_leaves_nothing_behind(tmp_path):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(None, tmp_path / "out", CONFIG, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_bad_photographs_are_listed_and_the_others_become_one_subject_each(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in packaged_photographs():
        shutil.copy(path, photos)
    not_a_face(photos / "ramp.png")
    (photos / "broken.jpg").write_bytes(b"a letter, not a picture")
    (photos / "notes.txt").write_text("no picture")
    seen: list[tuple[int, int]] = []
    config = SimulateConfig(live=1, spoof=2, cameras=("doorbell",), media="home", attacks=("print", "replay"))
    summary = simulate(photos, tmp_path / "out", config, progress=lambda done, total: seen.append((done, total)))
    assert (summary.train_subjects, summary.test_subjects, summary.pictures) == (1, 1, 6)
    assert {u.photo: u.reason for u in summary.unusable} == {"broken.jpg": "not-an-image", "ramp.png": "no-face"}
    assert seen[-1] == (6, 6)
    lines = [json.loads(line) for line in (tmp_path / "out" / "truth" / "pictures.jsonl").read_text().splitlines()]
    assert {line["camera"] for line in lines} == {"doorbell"}
    papers, screens = ATTACK_DOMAINS["home"]
    assert {line["medium"] for line in lines if line["attack"]} <= {*papers, *screens}


def test_as_many_portraits_as_asked_for_are_chosen_by_seed(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in "abcdef":
        shutil.copy(packaged_photographs()[0], photos / f"{name}.png")

    def chosen(out: str, seed: int) -> set[str]:
        config = SimulateConfig(live=1, spoof=1, subjects=2, seed=seed, attacks=("print",))
        assert simulate(photos, tmp_path / out, config).pictures == 4
        made = json.loads((tmp_path / out / "simulation.json").read_text())
        return {name for name, _ in made["settings"]["photos"]}

    first = chosen("one", 0)
    assert len(first) == 2
    assert chosen("two", 0) == first
    assert any(chosen(f"seed{seed}", seed) != first for seed in (1, 2))


def test_without_a_usable_photograph_there_is_one_clear_error(tmp_path):
    lonely = not_a_face(tmp_path / "ramp.png")
    with pytest.raises(BuildError, match=r"none of 1 photographs can be used; ramp\.png: no-face"):
        simulate([lonely], tmp_path / "out", CONFIG)
    assert not (tmp_path / "out").exists()
    portrait = packaged_photographs()[0]
    with pytest.raises(BuildError, match=rf"only {portrait.name} .* at least 2 portraits are needed"):
        simulate([lonely, portrait], tmp_path / "out", CONFIG)  # nobody would be left for test
    assert not (tmp_path / "out").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(BuildError, match="no pictures"):
        simulate(tmp_path / "empty", tmp_path / "out", CONFIG)
    with pytest.raises(BuildError, match="no such folder"):
        simulate(tmp_path / "nowhere", tmp_path / "out", CONFIG)


@pytest.mark.parametrize("wrong", [{"cameras": ("kodak",)}, {"media": "moon"}, {"size": "huge"}, {"attacks": ()}])
def test_unknown_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        SimulateConfig(**wrong)
