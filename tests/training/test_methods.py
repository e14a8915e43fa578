"""The other published methods: sizes as published, signs, that each can learn, and that its export is itself."""

import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from liveness.model import LivenessModel
from storage.dataset import DepthDataset
from tests.fixtures.balls import FAST, SIZE
from training.batch import Batch
from training.checkpoint import load_model
from training.config import TrainConfig
from training.errors import TrainingError
from training.evaluate import evaluate, read_scores
from training.export import export
from training.methods import Moment, get_method, parameters
from training.methods.backbone import Backbone
from training.methods.cdcn import SpatialAttention
from training.methods.convolution import CentralDifferenceConv2d
from training.methods.densenet import DenseNetStart
from training.methods.googlenet import GoogLeNet
from training.methods.initial import load_encoder
from training.methods.lgsc import AuxiliaryClassifier, CueGenerator, live_regression, live_triplets
from training.methods.plain import PlainClassifier
from training.methods.resnet import SqueezeExcitation, he_init
from training.train import train

EPOCHS = 6
# small and quick versions of each; what is not here is as published
QUICK = {
    "pixelwise-depth": {"width": 4, "depth_size": SIZE, "lr": 5e-3, "epochs": 12},
    "pixelwise-binary": {"width": 4, "lr": 5e-3},
    "deepixbis": {"growth": 6, "map_size": SIZE // 16, "lr": 5e-3},
    "cdcn": {"width": 0.1, "lr": 5e-3},
    "cdcn++": {"width": 0.1, "lr": 5e-3},
    "lgsc": {"width": 0.125, "lr": 2e-3, "epochs": 3},
    "googlenet": {"lr": 1e-3, "epochs": 3},
    "resnet18": {"width": 0.125, "lr": 2e-3},
    "se-resnet18": {"width": 0.125, "lr": 2e-3},
}
# norms by instance leave nothing of features of 2 x 2 px, which is what 64 px come down to
RUN = {"lgsc": {"input_size": 128}}


def made(name, seed=0, **settings):
    """A method's network and learner."""
    method = get_method(name)
    chosen = method.settings(**settings)
    network = method.network(**method.network_arguments(chosen))
    return network, method.learner(network, chosen, seed)


def batch_of(n=8, size=64, depth_size=64, seed=0):
    random = torch.Generator().manual_seed(seed)
    label = (torch.arange(n) % 2).float()
    depth = torch.rand(n, 1, depth_size, depth_size, generator=random) * (1 - label)[:, None, None, None]
    return Batch(torch.rand(n, 3, size, size, generator=random), depth, label, np.arange(n))


def depth_size_of(name):
    method = get_method(name)
    return method.targets(method.settings(**QUICK[name])).depth_size


# every method ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected", "tolerance"),
    [
        ("pixelwise-depth", 3.03e6, 5e-3),
        ("pixelwise-binary", 2.27e6, 5e-3),
        ("deepixbis", 3.1987e6, 5e-3),
        ("cdcn", 2.2450e6, 5e-3),
        ("cdcn++", 2.2574e6, 5e-3),
        ("lgsc", 16_322_583, 0),
        ("googlenet", 5_599_904 + 1_025, 0),  # torchvision's without its last layer, and one logit
        ("resnet18", 11_176_512 + 513, 0),
        ("se-resnet18", 11_176_512 + 513 + 89_080, 0),
    ],
)
def test_networks_have_the_published_size(name, expected, tolerance):
    network, _ = made(name)
    assert parameters(network) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("name", QUICK)
def test_what_a_paper_says_of_the_run_are_settings_that_exist(name):
    method = get_method(name)
    TrainConfig.model_validate(method.run)
    assert method.reference


@pytest.mark.parametrize("name", QUICK)
def test_a_few_steps_learn_a_batch_by_heart_and_live_scores_higher(name):
    torch.manual_seed(0)
    network, learner = made(name, **QUICK[name])
    batch = batch_of(depth_size=depth_size_of(name) or SIZE)
    losses = []
    learner.begin_epoch(1)
    for step in range(30):
        (objective,) = learner.losses(batch, Moment(1, step, 99))
        loss = torch.stack(list(objective.terms.values())).sum()
        learner.optimisers[objective.optimiser].zero_grad()
        loss.backward()
        learner.optimisers[objective.optimiser].step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    with torch.no_grad():  # with the batch's own statistics: 30 steps are too few for running ones
        score = network.score(network(batch.image))
    assert score[batch.label == 0].mean() > score[batch.label == 1].mean()


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_each_method_is_trained_evaluated_and_exported(name, store, tmp_path):
    method = get_method(name)
    settings = method.settings(**{"epochs": EPOCHS, **QUICK[name]})
    config = TrainConfig(**{**FAST, **RUN.get(name, {})}, loop={"track": []})
    model = train(str(store), tmp_path / "model", method, settings, config)
    result = evaluate(str(store), model, tmp_path / "evaluation")
    assert result.metrics.auc > 0.85
    shipped = LivenessModel(export(model, tmp_path / "shipped"))  # refused where its scores are not torch's
    assert shipped.card.method == name
    data = DepthDataset(str(store), where={"split": "test", "view": 0})
    crops = np.stack([item["image"].permute(1, 2, 0).numpy() for item in data.__getitems__(range(len(data)))])
    known = read_scores(tmp_path / "evaluation" / "scores.parquet")
    assert shipped.score(crops) == pytest.approx(known.score, abs=1e-5)


# pixel-wise depth and its binary twin -----------------------------------------------


def test_depth_and_binary_network_start_from_the_same_trunk():
    (depth, _), (binary, _) = made("pixelwise-depth", seed=3), made("pixelwise-binary", seed=3)
    ours, theirs = depth.trunk.state_dict(), binary.trunk.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    image = torch.rand(1, 3, 64, 64)
    assert [f.shape[1:] for f in depth.trunk(image)] == [(16 * 2**k, 64 // 2**k, 64 // 2**k) for k in range(5)]
    assert depth(image).shape == (1, 1, 64, 64)
    assert binary(image).shape == (1,)


def test_a_map_of_another_size_than_its_target_says_which_setting():
    _, learner = made("pixelwise-depth", width=2)
    with pytest.raises(TrainingError, match=r"maps of 64 px, the targets have 32: set settings\.depth_size=64"):
        next(learner.losses(batch_of(depth_size=32), Moment(1, 0, 9)))


def test_empty_maps_for_live_faces_are_said():
    _, learner = made("pixelwise-depth", width=2)
    empty = {"dev_depth_live": 0.001, "dev_target_live": 0.3}
    assert learner.trouble([empty] * 4) is None
    assert "draws zeros" in learner.trouble([empty] * 5)
    assert learner.trouble([empty] * 4 + [{"dev_depth_live": 0.2, "dev_target_live": 0.3}]) is None


# DeePixBiS ---------------------------------------------------------------------------


def test_deepixbis_draws_14_by_14_and_each_decision_is_its_own():
    network, _ = made("deepixbis", growth=4)
    network.eval()
    with torch.no_grad():
        output = network(torch.rand(2, 3, 224, 224))
    assert output.shape == (2, 1, 14, 14)
    scores = {}
    for decision in ("map", "binary", "both"):
        network.decision = decision
        scores[decision] = network.score(output.double())
    assert torch.allclose(scores["map"], output.double().sigmoid().mean(dim=(1, 2, 3)))
    assert torch.allclose(
        scores["binary"], network.linear.double()(output.double().sigmoid().flatten(1))[:, 0].sigmoid()
    )
    assert torch.allclose(scores["both"], (scores["map"] + scores["binary"]) / 2)


def test_deepixbis_labels_every_pixel_of_a_live_map_one():
    network, learner = made("deepixbis", growth=4, map_size=2)
    network.forward = lambda image: (1 - batch.label)[:, None, None, None].expand(-1, 1, 2, 2) * 40 - 20
    batch = batch_of(size=32)
    terms = next(learner.losses(batch, Moment(1, 0, 9))).terms
    assert terms["pixels"] == pytest.approx(0, abs=1e-6)
    batch.label = 1 - batch.label
    right = network.forward(batch.image)
    network.forward = lambda image: -right
    assert next(learner.losses(batch, Moment(1, 0, 9))).terms["pixels"] == pytest.approx(10, rel=1e-3)


def test_pictures_that_the_linear_layer_was_not_made_for_are_said():
    _, learner = made("deepixbis", growth=4)
    with pytest.raises(TrainingError, match=r"64 px give maps of 4 px.*settings\.map_size=4, or input_size=224"):
        next(learner.losses(batch_of(), Moment(1, 0, 9)))


# CDCN ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cdcn", "cdcn++"])
def test_cdcn_is_folded_exactly(name):
    network, _ = made(name, seed=1)
    network.eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = network(image)
        after = network.fold()(image)
    assert before.shape == (1, 1, 32, 32)
    assert not [m for m in network.modules() if isinstance(m, CentralDifferenceConv2d)]
    assert (before - after).abs().max() < 1e-5 * before.abs().max()


def test_cdcn_sees_differences_unless_told_otherwise():
    central, plain = (made("cdcn", width=0.1, theta=theta)[0] for theta in (0.7, 0.0))
    assert len([m for m in central.modules() if isinstance(m, CentralDifferenceConv2d)]) == 13
    assert not [m for m in plain.modules() if isinstance(m, CentralDifferenceConv2d)]
    _, learner = made("cdcn", width=0.1)
    assert set(next(learner.losses(batch_of(depth_size=32), Moment(1, 0, 9))).terms) == {"mse", "contrast"}


def test_attention_weighs_places_alike_in_all_channels():
    x = torch.rand(2, 5, 8, 8) + 0.1
    weight = SpatialAttention(3)(x) / x
    assert weight.min() > 0
    assert weight.max() < 1
    assert torch.allclose(weight, weight[:, :1].expand_as(weight), atol=1e-6)


# spoof cues -----------------------------------------------------------------------------


def test_cues_and_features_have_the_published_shapes():
    assert parameters(AuxiliaryClassifier()) == 11_177_538
    generator = CueGenerator(width=0.25)
    cue, features = generator.drawn(torch.rand(1, 3, 224, 224))
    assert cue.shape == (1, 3, 224, 224)
    assert cue.abs().max() <= 1
    sides = [(512, 7), (256, 14), (128, 28), (64, 56), (64, 112)]
    assert [f.shape[1:] for f in features] == [(channels // 4, side, side) for channels, side in sides]


def test_the_score_is_1_for_no_cue_and_0_for_the_largest():
    generator = CueGenerator(width=0.125)
    assert generator.score(torch.zeros(2, 3, 8, 8)).tolist() == [1, 1]
    assert generator.score(torch.tensor([1.0, -1.0]).repeat_interleave(192).view(2, 3, 8, 8)).tolist() == [0, 0]


def test_only_live_cues_are_drawn_to_zero():
    cue = torch.stack([torch.full((3, 4, 4), v) for v in (0.1, -0.3, 0.9, 0.9)])
    assert live_regression(cue, torch.tensor([0.0, 0, 1, 1])) == pytest.approx(0.2)
    assert live_regression(cue, torch.ones(4)) == 0


def test_triplets_are_those_with_live_anchors():
    label = torch.tensor([0.0, 0, 0, 1, 1])
    features = torch.rand(5, 6, 3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    v = torch.nn.functional.normalize(features.mean(dim=(2, 3)))
    by_hand = [
        (v[a] - v[p]).norm() - (v[a] - v[n]).norm() + 0.5 for a in range(3) for p in range(3) for n in (3, 4) if a != p
    ]
    paid = [cost for cost in by_hand if cost > 0]
    assert live_triplets(features, label, 0.5).item() == pytest.approx(sum(paid).item() / len(paid), rel=1e-5)
    apart = torch.zeros(4, 2, 1, 1)
    apart[:2, 0], apart[2:, 1] = 1, 1  # live one way, spoof another: farther than the margin
    assert live_triplets(apart, torch.tensor([0.0, 0, 1, 1]), 0.5) == 0
    for one_class in (torch.zeros(4), torch.ones(4)):
        assert live_triplets(apart, one_class, 0.5) == 0


def test_the_three_terms_carry_their_weights_and_reach_both_networks():
    batch = batch_of()
    terms = {}
    for weights in ((5, 1, 5), (10, 3, 1)):
        torch.manual_seed(0)  # of the dropout
        names = ("w_regression", "w_triplet", "w_classifier")
        network, learner = made("lgsc", width=0.125, **dict(zip(names, weights, strict=True)))
        terms[weights] = next(learner.losses(batch, Moment(1, 0, 9))).terms
    ratios = [(terms[(10, 3, 1)][n] / terms[(5, 1, 5)][n]).item() for n in ("regression", "triplets", "classifier")]
    assert ratios == pytest.approx([2, 3, 0.2], rel=1e-4)
    terms[(10, 3, 1)]["classifier"].backward()
    assert learner.classifier.head[1].weight.grad.abs().sum() > 0
    assert network.last.up.weight.grad.abs().sum() > 0  # through the picture with its cue
    assert set(network.state_dict()) & {"head.1.weight", "classifier.head.1.weight"} == set()  # not kept


def test_instance_norms_take_the_strength_of_a_cue_and_batch_norms_leave_it():
    """What the last stage is given, ten times as strong: the score moves only where norms are the batch's."""
    x = torch.rand(4, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    x[:2] *= 10
    for norm, moves in (("instance", False), ("batch", True)):
        stage = he_init(CueGenerator(0.125, norm=norm), torch.Generator().manual_seed(0)).last
        with torch.no_grad():
            strength = torch.tanh(stage(x, None)).abs().mean(dim=(1, 2, 3))
        assert ((strength[:2].mean() / strength[2:].mean() - 1).abs() > 0.1).item() is moves


def test_an_encoder_from_a_file_keeps_its_statistics(tmp_path):
    path = tmp_path / "encoder.safetensors"
    source = he_init(CueGenerator(0.125).encoder, torch.Generator().manual_seed(7))
    save_file(source.state_dict(), path)
    for encoder, learns in ((None, True), (path, False)):
        network, learner = made("lgsc", width=0.125, encoder=encoder)
        learner.begin_epoch(1)
        assert network.encoder.bn1.training is learns
        assert network.last.training
        assert learner.origin["init"] == ("he" if learns else "pretrained")


# plain classifiers and published weights --------------------------------------------------


def test_squeeze_and_excitation_weighs_channels():
    x = torch.rand(2, 32, 5, 5) + 0.1
    weight = SqueezeExcitation(32, 16)(x) / x
    assert torch.allclose(weight, weight[:, :, :1, :1].expand_as(weight), atol=1e-5)
    assert len([m for m in PlainClassifier("se-resnet18").modules() if isinstance(m, SqueezeExcitation)]) == 8
    assert not [m for m in PlainClassifier("resnet18").modules() if isinstance(m, SqueezeExcitation)]


@pytest.mark.parametrize(
    ("trunk", "shape"), [("googlenet", (1024, 7, 7)), ("resnet18", (512, 7, 7)), ("se-resnet18", (512, 7, 7))]
)
def test_plain_trunks_end_at_a_32nd(trunk, shape):
    assert PlainClassifier(trunk).encoder(torch.rand(1, 3, 224, 224)).shape[1:] == shape


def published(backbone: Backbone):
    """A weights file as torchvision has it: its names, its last layer, DenseNet's names of before 2018."""
    state = {backbone.torchvision_name(name): tensor for name, tensor in backbone.state_dict().items()}
    if isinstance(backbone, DenseNetStart):
        state = {re.sub(r"(norm|conv)([12])\.", r"\1.\2.", name): tensor for name, tensor in state.items()}
    return {**state, "fc.weight": torch.zeros(1000, 4), "aux1.fc2.bias": torch.zeros(1000)}


@pytest.mark.parametrize("make", [GoogLeNet, DenseNetStart])
def test_published_weights_are_read_by_torchvisions_names(tmp_path, make):
    source = he_init(make(), torch.Generator().manual_seed(5)).eval()
    path = tmp_path / "published.pth"
    torch.save(published(source), path)
    encoder = make().eval()
    assert load_encoder(encoder, path) == {"init": "file", "encoder": str(path)}
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(encoder(image), source(image))
    other = DenseNetStart() if make is GoogLeNet else GoogLeNet()
    with pytest.raises(TrainingError, match=f"is nothing, not .* expected {other.what}"):
        load_encoder(other, path)


def test_a_method_without_a_published_file_starts_from_its_own_models(store, tmp_path):
    method, config = get_method("cdcn"), TrainConfig(**FAST, loop={"track": []})
    settings = method.settings(**QUICK["cdcn"], epochs=1)
    first = train(str(store), tmp_path / "first", method, settings, config)
    again, learner = made("cdcn", **QUICK["cdcn"], encoder=first)
    assert learner.origin == {"init": "checkpoint", "encoder": str(first)}
    kept, _ = load_model(first)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), kept.parameters(), strict=True))
    with pytest.raises(TrainingError, match=r"trained with theta 0\.7, this one has 0\.0"):
        made("cdcn", **QUICK["cdcn"], theta=0.0, encoder=first)
    with pytest.raises(TrainingError, match="do not fit CDCNet"):
        made("cdcn", width=0.2, encoder=first)
