"""A model of clips to a folder: what its graph takes, its golden clip, and what cannot be shipped."""

import numpy as np
import pytest
from PIL import Image

from liveness.errors import ModelError
from liveness.model import LivenessModel
from tests.fixtures.shipped import CLIP, SIZE, save_untrained
from tests.liveness.test_model import change
from training.errors import TrainingError
from training.export import export


def test_scores_are_one_a_clip_whatever_the_batch_and_the_crops_size(shipped_clips):
    model = LivenessModel(shipped_clips)
    assert model.card.input.clip.model_dump() == CLIP
    assert "3 frames of a video, 2 apart" in (shipped_clips / "README.md").read_text()
    for side in (SIZE, 96):
        clips = np.random.default_rng(0).integers(0, 256, (4, 3, side, side, 3)).astype(np.uint8)
        scores, maps = model.score_and_map(clips)
        assert scores == pytest.approx([float(model.score(clip[None])[0]) for clip in clips], abs=1e-6)
        assert maps.shape == (4, 32, 32)
    for shape in ((2, SIZE, SIZE, 3), (2, 5, SIZE, SIZE, 3)):
        with pytest.raises(ModelError, match=r"expected uint8 \(B, 3, S, S, 3\), RGB"):
            model.score(np.zeros(shape, np.uint8))


def test_the_golden_clip_tells_colours_and_the_order_of_time(shipped_clips):
    model = LivenessModel(shipped_clips)
    assert Image.open(shipped_clips / "golden.png").size == (SIZE, 3 * SIZE)
    golden, network = model.golden()[None], model.card.networks["fp32"]
    assert model.score(golden)[0] == pytest.approx(network.golden_score, abs=1e-6)
    assert model.score(golden[..., ::-1])[0] == pytest.approx(model.card.golden.score_bgr, abs=1e-6)
    for wrong in (golden[..., ::-1], golden[:, ::-1]):
        assert abs(model.score(wrong)[0] - network.golden_score) > 10 * network.tolerance


def test_metadata_of_a_model_of_pictures_are_as_before_there_were_clips(shipped):
    """Folders that were exported earlier still load: what is compared with their ONNX file has no new key."""
    given = LivenessModel(shipped).card.preprocessing()["input"]
    assert sorted(given) == ["colour", "dtype", "layout", "name", "scaling", "size"]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"input__clip__frames": 5}, "it takes 3 frames; the card says 5"),
        ({"input__clip": None}, "it takes 3 frames; the card says 1"),
        ({"input__clip__interval": 3}, "describe different inputs"),
    ],
)
def test_a_card_of_other_clips_is_refused(shipped_clips, tmp_path, parts, said):
    copy = tmp_path / "model"
    copy.mkdir()
    for path in shipped_clips.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    change(copy, **parts)
    with pytest.raises(ModelError, match=said):
        LivenessModel(copy)


@pytest.mark.parametrize("mask", ["whole", "ellipse"])
def test_the_masked_depth_is_in_the_graph(tmp_path, mask):
    """With beta 0 the score is the masked depth alone."""
    run = save_untrained(tmp_path / "run", "fas-sgtd", CLIP, width=0.0625, beta=0, mask=mask)
    model = LivenessModel(export(run, tmp_path / "out"))  # refused where its scores are not torch's
    score, depth = model.score_and_map(model.golden()[None])
    at = (np.arange(32) + 0.5) / 32 - 0.5
    inside = (at / 0.36)[None, :] ** 2 + (at / 0.46)[:, None] ** 2 <= 1
    assert score[0] == pytest.approx(depth[0][inside if mask == "ellipse" else ...].mean(), abs=1e-5)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"mask": "stored"}, r"settings\.single\.mask"),
        ({"released": ["mixed-clips"]}, "depends on the others of its batch"),
    ],
)
def test_what_no_runtime_could_repeat_is_refused(tmp_path, network, said):
    run = save_untrained(tmp_path / "run", "fas-sgtd", CLIP, width=0.0625, **network)
    with pytest.raises(TrainingError, match=said):
        export(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
