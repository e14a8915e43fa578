"""A model of clips from a video or a store to a decision; and from a picture, which is none, to a reason."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from flows.predict import predict
from flows.predictor import Predictor
from storage.config import StoreConfig
from storage.snapshot import Store
from storage.writer import shard_writer
from tasks.read import ReadConfig, read_frames
from tasks.write_video import write_video
from tests.fixtures.balls import row
from tests.fixtures.clips import moving
from tests.fixtures.photos import ASTRONAUT, photo
from tests.fixtures.shipped import BUILD, CLIP, predicted_in_a_process_of_its_own
from tests.flows.test_cli import call

FACE = np.asarray(Image.fromarray(photo(ASTRONAUT)).resize((256, 256)))
WALL = np.full_like(FACE, 90)


@pytest.fixture(scope="module")
def predictor(shipped_clips) -> Predictor:
    return Predictor(shipped_clips)


def video(path: Path, frames: list[np.ndarray]) -> Path:
    with write_video(path, 10) as write:
        for i, frame in enumerate(frames):
            write(frame, i / 10)
    return path


@pytest.fixture(scope="module")
def moved(tmp_path_factory) -> Path:
    """Eleven frames of a face that moves, then nine of a wall."""
    frames = [np.roll(FACE, i, axis=1) for i in range(11)] + [WALL] * 9
    return video(tmp_path_factory.mktemp("video") / "clip.mp4", frames)


def test_a_clip_of_a_video_is_scored_as_torch_scores_the_crops_of_a_build(predictor, shipped_clips, moved):
    import torch

    from training.checkpoint import load_model

    read = ReadConfig(frames="clips", n=2, clip_frames=CLIP["frames"], clip_interval=CLIP["interval"])
    numbers, images = zip(*read_frames(moved, "video", read), strict=True)
    crops = np.stack([predictor.crop(image, predictor.find([image])[0].box) for image in images[:3]])
    net, _ = load_model(shipped_clips.parent / "run")
    with torch.no_grad():
        pixels = torch.from_numpy(crops).permute(0, 3, 1, 2)[None].float() / 255
        wanted = float(net.score(net(pixels).double()))
    (found,) = predict(str(moved), predictor, frames=2)
    first, second = found.frames
    assert (first["frame"], second["frame"]) == (numbers[2], numbers[5])
    assert first["score"] == pytest.approx(wanted, abs=1e-6)
    assert (found.score, found.state) == (first["score"], predictor.decide(first["score"]))
    assert (second["state"], second["score"]) == ("no-face", None)


def test_a_clip_is_as_sharp_as_the_least_sharp_of_its_frames(shipped_clips):
    soft = np.asarray(Image.fromarray(FACE).filter(ImageFilter.GaussianBlur(4)))
    strict = Predictor(shipped_clips, min_sharpness=30)
    assert strict.score_clip([FACE] * 3).score is not None
    assert strict.score_clip([FACE, soft, FACE]).state == "blurred"
    assert strict.score_clip([FACE, WALL, FACE]).state == "no-face"


def test_what_holds_no_clip_has_a_line_that_says_so(predictor, moved, tmp_path):
    Image.fromarray(FACE).save(tmp_path / "a.png")
    video(tmp_path / "b.mp4", [FACE] * 4)
    (tmp_path / "c.mp4").write_bytes(moved.read_bytes())
    (tmp_path / "d.mp4").write_bytes(b"no video")
    picture, short, whole, broken = predict(str(tmp_path), predictor)
    assert (picture.state, short.state, broken.state) == ("no-clip", "no-clip", "unreadable")
    assert picture.reason == "a picture; the model takes 3 frames of a video, 2 apart"
    assert "4 frames, and a clip spans 5; the model takes 3 frames" in short.reason
    assert whole.score is not None


def test_a_store_is_scored_by_its_clips_and_other_frames_are_told(predictor, tmp_path):
    with shard_writer(tmp_path, "one", StoreConfig(), {}) as writer:
        for frame in (0, 2, 4, 6):
            writer.write(
                [
                    replace(moving([0], "", frame), columns=columns | {"view": view})
                    for columns in [row(0, split="test", subject="s", attack="") | {"frame": frame}]
                    for view in (0, 1)
                ]
            )
    Store(tmp_path).commit([writer.info], parent=None, config=BUILD, lineage={})
    clip, outside = predict(str(tmp_path), predictor)
    crops = np.stack([moving([0], "", frame).image for frame in (0, 2, 4)])
    assert clip.path.endswith("#4")
    assert clip.score == pytest.approx(float(predictor.model.score(crops[None])[0]))
    assert (outside.path[-2:], outside.state) == ("#6", "no-clip")
    assert outside.reason.startswith("a frame outside of the clips; the model takes 3 frames")


def test_the_command_never_loads_torch(shipped_clips, moved):
    answer, loaded = predicted_in_a_process_of_its_own(moved, shipped_clips)
    assert loaded == []
    assert 0 < answer["score"] < 1


@pytest.mark.parametrize("where", [["film.mp4", "--no-show"], ["--web"]])
def test_live_refuses_a_model_of_clips_and_names_its_first_stage(shipped_clips, monkeypatch, capsys, where):
    assert call(monkeypatch, "live", *where, "--model", shipped_clips) == 2
    error = capsys.readouterr().err
    assert "it scores clips of 3 frames" in error
    assert "fas-sgtd-single" in error
    assert error.count("\n") == 1
