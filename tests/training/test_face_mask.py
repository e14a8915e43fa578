"""Whose depth is the score: the whole map's, an ellipse's, or the face's as the store has it."""

import numpy as np
import pytest
import torch

from storage.dataset import DepthDataset
from tests.fixtures.balls import FAST, build_store
from tests.fixtures.clips import build_clip_store
from training.batch import Batch
from training.config import TrainConfig
from training.errors import TrainingError
from training.evaluate import evaluate, read_scores
from training.export import export
from training.methods import get_method
from training.methods.face_mask import ellipse, face_mask, masked_depth
from training.train import train

DEPTH = {
    "pixelwise-depth": {"width": 2, "depth_size": 64},
    "cdcn": {"width": 0.1},
    "cdcn++": {"width": 0.1},
    "fas-sgtd-single": {"width": 0.0625},
}
CONFIG = TrainConfig(**FAST, loop={"track": []})
PEOPLE = {"train": ["a", "b", "c", "d"], "test": ["e"]}


def test_depth_of_a_face_is_its_mean_in_the_mask():
    depth = torch.zeros(2, 3, 1, 32, 32)
    depth[0, :, :, 8:24, 8:24] = 0.5
    depth[1] = 7.0  # beyond what a depth can be
    mask = torch.zeros(2, 3, 1, 32, 32, dtype=torch.bool)
    mask[..., 8:24, 8:24] = True
    assert masked_depth(depth, mask).tolist() == [0.5, 1.0]
    inside = ellipse(32, torch.device("cpu"))
    assert inside.float().mean().item() == pytest.approx(np.pi * 0.36 * 0.46, rel=0.02)
    assert torch.equal(inside, inside.flip(0))


@pytest.mark.parametrize("name", DEPTH)
def test_each_depth_method_scores_what_is_asked(name):
    method = get_method(name)
    output = torch.zeros(1, 1, 32, 32)
    output[..., :16] = 0.8  # the left half
    stored = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    stored[..., 8:20] = True  # two thirds of it in the left half
    batch = Batch(torch.empty(0), None, torch.zeros(1), np.arange(1), mask=stored)
    corners = output.clone()
    corners[..., ~ellipse(32, torch.device("cpu"))] = 1.0
    for mask, expected in (("whole", 0.4), ("ellipse", 0.4), ("stored", 0.8 * 2 / 3)):
        settings = method.settings(**DEPTH[name], mask=mask)
        assert method.targets(settings).mask is (mask == "stored")
        net = method.network(**method.network_arguments(settings))
        assert net.score_batch(output, batch).item() == pytest.approx(expected)
        if mask == "stored":
            with pytest.raises(TrainingError, match=r"mask=ellipse"):
                net.score(output)
        else:
            assert net.score(output).item() == pytest.approx(expected)
            assert (net.score(corners) > net.score(output)).item() is (mask == "whole")


def test_a_mask_without_a_face_is_refused():
    stored = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    stored[0, 0, 4, 4] = True
    with pytest.raises(TrainingError, match="spoof_mask"):
        face_mask("stored", torch.zeros(2, 1, 8, 8), stored)


def test_a_store_without_masks_is_noticed_in_the_first_batch(tmp_path):
    store = build_store(tmp_path / "balls", PEOPLE, each=4)
    method = get_method("cdcn")
    with pytest.raises(TrainingError, match=r"no face mask.*spoof_mask: true"):
        train(str(store), tmp_path / "out", method, method.settings(**DEPTH["cdcn"], mask="stored"), CONFIG)


def test_stored_masks_reach_the_scores_and_an_ellipse_reaches_the_exported_graph(tmp_path):
    store = str(build_clip_store(tmp_path / "store", PEOPLE, each=6, frames=(0,), spoof_mask=True))
    method = get_method("cdcn")
    models = {}
    for mask in ("stored", "ellipse"):
        settings = method.settings(**DEPTH["cdcn"], epochs=1, lr=5e-3, mask=mask)
        models[mask] = train(store, tmp_path / mask, method, settings, CONFIG)
        evaluate(store, models[mask], tmp_path / f"{mask}-evaluation")
    weights = [(folder / "model.safetensors").read_bytes() for folder in models.values()]
    assert weights[0] == weights[1]  # the mask is the score's alone
    scores = [read_scores(tmp_path / f"{mask}-evaluation" / "scores.parquet").score for mask in models]
    assert len(DepthDataset(store, where={"split": "test"})) == len(scores[0])
    assert np.abs(scores[0] - scores[1]).max() > 1e-4
    with pytest.raises(TrainingError, match=r"mask=ellipse"):
        export(models["stored"], tmp_path / "no")
    assert (export(models["ellipse"], tmp_path / "shipped") / "model.onnx").exists()  # refused if its scores differ
