"""PDGAN as printed: sizes, shapes, losses with their signs, schedule, and that it can learn at all."""

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from tests.fixtures.balls import face
from training.feed import Batch
from training.methods.pdgan import (
    DEPTH_SIZES,
    Classifier,
    ClassifierLearner,
    Critic,
    Decoder,
    Encoder,
    PDGANConfig,
    PDGANLearner,
    critic_loss,
    generator_loss,
)
from training.methods.resnet import he_init

CPU = torch.device("cpu")


def count(net):
    return sum(p.numel() for p in net.parameters())


def copies(net):
    return [p.detach().clone() for p in net.parameters()]


def same(before, net):
    return all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def batch_of(n=4, size=64, depth_size=32, seed=0):
    random = torch.Generator().manual_seed(seed)
    label = (torch.arange(n) % 2).float()
    depth = torch.rand(n, 1, depth_size, depth_size, generator=random) * (1 - label)[:, None, None, None]
    return Batch(torch.rand(n, 3, size, size, generator=random), depth, label, np.arange(n))


@pytest.mark.parametrize(
    ("net", "parameters"),
    [
        (Encoder(), 702_096),
        (Classifier(), 712_465),  # 128-64-32-1
        (Classifier((64,)), 710_417),  # 128-64-1
        (Encoder(width=1.0), 11_176_512),  # ResNet-18 without its last layer
    ],
)
def test_parameter_counts_are_exact(net, parameters):
    assert count(net) == parameters


def test_generator_and_critic_have_the_intended_size():
    assert count(Encoder()) + count(Decoder(224)) == pytest.approx(0.862e6, rel=5e-3)
    assert count(Critic()) == pytest.approx(0.880e6, rel=5e-3)


@pytest.mark.parametrize("depth_size", DEPTH_SIZES)
def test_shapes_at_every_depth_size(depth_size):
    embedding = Encoder()(torch.rand(2, 3, 224, 224))
    assert embedding.shape == (2, 128, 7, 7)
    depth = Decoder(depth_size)(embedding)
    assert depth.shape == (2, 1, depth_size, depth_size)
    assert 0 < depth.min() <= depth.max() < 1
    assert [logit.shape for logit in Critic()(depth)] == [(2,), (2,)]
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
    learner = PDGANLearner(PDGANConfig(depth_size=32), seed=0, device=CPU)
    batch = batch_of(2, size=32)
    learner.begin_epoch(5)
    assert "d_stored" not in learner.step(batch)
    learner.begin_epoch(6)
    stepped = [i for i in range(1, 101) if "d_stored" in learner.step(batch)]
    assert stepped == [25, 50, 75, 100]  # warm-up steps do not count
    assert (learner.adversarial_steps, learner.critic_steps) == (100, 4)


def test_generator_steps_leave_the_critic_alone_and_the_other_way_round():
    learner = PDGANLearner(PDGANConfig(depth_size=32, critic_every=2, critic_lr=0.1), seed=0, device=CPU)
    learner.begin_epoch(6)
    batch = batch_of()
    critic, encoder = copies(learner.critic), copies(learner.encoder)
    learner.step(batch)
    assert same(critic, learner.critic)
    assert all(p.grad is None for p in learner.critic.parameters())
    assert not same(encoder, learner.encoder)
    encoder, decoder = copies(learner.encoder), copies(learner.decoder)
    learner._critic_step(batch, learner.generate(batch.image).detach())
    assert not same(critic, learner.critic)
    assert same(encoder, learner.encoder)
    assert same(decoder, learner.decoder)


@pytest.mark.parametrize("config", [PDGANConfig(depth_size=32), PDGANConfig(depth_size=32, lambda_g=0, lambda_cg=0)])
def test_critic_is_silent_in_the_warm_up_and_in_the_l1_only_ablation(config):
    learner = PDGANLearner(config, seed=0, device=CPU)
    critic = copies(learner.critic)
    learner.begin_epoch(1 if config.adversarial else 12)
    assert set(learner.step(batch_of())) == {"g_l1"}
    assert same(critic, learner.critic)
    assert learner.adversarial_steps == 0
    learner.begin_epoch(6)
    assert ("g_adversarial" in learner.step(batch_of())) == config.adversarial


def test_adversarial_gradient_reaches_the_encoder():
    config = PDGANConfig(depth_size=32, lambda_l=0, lambda_cg=0)
    learner = PDGANLearner(config, seed=0, device=CPU)
    learner.begin_epoch(6)
    before = copies(learner.encoder)
    learner.step(batch_of())
    assert not same(before, learner.encoder)


def test_frozen_encoder_does_not_move_and_then_does():
    model = he_init(Classifier(), torch.Generator().manual_seed(0))
    learner = ClassifierLearner(model, lr=1e-2, betas=(0.9, 0.999), freeze_encoder_epochs=1, device=CPU)
    state = {k: v.clone() for k, v in model.encoder.state_dict().items()}
    head = copies(model.head)
    learner.begin_epoch(1)
    learner.step(batch_of())
    assert all(torch.equal(state[k], v) for k, v in model.encoder.state_dict().items())  # norms' statistics too
    assert not same(head, model.head)
    learner.begin_epoch(2)
    learner.step(batch_of())
    assert not torch.equal(state["conv1.weight"], model.encoder.conv1.weight)


def test_classifiers_logit_rises_for_live():
    model = he_init(Classifier(), torch.Generator().manual_seed(0))
    learner = ClassifierLearner(model, lr=1e-3, betas=(0.9, 0.999), freeze_encoder_epochs=0, device=CPU)
    live = batch_of()
    live.label = torch.zeros(4)
    learner.begin_epoch(1)
    first = learner.step(live)["bce"]
    for _ in range(10):
        last = learner.step(live)["bce"]
    assert last < first
    assert model(live.image).mean() > 0


def test_32_pairs_can_be_learnt_by_heart():
    random = np.random.default_rng(5)
    samples = [face(random, attack=("", "print", "", "replay")[i % 4]) for i in range(32)]
    image = torch.from_numpy(np.stack([s.image for s in samples])).permute(0, 3, 1, 2).float() / 255
    full = np.stack([np.zeros((64, 64), np.uint8) if s.depth is None else s.depth for s in samples])
    depth = torch.nn.functional.interpolate(torch.from_numpy(full)[:, None].float() / 255, (32, 32), mode="area")
    batch = Batch(image, depth, torch.tensor([float(s.depth is None) for s in samples]), np.arange(32))
    config = PDGANConfig(depth_size=32, warmup_epochs=1, generator_lr=3e-3)
    learner = PDGANLearner(config, seed=0, device=CPU)
    learner.begin_epoch(1)
    for _ in range(180):
        l1 = learner.step(batch)["g_l1"] / config.lambda_l
    assert l1 < 0.01
    model = Classifier()
    model.encoder.load_state_dict(learner.encoder.state_dict())
    classifier = ClassifierLearner(model, lr=1e-3, betas=(0.9, 0.999), freeze_encoder_epochs=0, device=CPU)
    classifier.begin_epoch(1)
    for _ in range(30):
        shown = classifier.step(batch)
    assert shown["accuracy"] == 1.0
