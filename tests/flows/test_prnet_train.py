"""prnet-train from photographs to weights that an aligner uses; a second run has nothing left to do."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from flows.prnet_evaluate import evaluate_prnet
from flows.prnet_faces import FacesConfig, is_held_out, live_pictures
from flows.prnet_train import prnet_train
from prnet.train.loop import TrainConfig
from simulation.packaged import packaged_photographs
from tasks.align import AlignConfig, align
from tasks.aligners import load_aligner
from tasks.errors import BuildError
from tasks.read import ReadConfig, read_frames

CONFIG = TrainConfig(width=1 / 16, size=32, steps=4, batch=4, save_every=2, threads=1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The two packaged portraits under three names each, of which some are held out and some are not."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        for photo in packaged_photographs():
            shutil.copy(photo, folder / f"{photo.stem}-{number}{photo.suffix}")
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("heads", [16, 0])
def test_photographs_become_weights(heads: int, photos: Path, tmp_path: Path) -> None:
    faces = FacesConfig(held_out=0.5, heads=heads, held_heads=8, head_share=0.5)
    out = tmp_path / "run"
    result = prnet_train(str(out), str(photos), config=CONFIG, faces=faces, workers=1)
    assert result.rejected == {"not-an-image": 1} or result.rejected == {"unreadable": 1}
    assert {row.source for row in result.figures} == {"rendered", "teacher"}
    assert {row.source for row in result.facemesh} == {"rendered"}
    # four steps teach nothing; the teacher, on the same faces, shows that the measure is right
    assert result.facemesh[-1].dense_2d < 15 < result.figures[-1].dense_2d
    assert json.loads((out / "evaluation.json").read_text())["weights"] == result.weights
    # who was held out is known from the names: the same people, the same heads, the same figures
    judged = evaluate_prnet(Path(result.weights), photos, [], held_out=0.5, heads=8, workers=1, seed=CONFIG.seed)
    assert (judged.figures, judged.facemesh) == (result.figures, result.facemesh)
    photo = next(read_frames(packaged_photographs()[0], "image", ReadConfig()))[1]
    aligner = load_aligner(AlignConfig(aligner="prnet", prnet_weights=Path(result.weights)))
    found = align([photo], np.array([[178.0, 57, 273, 177]]), [None], aligner)[0]
    assert found.vertices.shape == (len(aligner._network.layout.vertex_index), 3)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("windows.npy")}
    weights = Path(result.weights).read_bytes()
    again = prnet_train(str(out), str(photos), config=CONFIG, faces=faces, workers=1)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("windows.npy")} == before
    assert again.figures == result.figures
    assert Path(result.weights).read_bytes() == weights


def test_a_person_is_held_out_by_name_alone() -> None:
    held = [is_held_out(f"person/{i}", 0.1) for i in range(5000)]
    assert 400 < sum(held) < 600
    assert all(is_held_out(f"person/{i}", 0.2) for i in range(5000) if held[i]), "a larger share keeps who was out"


def test_only_live_media_of_a_dataset_are_learned_from(simulated: Path) -> None:
    pictures = live_pictures(None, [("celeba-spoof", str(simulated))])
    assert pictures
    assert all("live" in picture.path.parts for picture in pictures)
    assert all(picture.subject.startswith("celeba-spoof/") for picture in pictures)
    with pytest.raises(BuildError, match="no live picture to learn from"):
        live_pictures(None, [])


@pytest.mark.usefixtures("prefect_server")
def test_nobody_to_judge_with_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    shutil.copy(packaged_photographs()[0], folder / "a.png")
    with pytest.raises(BuildError, match="leave nobody for the"):
        prnet_train(str(tmp_path / "run"), str(folder), config=CONFIG, workers=1)
