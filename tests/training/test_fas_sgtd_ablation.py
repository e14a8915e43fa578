"""The paper's ablation as runs: each lacks what its row of the table lacks, and each can be trained."""

import numpy as np
import pytest
import torch

from storage.dataset import DepthDataset
from tests.fixtures.clips import build_clip_store
from training.batch import Batch
from training.clips import split_of_clips
from training.methods import Moment, get_method
from training.methods.fas_sgtd import SGTDConfig
from training.methods.fas_sgtd_ablation import GRIDS, alphas, intervals, models
from training.methods.fas_sgtd_single import SGTDSingleConfig
from training.splits import split_train_dev

SMALL = SGTDConfig(single=SGTDSingleConfig(width=0.0625, epochs=1), frames=3)

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
    variant = models(SMALL)[name]
    method = get_method(variant.method)
    network = method.network(**method.network_arguments(variant.settings))
    learner = method.learner(network, variant.settings, 0)
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
    whole = SGTDConfig()
    assert models()["model-7"].settings == alphas()["alpha-0.6"].settings == intervals()["interval-3"].settings == whole
    assert [v.published for v in models().values()] == [6.25, 5.07, 3.19, 2.99, 2.85, 3.20, 2.71]
    assert [v.settings.alpha for v in alphas().values()] == [i / 10 for i in range(10)]
    assert [v.settings.interval for v in intervals().values()] == [1, 3, 5, 7]
    assert set(GRIDS) == {"models", "alphas", "intervals"}


def test_a_store_of_all_frames_serves_every_interval(tmp_path):
    store = build_clip_store(tmp_path / "store", {"train": ["s0", "s1", "s2"]}, frames=tuple(range(15)))
    table = DepthDataset(str(store)).table
    split = split_train_dev(table, seed=0)
    clips = {}
    for name, variant in intervals(SMALL).items():
        targets = get_method(variant.method).targets(variant.settings)
        clips[name] = len(split_of_clips(split, table, targets).dev)
    # of each of a subject's four videos of 15 frames: five clips of three neighbours ... or one of 0, 7, 14
    assert clips == {"interval-1": 4 * 5, "interval-3": 4 * 3, "interval-5": 4 * 5, "interval-7": 4}
