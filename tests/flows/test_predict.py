"""From a picture, a video, a folder or a store to a decision: in a process that never sees torch."""

import shutil
from pathlib import Path

import av
import numpy as np
import onnx
import pytest
from PIL import Image, ImageFilter

from flows.predict import predict
from flows.predictor import Predictor
from liveness.card import read_card
from liveness.errors import ModelError
from storage.config import StoreConfig
from storage.schema import Sample
from storage.snapshot import Store
from storage.writer import shard_writer
from tasks.augment import ViewConfig, view_affine, view_rng
from tasks.detect import DetectConfig
from tasks.detectors import load_detector
from tasks.errors import BuildError
from tasks.warp import warp
from tests.fixtures.balls import row
from tests.fixtures.photos import ASTRONAUT, GRACE_HOPPER, photo
from tests.fixtures.shipped import BUILD, SIZE, predicted_in_a_process_of_its_own
from tests.flows.test_cli import call
from training.onnx_graph import save_onnx


@pytest.fixture(scope="module")
def predictor(shipped) -> Predictor:
    return Predictor(shipped)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """Two seconds: a face, then a wall."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    face = np.asarray(Image.fromarray(photo(ASTRONAUT)).resize((256, 256)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
        stream.width = stream.height = 256
        stream.pix_fmt = "yuv420p"
        for i in range(20):
            frame = av.VideoFrame.from_ndarray(face if i < 10 else np.full_like(face, 90), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_picture_is_scored_as_torch_scores_the_crop_of_a_build(predictor, shipped):
    """The same crop by the steps of a build, and the network itself."""
    import torch

    from training.checkpoint import load_model

    image = photo(ASTRONAUT)
    box = load_detector(DetectConfig())([image])[0].boxes[0]
    crop = warp(image, view_affine(box, 0, view_rng(0, "", "", 0, 0), ViewConfig(size=SIZE)), SIZE)
    net, _ = load_model(shipped.parent / "run")
    with torch.no_grad():
        pixels = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255
        wanted = float(net.score(net(pixels).double()))
    got = predictor.score([image])[0]
    assert got.score == pytest.approx(wanted, abs=1e-6)
    assert got.state == ("live" if wanted >= 0.5 else "spoof")
    assert (got.crop == crop).all()
    assert got.face.box == pytest.approx(box)


def test_frames_of_different_sizes_are_answered_in_order(predictor):
    images = [photo(ASTRONAUT), np.zeros((50, 70, 3), np.uint8), photo(GRACE_HOPPER)]
    together = predictor.score(images)
    assert [r.state == "no-face" for r in together] == [False, True, False]
    for image, result in zip(images, together, strict=True):
        alone = predictor.score([image])[0]
        assert alone.score == pytest.approx(result.score) if result.score else alone.score is None


def test_a_tracked_box_needs_no_detection(predictor):
    image = photo(ASTRONAUT)
    faces = predictor.find([image])
    assert predictor.judge([image], faces)[0].score == predictor.score([image])[0].score


def test_why_there_is_no_score(shipped):
    image = photo(ASTRONAUT)
    soft = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(8)))
    strict = Predictor(shipped, min_sharpness=30.0)
    sharp, blurred = strict.score([image, soft])
    assert sharp.score is not None
    assert (blurred.state, blurred.score) == ("blurred", None)
    assert blurred.sharpness < 30 < sharp.sharpness
    assert Predictor(shipped, min_face=400).score([image])[0].state == "too-small"


def test_a_threshold_is_chosen_by_name(shipped, predictor):
    assert (predictor.threshold, Predictor(shipped, threshold="bpcer5").threshold) == (0.5, 0.4)
    assert predictor.decide(0.5) == "live"
    assert predictor.decide(0.49999) == "spoof"


def test_another_detector_than_the_models_is_refused(shipped, tmp_path):
    folder = Path(shutil.copytree(shipped, tmp_path / "model"))
    card = read_card(folder)
    card = card.model_copy(update={"crop": card.crop.model_copy(update={"detector_sha256": "0" * 64})})
    sha256 = save_onnx(onnx, onnx.load(str(folder / "model.onnx")), folder / "model.onnx", card)
    network = card.networks["fp32"].model_copy(update={"sha256": sha256})
    (folder / "model.json").write_text(card.model_copy(update={"networks": {"fp32": network}}).model_dump_json())
    with pytest.raises(ModelError, match="other boxes are other crops"):
        Predictor(folder)


def test_a_video_is_one_decision_of_its_frames(predictor, video):
    (found,) = predict(str(video), predictor, frames=4)
    assert [f["frame"] for f in found.frames] == [2, 7, 12, 17]
    assert [f["state"] == "no-face" for f in found.frames] == [False, False, True, True]
    scores = [f["score"] for f in found.frames[:2]]
    assert found.score == pytest.approx(np.mean(scores))
    assert found.state == predictor.decide(found.score)
    (lowest,) = predict(str(video), predictor, frames=4, fusion="min")
    assert lowest.score == min(scores)


def test_a_folder_is_gone_through_in_order_and_bad_files_have_a_line(predictor, tmp_path):
    Image.fromarray(photo(ASTRONAUT)).save(tmp_path / "b.png")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "broken.jpg").write_bytes(b"no picture")
    Image.new("RGB", (64, 64)).save(tmp_path / "c.png")
    (tmp_path / "notes.txt").write_text("not a medium")
    found = list(predict(str(tmp_path), predictor))
    assert [Path(p.path).name for p in found] == ["b.png", "c.png", "broken.jpg"]
    by_name = {Path(p.path).name: p for p in found}
    assert by_name["b.png"].score is not None
    assert "not-an-image" in by_name["broken.jpg"].reason
    assert by_name["c.png"].reason == "no face was found"


def test_a_folder_without_media_and_a_path_to_nothing_are_errors(predictor, tmp_path):
    with pytest.raises(BuildError, match=r"no picture and no video in it; looked for .*\.jpg"):
        predict(str(tmp_path), predictor)
    with pytest.raises(BuildError, match="no such file or folder"):
        predict(str(tmp_path / "x.png"), predictor)


def test_a_store_is_scored_by_its_crops(predictor, tmp_path):
    crop = predictor.score([photo(ASTRONAUT)])[0].crop
    with shard_writer(tmp_path, "one", StoreConfig(), {}) as writer:
        depth = np.ones(crop.shape[:2], np.uint8)
        columns = row(0, split="test", subject="s", attack="")
        writer.write([Sample(crop, depth, columns), Sample(crop, depth, columns | {"view": 1})])
        writer.write([Sample(crop, None, row(1, split="train", subject="s", attack="print"))])
    store = Store(tmp_path)
    store.commit([writer.info], parent=None, config=BUILD, lineage={})
    found = list(predict(str(tmp_path), predictor))
    assert [p.path for p in found] == ["balls:test/s/0.png#0", "balls:train/s/1.png#0"]  # plain crops only
    assert found[0].score == predictor.score([photo(ASTRONAUT)])[0].score
    assert len(list(predict(f"{tmp_path}@1", predictor, split="test"))) == 1
    store.commit([writer.info], parent=1, config={"view": {"margin": 2.0}}, lineage={})
    with pytest.raises(ModelError, match="the scores would mean nothing"):
        list(predict(str(tmp_path), predictor))


def test_the_command_answers_in_json_and_never_loads_torch(shipped, tmp_path):
    found, loaded = predicted_in_a_process_of_its_own(ASTRONAUT, shipped)
    assert loaded == []
    assert found["state"] in ("live", "spoof")
    assert found["positive_class"] == "live"
    assert 0 < found["score"] < 1
    assert len(found["face"]["box"]) == 4


def test_mistakes_of_the_command_are_one_line(shipped, tmp_path, monkeypatch, capsys):
    for words, said in (
        (["predict", ASTRONAUT, "--model", tmp_path], "model.json: cannot read it"),
        (["predict", tmp_path / "x.jpg", "--model", shipped], "no such file or folder"),
        (["predict", ASTRONAUT, "--model", shipped, "--threshold", "x"], "there are bpcer5, eer"),
        (["export", tmp_path, "-o", tmp_path / "out"], "is this the folder of a finished run?"),
    ):
        assert call(monkeypatch, *words) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
