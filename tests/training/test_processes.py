"""Two processes are one run: the same weights as one process that accumulates both shares."""

import pytest
import torch
from safetensors.torch import load_file

from tests.fixtures.balls import FAST
from training.checkpoint import load_json
from training.config import LoopConfig
from training.errors import TrainingError
from training.finetune import FinetuneConfig, finetune

ONE = {**FAST, "batch": 8, "epochs": 1}


@pytest.mark.slow
def test_two_processes_train_as_one_that_accumulates(store, tmp_path):
    calls = []
    two = FinetuneConfig(loop=LoopConfig(devices=2, clip_norm=1.0), **ONE)
    finetune(str(store), tmp_path / "two", two, lambda *call: calls.append(call[:3]))
    one = FinetuneConfig(loop=LoopConfig(accumulate=2, clip_norm=1.0), **ONE)
    finetune(str(store), tmp_path / "one", one)
    assert calls == [("pdgan", i, 8) for i in range(1, 9)]
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    for name, tensor in weights[0].items():
        if "running" not in name and "tracked" not in name:  # statistics of a norm are each process's own, averaged
            assert torch.allclose(tensor, weights[1][name], atol=1e-6), name
    ones, twos = (load_json(tmp_path / name / "history.json")[0] for name in ("one", "two"))
    assert ones["bce"] == pytest.approx(twos["bce"], rel=1e-5)


@pytest.mark.slow
def test_an_error_in_the_processes_is_one_error_here(store, tmp_path):
    wild = FinetuneConfig(lr=1e30, loop=LoopConfig(devices=2), **ONE)
    with pytest.raises(TrainingError, match="pdgan: bce became"):
        finetune(str(store), tmp_path, wild)
    assert not (tmp_path / "model.json").exists()
