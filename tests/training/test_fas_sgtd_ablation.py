"""The paper's ablation as runs: each lacks what its row of the table lacks, and each can be trained."""

import numpy as np
import pytest
import torch

from storage.dataset import DepthDataset
from tests.fixtures.clips import build_clip_store
from training.batch import Batch
from training.clips import split_of_clips
from training.experiments.experiment import find_experiment
from training.methods import Moment, get_method
from training.methods.fas_sgtd import SGTDConfig
from training.splits import split_train_dev

SMALL = {
    "fas-sgtd": {"single": {"width": 0.0625, "epochs": 1}, "frames": 3},
    "fas-sgtd-single": {"width": 0.0625},
}


def runs(experiment, small=SMALL):
    """Rows of an experiment: name -> method and settings, smaller ones."""
    found = {}
    for row in find_experiment(experiment).rows:
        method = get_method(row.method)
        found[row.name] = method, method.settings.model_validate({**small.get(row.method, {}), **row.settings})
    return found


# model: contrast, gradients, block, recurrence, binary head
TABLE_2 = {
    "model-1": (False, False, None, False, False),
    "model-2": (True, False, None, False, False),
    "model-3": (True, True, None, False, False),
    "model-4": (True, True, "ststb", False, False),
    "model-5": (True, True, "ststb", True, False),
    "model-6": (True, True, "off", True, True),
    "model-7": (True, True, "ststb", True, True),
}


@pytest.mark.parametrize("name", TABLE_2)
def test_models_have_what_table_2_says(name):
    method, settings = runs("fas-sgtd-ablation")[name]
    network = method.network(**method.network_arguments(settings))
    learner = method.learner(network, settings, 0)
    temporal = getattr(network, "temporal", None)
    label = torch.tensor([0.0, 1.0])
    image, depth = torch.rand(2, 3, 3, 64, 64), torch.rand(2, 3, 1, 32, 32) * (1 - label)[:, None, None, None, None]
    if temporal is None:
        image, depth = image[:, 0], depth[:, 0]
    learner.begin_epoch(2)
    (objective,) = learner.losses(Batch(image, depth, label, np.arange(2)), Moment(2, 1, 1))
    assert (
        "contrast" in objective.terms,
        any("gradient_norm" in n for n, _ in network.named_parameters()),
        None if temporal is None else temporal.block,
        temporal is not None and bool(temporal.cells),
        "binary" in objective.terms and network.head is not None,
    ) == TABLE_2[name]
    sum(objective.terms.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_the_whole_method_is_in_every_grid():
    for experiment, row in (("ablation", "model-7"), ("alpha", "alpha-0.6"), ("interval", "interval-3")):
        assert runs(f"fas-sgtd-{experiment}", {})[row][1] == SGTDConfig()
    assert [s.alpha for _, s in runs("fas-sgtd-alpha").values()] == [i / 10 for i in range(10)]
    assert [s.interval for _, s in runs("fas-sgtd-interval").values()] == [1, 3, 5, 7]


def test_a_store_of_all_frames_serves_every_interval(tmp_path):
    store = build_clip_store(tmp_path / "store", {"train": ["s0", "s1", "s2"]}, frames=tuple(range(15)))
    table = DepthDataset(str(store)).table
    split = split_train_dev(table, seed=0)
    clips = {}
    for name, (method, settings) in runs("fas-sgtd-interval").items():
        clips[name] = len(split_of_clips(split, table, method.targets(settings)).dev)
    # of each of a subject's four videos of 15 frames: five clips of three neighbours ... or one of 0, 7, 14
    assert clips == {"interval-1": 4 * 5, "interval-3": 4 * 3, "interval-5": 4 * 5, "interval-7": 4}
