"""PDGAN as printed: sizes, shapes, losses with their signs, schedule, and that it can learn at all."""

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from tests.fixtures.balls import face
from training.batch import Batch
from training.config import LoopConfig, TrainConfig
from training.loop import Training
from training.methods import METHODS, Exported, Moment, get_method, parameters
from training.methods.pdgan import Generator, PDGANConfig, PDGANLearner, critic_loss, generator_loss
from training.methods.pdgan_classifier import Classifier, ClassifierConfig, ClassifierLearner
from training.methods.pdgan_nets import DEPTH_SIZES, Critic, Decoder
from training.methods.resnet import Encoder, he_init
from training.runtime import make_fabric


def copies(net):
    return [p.detach().clone() for p in net.parameters()]


def same(before, net):
    return all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def training_of(learner):
    network = next(iter(learner.nets.values()))
    return Training(learner, network, make_fabric(TrainConfig(device="cpu")), LoopConfig(), seed=0)


def generator_training(**options):
    return training_of(PDGANLearner(Generator(32), PDGANConfig(depth_size=32, **options), seed=0))


def classifier_training(**options):
    return training_of(ClassifierLearner(Classifier(), ClassifierConfig(**options), seed=0))


def batch_of(n=4, size=64, depth_size=32, seed=0):
    random = torch.Generator().manual_seed(seed)
    label = (torch.arange(n) % 2).float()
    depth = torch.rand(n, 1, depth_size, depth_size, generator=random) * (1 - label)[:, None, None, None]
    return Batch(torch.rand(n, 3, size, size, generator=random), depth, label, np.arange(n))


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (Encoder(), 702_096),
        (Classifier(), 712_465),  # 128-64-32-1
        (Classifier((64,)), 710_417),  # 128-64-1
        (Classifier((64,), kinds=10), 719_388),  # the same twice, for ten attack types and live
        (Encoder(width=1.0), 11_176_512),  # ResNet-18 without its last layer
    ],
)
def test_parameter_counts_are_exact(net, expected):
    assert parameters(net) == expected


def test_generator_and_critic_have_the_intended_size():
    assert parameters(Encoder()) + parameters(Decoder(224)) == pytest.approx(0.862e6, rel=5e-3)
    assert parameters(Critic()) == pytest.approx(0.880e6, rel=5e-3)


@pytest.mark.parametrize("depth_size", DEPTH_SIZES)
def test_shapes_at_every_depth_size(depth_size):
    embedding = Encoder()(torch.rand(2, 3, 224, 224))
    assert embedding.shape == (2, 128, 7, 7)
    depth = Decoder(depth_size)(embedding)
    assert depth.shape == (2, 1, depth_size, depth_size)
    assert 0 < depth.min() <= depth.max() < 1
    assert [logit.shape for logit in Critic()(depth, torch.rand(2, 3, 224, 224))] == [(2,), (2,)]
    assert Classifier()(torch.rand(2, 3, 224, 224)).shape == (2,)


def test_an_unknown_depth_size_is_refused():
    with pytest.raises(ValueError, match="depth_size must be one of"):
        Decoder(100)


def test_he_init_is_seeded_and_scaled():
    nets = [he_init(Encoder(), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert same(copies(nets[0]), nets[1])
    assert not same(copies(nets[0]), nets[2])
    weight = nets[0].layers[3][1].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)


def test_a_zero_map_costs_the_mean_of_the_target():
    batch = batch_of()
    terms = generator_loss(torch.zeros_like(batch.depth), batch.depth, batch.label, None, PDGANConfig())
    assert list(terms) == ["g_l1"]
    assert terms["g_l1"].item() == pytest.approx(100 * batch.depth.mean().item(), rel=1e-6)


def test_generators_loss_falls_when_the_critic_is_fooled():
    batch, config = batch_of(), PDGANConfig(depth_size=32)

    def total(adversarial, category):
        logits = torch.full((4,), adversarial), torch.where(batch.label == 1, category, -category)
        return sum(generator_loss(batch.depth, batch.depth, batch.label, logits, config).values()).item()

    assert total(3.0, 0.0) < total(0.0, 0.0) < total(-3.0, 0.0)  # believed to be a stored map
    assert total(0.0, 3.0) < total(0.0, 0.0) < total(0.0, -3.0)  # and of the right class


def test_critics_loss_falls_when_it_is_right():
    label, config = torch.tensor([0.0, 1.0]), PDGANConfig()

    def total(real, fake, category):
        named = torch.where(label == 1, category, -category)
        logits = (torch.full((2,), real), named), (torch.full((2,), fake), named)
        return sum(critic_loss(*logits, label, config).values()).item()

    assert total(3.0, -3.0, 3.0) < total(0.0, 0.0, 0.0) < total(-3.0, 3.0, -3.0)
    assert total(0.0, 0.0, 0.0) == pytest.approx(4 * np.log(2), rel=1e-6)


def test_terms_carry_the_published_weights():
    batch, config = batch_of(), PDGANConfig()
    logits = torch.tensor([1.0, -1, 2, 0]), torch.tensor([0.5, -1, 2, 0])
    fake = torch.full_like(batch.depth, 0.3)
    terms = generator_loss(fake, batch.depth, batch.label, logits, config)
    assert terms["g_l1"] == 100 * (fake - batch.depth).abs().mean()
    assert terms["g_adversarial"] == 0.2 * bce(logits[0], torch.ones(4))
    assert terms["g_class"] == 0.1 * bce(logits[1], batch.label)
    assert (config.lambda_d, config.lambda_cd, config.generator_lr, config.critic_lr) == (1, 1, 1e-4, 1e-5)
    assert (config.warmup_epochs, config.adversarial_epochs, config.critic_every) == (5, 7, 25)


def test_without_l1_weight_only_the_critic_speaks():
    batch = batch_of()
    logits = torch.zeros(4), torch.zeros(4)
    terms = generator_loss(batch.depth * 0, batch.depth, batch.label, logits, PDGANConfig(lambda_l=0))
    assert sum(terms.values()).item() == pytest.approx((0.2 + 0.1) * np.log(2), rel=1e-6)


def test_critic_steps_after_every_25th_adversarial_step():
    training, batch = generator_training(), batch_of(2, size=32)
    warmup = training.update([batch], Moment(epoch=5, update=499, updates_an_epoch=100))
    assert set(warmup) == {"g_l1"}
    stepped = [i for i in range(500, 600) if "d_stored" in training.update([batch], Moment(6, i, 100))]
    assert stepped == [524, 549, 574, 599]  # warm-up steps do not count


def test_a_thousand_adversarial_steps_hold_forty_of_the_critic():
    learner = PDGANLearner(Generator(32), PDGANConfig(depth_size=32), seed=0)
    for updates in (1000, 143):  # one long epoch, or seven of 143 steps: 40 in the first 1,000 either way
        moments = [Moment(1 + i // updates, i, updates) for i in range(5 * updates, 5 * updates + 1000)]
        assert sum(learner.critic_is_due(m) for m in moments) == 40


def test_generator_steps_leave_the_critic_alone_and_the_other_way_round():
    training, batch = generator_training(critic_every=2, critic_lr=0.1, lambda_d=1), batch_of()
    learner = training.learner
    critic, generator = copies(learner.critic), copies(learner.generator)
    training.update([batch], Moment(6, 50, 10))
    assert same(critic, learner.critic)
    assert all(p.grad is None for p in learner.critic.parameters())
    assert not same(generator, learner.generator)
    objectives = learner.losses(batch, Moment(6, 51, 10))
    next(objectives)
    sum(next(objectives).terms.values()).backward()
    assert all(p.grad is not None for p in learner.critic.parameters())
    assert all(p.grad is None for p in learner.generator.parameters())
    training.update([batch], Moment(6, 51, 10))
    assert not same(critic, learner.critic)


@pytest.mark.parametrize("options", [{}, {"lambda_g": 0, "lambda_cg": 0}])
def test_critic_is_silent_in_the_warm_up_and_in_the_l1_only_ablation(options):
    training = generator_training(critic_every=1, critic_lr=0.1, **options)
    critic = copies(training.learner.critic)
    assert set(training.update([batch_of()], Moment(12 if options else 1, 0, 1))) == {"g_l1"}
    assert same(critic, training.learner.critic)
    assert ("g_adversarial" in training.update([batch_of()], Moment(6, 5, 1))) == (not options)


def test_adversarial_gradient_reaches_the_encoder():
    training = generator_training(lambda_l=0, lambda_cg=0)
    before = copies(training.learner.generator.encoder)
    training.update([batch_of()], Moment(6, 5, 1))
    assert not same(before, training.learner.generator.encoder)


def record(epoch, **changed):
    well = {"dev_depth_live": 0.2, "dev_target_live": 0.25, "d_stored": 0.6, "d_generated": 0.6}
    return {"epoch": epoch, **well, **changed}


@pytest.mark.parametrize(
    ("late", "words"),
    [
        ([{}, {}], None),
        ([{"dev_depth_live": 0.001}, {}], None),  # it has come back
        ([{"dev_depth_live": 0.001}] * 2, "draws zeros for live faces too. Raise lambda_l"),
        ([{"d_stored": 0.001, "d_generated": 0.001}] * 2, "Lower critic_lr"),
    ],
)
def test_a_collapse_that_lasts_is_said_with_advice(late, words):
    learner = PDGANLearner(Generator(32), PDGANConfig(depth_size=32), seed=0)
    early = [record(e, dev_depth_live=0) for e in range(1, 6)]  # L1 alone may pass through zeros on its way
    got = learner.trouble(early + [record(6 + i, **changed) for i, changed in enumerate(late)])
    assert got is None if words is None else words in got


def test_frozen_encoder_does_not_move_and_then_does():
    training = classifier_training(lr=1e-2, freeze_encoder_epochs=1)
    model = training.learner.model
    state = {k: v.clone() for k, v in model.encoder.state_dict().items()}
    head = copies(model.head)
    for epoch in (1, 2):
        training.learner.begin_epoch(epoch)
        training.update([batch_of()], Moment(epoch, epoch - 1, 1))
        unmoved = all(torch.equal(state[k], v) for k, v in model.encoder.state_dict().items())  # statistics too
        assert unmoved == (epoch == 1)
        assert not same(head, model.head)


def test_classifiers_logit_rises_for_live():
    training = classifier_training()
    live = batch_of()
    live.label = torch.zeros(4)
    losses = [training.update([live], Moment(1, i, 99))["bce"] for i in range(11)]
    assert losses[-1] < losses[0]
    assert training.network(live.image).mean() > 0


def test_mixed_precision_steps_near_full_precision():
    got = {}
    for precision in ("32", "bf16"):
        learner = PDGANLearner(Generator(32), PDGANConfig(depth_size=32, critic_every=1), seed=0)
        loop = LoopConfig(precision=precision)
        fabric = make_fabric(TrainConfig(device="cpu", loop=loop))
        got[precision] = Training(learner, learner.generator, fabric, loop, seed=0).update(
            [batch_of()], Moment(6, 5, 1)
        )
        assert {p.dtype for p in learner.nets.parameters()} == {torch.float32}
    assert got["bf16"].keys() == got["32"].keys()
    assert got["bf16"] != got["32"]
    for name in ("g_l1", "g_adversarial", "g_class", "d_stored", "d_generated"):
        assert got["bf16"][name] == pytest.approx(got["32"][name], rel=0.2), name


def test_the_second_head_learns_types_with_the_same_weight_and_is_not_scored():
    learner = ClassifierLearner(Classifier(kinds=2), ClassifierConfig(), seed=0)
    batch = batch_of(8)
    batch.kind = torch.tensor([0, 1, 0, 2] * 2)
    objective = next(learner.losses(batch, Moment(1, 0, 1)))
    assert set(objective.terms) == {"bce", "kind"}
    assert objective.terms["kind"].item() == pytest.approx(np.log(3), rel=0.5)
    training = training_of(learner)
    shown = [training.update([batch], Moment(1, i, 99)) for i in range(40)]
    assert shown[-1]["kind"] < 0.5 * shown[0]["kind"]
    assert learner.model(batch.image).shape == (8,)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_scores_between_0_and_1_in_one_graph(name):
    method = get_method(name)
    settings = method.settings()
    network = method.network(**method.network_arguments(settings)).eval()
    frames = method.targets(settings).frames
    image = torch.rand(3, 3, 64, 64) if frames == 1 else torch.rand(3, frames, 3, 64, 64)
    with torch.no_grad():
        score = Exported(network)(image)
    assert score.shape == (3,)
    assert (score >= 0).all()
    assert (score <= 1).all()
    assert method.epochs(settings) > 0


def test_32_pairs_can_be_learnt_by_heart():
    random = np.random.default_rng(5)
    samples = [face(random, attack=("", "print", "", "replay")[i % 4]) for i in range(32)]
    image = torch.from_numpy(np.stack([s.image for s in samples])).permute(0, 3, 1, 2).float() / 255
    full = np.stack([np.zeros((64, 64), np.uint8) if s.depth is None else s.depth for s in samples])
    depth = torch.nn.functional.interpolate(torch.from_numpy(full)[:, None].float() / 255, (32, 32), mode="area")
    batch = Batch(image, depth, torch.tensor([float(s.depth is None) for s in samples]), np.arange(32))
    training = generator_training(warmup_epochs=1, generator_lr=3e-3)
    for i in range(180):
        l1 = training.update([batch], Moment(1, i, 180))["g_l1"] / 100
    assert l1 < 0.01
    classifier = classifier_training()
    classifier.network.encoder.load_state_dict(training.network.encoder.state_dict())
    for i in range(30):
        shown = classifier.update([batch], Moment(1, i, 30))
    assert shown["accuracy"] == 1.0
