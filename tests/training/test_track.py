"""Curves and sample grids end where they can be looked at."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from tensorboardX.proto.event_pb2 import Event

from tests.fixtures.balls import FAST, FAST_PDGAN
from training.config import LoopConfig
from training.errors import TrainingError
from training.finetune import FinetuneConfig, finetune
from training.pretrain import PretrainConfig, pretrain
from training.track import SIDE, grid


def events(folder):
    """What a viewer reads: (tag, step, kind, value) of every record of every event file."""
    found = []
    for path in sorted((folder / "tensorboard").iterdir()):
        data = path.read_bytes()
        at = 0
        while at < len(data):  # length (8), its checksum (4), record, its checksum (4)
            length = int.from_bytes(data[at : at + 8], "little")
            event = Event.FromString(data[at + 12 : at + 12 + length])
            found += [
                (v.tag, event.step, v.WhichOneof("value"), v.simple_value or v.image.encoded_image_string)
                for v in event.summary.value
            ]
            at += 16 + length
    return found


def test_curves_and_grids_of_a_run_are_in_its_folder(trained):
    found = events(trained.pretrained)
    scalars = {(tag, step): value for tag, step, kind, value in found if kind == "simple_value"}
    assert {step for tag, step in scalars if tag == "pdgan-generator/dev_l1_live"} == {8, 16, 24}
    assert {step for tag, step in scalars if tag == "pdgan-generator/g_l1"} == {10, 20}
    assert ("pdgan-generator/d_stored", 20) in scalars
    pictures = [value for tag, _, kind, value in found if kind == "image"]
    assert len(pictures) == 3
    assert all(p.startswith(b"\x89PNG") for p in pictures)
    assert not [tag for tag, *_ in events(trained.model) if tag.endswith("samples")]  # a logit is no picture


def test_a_grid_holds_every_picture_in_its_place():
    red = torch.zeros(2, 3, 4, 4)
    red[1, 0] = 1
    pixels = grid([red, torch.full((2, 1, 8, 8), 0.5)])
    assert pixels.shape == (2 * SIDE, 2 * SIDE, 3)
    assert pixels[SIDE // 2, SIDE // 2].tolist() == [0, 0, 0]
    assert pixels[SIDE // 2, SIDE + SIDE // 2].tolist() == [255, 0, 0]
    assert np.abs(pixels[SIDE + 5].astype(int) - 128).max() <= 1


def test_mlflow_holds_settings_curves_and_grids(store, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs the extra `mlflow`")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)  # where its pictures go
    config = PretrainConfig(pdgan=FAST_PDGAN, loop=LoopConfig(track=("mlflow",)), **FAST)
    pretrain(str(store), tmp_path / "out", config)
    [run] = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert run.info.status == "FINISHED"
    assert run.data.params["config.batch"] == "16"
    client = mlflow.MlflowClient()
    curve = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "pdgan-generator/g_l1")]
    assert [step for step, _ in curve] == [10, 20]
    assert curve[0][1] > curve[1][1] > 0
    folder = "pdgan-generator/samples"
    assert len(client.list_artifacts(run.info.run_id, folder)) == 3


def test_weights_and_biases_holds_curves_and_grids(store, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="needs the extra `wandb`")
    monkeypatch.setenv("WANDB_MODE", "offline")
    out = tmp_path / "out"
    pretrain(str(store), out, PretrainConfig(pdgan=FAST_PDGAN, loop=LoopConfig(track=("wandb",)), **FAST))
    [file] = out.glob("wandb/offline-run-*/run-*.wandb")
    assert file.read_bytes().count(b"pdgan-generator/g_l1") >= 2  # a point each, in plain records
    assert len(list(out.glob("wandb/offline-run-*/files/media/images/pdgan-generator/samples*.png"))) == 3


@pytest.mark.skipif(find_spec("wandb") is not None, reason="says what happens without it")
def test_a_tracker_that_is_not_installed_is_named_before_training(store, tmp_path):
    config = FinetuneConfig(epochs=1, loop=LoopConfig(track=("wandb",)), **FAST)
    with pytest.raises(TrainingError, match=r"install 'pseudodepth\[wandb\]'"):
        finetune(str(store), tmp_path, config, lambda *call: pytest.fail("trained first"))
