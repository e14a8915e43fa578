"""What the paper leaves open, and what goes beyond it: every option does what its name says."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import conv2d

from tests.fixtures.balls import FAST, FAST_PDGAN
from tests.fixtures.noise import seeded
from training.batch import Batch
from training.checkpoint import load_json, load_model
from training.errors import TrainingError
from training.finetune import FinetuneConfig, finetune
from training.methods import Exported, Moment, get_method, parameters
from training.methods.convolution import CentralDifferenceConv2d, convolution, fold_central_differences
from training.methods.depth_loss import contrastive_depth_loss
from training.methods.initial import initialise, load_encoder
from training.methods.pdgan import Generator, PDGANConfig, critic_loss
from training.methods.pdgan_classifier import Classifier, ClassifierConfig, ClassifierLearner
from training.methods.pdgan_nets import DEPTH_SIZES, Critic
from training.methods.resnet import Encoder, he_init, normal_init
from training.methods.style import mix_styles
from training.pretrain import PretrainConfig, pretrain


def batch_of(n=8, size=64, depth_size=32):
    label = (torch.arange(n) % 2).float()
    depth = torch.rand(n, 1, depth_size, depth_size, generator=seeded()) * (1 - label)[:, None, None, None]
    return Batch(torch.rand(n, 3, size, size, generator=seeded(1)), depth, label, np.arange(n))


def learner_of(**options):
    method = get_method("pdgan-generator")
    settings = PDGANConfig(depth_size=32, **options)
    return method.learner(method.network(**method.network_arguments(settings)), settings, 0)


# the decoder ------------------------------------------------------------------


@pytest.mark.parametrize(("variant", "millions"), [("narrow", 0.862), ("wide", 0.869), ("pix2pix", 0.948)])
def test_decoder_variants_have_their_sizes(variant, millions):
    assert parameters(Generator(224, variant)) == pytest.approx(millions * 1e6, rel=5e-3)


@pytest.mark.parametrize("variant", ["narrow", "wide", "pix2pix"])
@pytest.mark.parametrize("skips", [False, True])
def test_every_decoder_draws_every_size(variant, skips):
    for depth_size in DEPTH_SIZES:
        for norm, output in (("batch", "sigmoid"), ("instance", "tanh")):
            depth = Generator(depth_size, variant, norm, output, skips=skips)(torch.rand(2, 3, 224, 224))
            assert depth.shape == (2, 1, depth_size, depth_size)
            assert 0 <= depth.min() <= depth.max() <= 1


def test_skips_carry_what_the_embedding_does_not():
    net = he_init(Generator(56, skips=True), seeded()).eval()
    image = torch.rand(1, 3, 224, 224, generator=seeded())
    *features, embedding = net.encoder.features(image)
    assert [f.shape[1:] for f in features] == [(16, 112, 112), (16, 56, 56), (32, 28, 28), (64, 14, 14)]
    other = [torch.zeros_like(f) for f in features]
    assert not torch.allclose(net.decoder(embedding, features[::-1]), net.decoder(embedding, other[::-1]))


# the critic -------------------------------------------------------------------


def test_critic_sees_the_picture_only_if_it_is_to():
    batch, other = batch_of(), batch_of().image.flip(3)
    for colour in (False, True):
        critic = he_init(Critic(colour=colour), seeded()).eval()
        same = torch.equal(critic(batch.depth, batch.image)[0], critic(batch.depth, other)[0])
        assert same != colour


def test_one_sided_smoothing_touches_stored_maps_alone():
    logits, label = (torch.full((4,), 2.0), torch.zeros(4)), torch.zeros(4)
    plain, smooth = (critic_loss(logits, logits, label, PDGANConfig(real_target=t)) for t in (1.0, 0.9))
    assert smooth["d_stored"] - plain["d_stored"] == pytest.approx(0.1 * 2.0)  # BCE is linear in its target
    assert smooth["d_generated"] == plain["d_generated"]
    with pytest.raises(ValidationError):
        PDGANConfig(real_target=0.3)
    with pytest.raises(ValidationError, match="needs depth_size 56"):
        PDGANConfig(norm="instance", depth_size=32)


def test_noise_hides_that_a_stored_spoof_is_exactly_zero():
    seen = []
    for noise in (0.0, 0.05):
        learner = learner_of(real_noise=noise)
        learner.critic.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
        list(learner.losses(batch_of(), Moment(6, 5 * 25 + 24, 25)))
    stored = [maps[1] for maps in (seen[1], seen[4])]  # G's, then the critic's stored and generated
    assert stored[0].abs().max() == 0
    assert stored[1].std().item() == pytest.approx(0.05, rel=0.2)


# losses and layers beyond the paper ---------------------------------------------


def test_contrastive_depth_loss_is_the_mean_of_eight_kernels_and_blind_to_a_constant():
    a, b = (torch.rand(2, 1, 9, 7, generator=seeded(i)) for i in (0, 1))
    assert contrastive_depth_loss(a, a + 0.3).item() == pytest.approx(0, abs=1e-12)
    bumped = a.clone()
    bumped[0, 0, 4, 4] += 1
    assert contrastive_depth_loss(bumped, a) > 0
    by_hand = []
    for dy, dx in [(y, x) for y in (0, 1, 2) for x in (0, 1, 2) if (y, x) != (1, 1)]:
        kernel = torch.zeros(1, 1, 3, 3)
        kernel[0, 0, 1, 1], kernel[0, 0, dy, dx] = -1, 1
        by_hand.append((conv2d(a, kernel) - conv2d(b, kernel)).square().mean())
    assert contrastive_depth_loss(a, b).item() == pytest.approx(torch.stack(by_hand).mean().item(), rel=1e-5)
    objective = next(learner_of(lambda_cdl=50).losses(batch_of(), Moment(1, 0, 9)))
    assert set(objective.terms) == {"g_l1", "g_contrast"}


@pytest.mark.parametrize("stride", [1, 2])
def test_central_differences_are_two_convolutions_in_one(stride):
    conv = CentralDifferenceConv2d(5, 7, stride, theta=0.7)
    x = torch.rand(2, 5, 12, 12, generator=seeded())
    sums = conv.weight.sum(dim=(2, 3), keepdim=True)
    expected = conv2d(x, conv.weight, conv.bias, stride, 1) - 0.7 * conv2d(x, sums, None, stride)
    assert torch.allclose(conv(x), expected, atol=1e-5)
    flat = torch.ones(1, 5, 12, 12)
    whole = CentralDifferenceConv2d(5, 7, 1, bias=False, theta=1.0)(flat)
    assert whole[:, :, 1:-1, 1:-1].abs().max() < 1e-5  # differences of a constant
    assert not isinstance(convolution(5, 7), CentralDifferenceConv2d)


@pytest.mark.parametrize("net", [Generator(32, theta=0.7), Classifier(theta=0.7)])
def test_a_folded_network_is_an_ordinary_one_with_the_same_answers(net):
    he_init(net, seeded()).eval()
    image = torch.rand(2, 3, 64, 64, generator=seeded())
    before = net(image)
    score = net.score(before)
    shipped = Exported(net)
    assert not [m for m in shipped.modules() if isinstance(m, CentralDifferenceConv2d)]
    assert torch.allclose(shipped.network(image), before, atol=1e-5)
    assert torch.allclose(shipped(image), score.double(), atol=1e-5)
    assert parameters(shipped) == parameters(type(net)(32) if isinstance(net, Generator) else Classifier())


def test_folding_keeps_a_bias():
    net = nn.Sequential(CentralDifferenceConv2d(3, 4, theta=0.5))
    x = torch.rand(1, 3, 8, 8)
    before = net(x)
    fold_central_differences(net)
    assert type(net[0]) is nn.Conv2d
    assert torch.allclose(net(x), before, atol=1e-6)


def test_styles_are_mixed_within_a_class_only():
    torch.manual_seed(0)
    label = torch.tensor([0.0, 1, 0, 1, 0, 1])
    features = torch.randn(6, 4, 8, 8) + label[:, None, None, None] * 100
    for _ in range(20):
        mixed = mix_styles(features, label)
        means = mixed.mean(dim=(2, 3))
        assert (means[label == 0].abs() < 10).all()  # nothing of the other class's mean of 100
        assert (means[label == 1] > 90).all()
    normal = [(f - f.mean((2, 3), True)) / f.std((2, 3), keepdim=True) for f in (features, mixed)]
    assert torch.allclose(*normal, atol=1e-3)  # the content stays
    assert not torch.allclose(mixed, features, atol=1e-2)
    alone = mix_styles(features[:2], label[:2])  # nobody to mix with
    assert torch.allclose(alone, features[:2], atol=1e-3)


def test_style_mixing_happens_in_training_with_labels_and_nowhere_else():
    encoder, batch = he_init(Encoder(style_mixing=1.0), seeded()), batch_of()
    plain = encoder(batch.image)
    assert torch.equal(encoder(batch.image), plain)
    assert not torch.allclose(encoder(batch.image, batch.label), plain)
    encoder.eval()
    assert torch.equal(encoder(batch.image, batch.label), encoder(batch.image))


# the classifier and what networks start from --------------------------------------


def test_two_logits_are_a_softmax():
    net = he_init(Classifier(logits=2), seeded()).eval()
    image = torch.rand(2, 3, 64, 64)
    both = net.head(net.embed(image))
    assert torch.allclose(net.score(net(image)), both.softmax(1)[:, 0], atol=1e-6)
    objective = next(ClassifierLearner(net, ClassifierConfig(logits=2), 0).losses(batch_of(), Moment(1, 0, 9)))
    expected = nn.functional.cross_entropy(net.head(net.embed(batch_of().image)), batch_of().label.long())
    assert objective.terms["bce"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_pix2pix_init_is_small_and_seeded():
    a, b = (normal_init(Generator(56, "pix2pix"), seeded(3)) for _ in range(2))
    assert torch.equal(a.decoder.blocks[0].conv1.weight, b.decoder.blocks[0].conv1.weight)
    assert a.decoder.blocks[0].conv1.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert learner_of(init="normal").origin == {"init": "normal", "encoder": None}


def torchvision_state(encoder):
    """The same weights under the names that torchvision's ResNet-18 has, its last layer too."""
    state = {"fc.weight": torch.zeros(1000, 128), "fc.bias": torch.zeros(1000)}
    for name, tensor in encoder.state_dict().items():
        if name.startswith("layers."):
            _, number, rest = name.split(".", 2)
            name = f"layer{int(number) + 1}.{rest}"
        state[name.replace(".skip.", ".downsample.")] = tensor
    return state


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_a_resnet_file_with_torchvisions_names_fills_the_encoder(tmp_path, kind):
    source = he_init(Encoder(), seeded(5))
    path = tmp_path / f"resnet18.{kind}"
    if kind == "pth":
        torch.save({"state_dict": {f"module.{k}": v for k, v in torchvision_state(source).items()}}, path)
    else:
        save_file(torchvision_state(source), path)
    learner = learner_of(encoder=path)
    assert learner.origin == {"init": "file", "encoder": str(path)}
    assert torch.equal(learner.generator.encoder.layers[3][0].skip[0].weight, source.layers[3][0].skip[0].weight)
    model = Classifier()
    assert initialise(model, model.encoder, path, 0)["init"] == "file"
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(model.encoder.eval()(image), source.eval()(image))


def test_files_that_cannot_be_started_from_say_why(tmp_path, trained):
    wide = tmp_path / "full.safetensors"
    save_file(torchvision_state(Encoder(width=1.0)), wide)
    with pytest.raises(
        TrainingError, match=r"conv1.weight is \(64, 3, 7, 7\), not \(16, 3, 7, 7\); expected a ResNet-18"
    ):
        load_encoder(Encoder(), wide)
    evil = tmp_path / "evil.pth"
    torch.save({"w": torch.nn.Linear}, evil)  # a class: refused, not unpickled
    with pytest.raises(TrainingError, match="not a PyTorch weights file"):
        load_encoder(Encoder(), evil)
    with pytest.raises(TrainingError, match="neither a pre-training"):
        load_encoder(Encoder(), tmp_path)
    with pytest.raises(TrainingError, match=r"trained with theta 0.0, this one has 0.7"):
        load_encoder(Encoder(theta=0.7), trained.pretrained)


def test_a_trained_model_can_be_trained_on(store, trained, tmp_path):
    config = FinetuneConfig(encoder=trained.model, epochs=1, lr=1e-9, **FAST)
    model = finetune(str(store), tmp_path, config)
    card = load_json(model / "model.json")
    assert card["training"]["init"] == "checkpoint"
    assert card["threshold"]["dev_auc"] == pytest.approx(
        load_json(trained.model / "model.json")["threshold"]["dev_auc"], abs=0.05
    )


@pytest.mark.slow
def test_all_options_together_train_and_are_read_back(store, tmp_path):
    pdgan = FAST_PDGAN.model_copy(
        update={
            **{"decoder": "wide", "skips": True, "output": "tanh", "critic_input": "rgb+depth"},
            **{"real_target": 0.9, "real_noise": 0.02, "lambda_cdl": 50.0, "theta": 0.7, "style_mixing": 0.5},
        }
    )
    augment = {"geometry": {}, "spoof": {"share": 0.1}}
    loop = {"ema": 0.9, "clip_norm": 5.0, "schedule": "cosine", "select": "best", "accumulate": 2}
    common = {**FAST, "augment": augment, "loop": loop}
    folder = pretrain(str(store), tmp_path / "pre", PretrainConfig(pdgan=pdgan, **common))
    assert {"g_contrast", "ema_dev_l1"} <= load_json(folder / "history.json")[0].keys()
    more = {"multihead": "attack", "theta": 0.7, "style_mixing": 0.5, "dropout": 0.1, "logits": 2}
    model = finetune(str(store), tmp_path / "m", FinetuneConfig(encoder=folder, epochs=10, **more, **common))
    net, card = load_model(model)
    assert card["network"]["kinds"] == 2
    assert card["training"]["settings"]["kinds"] == ["print", "replay"]
    assert parameters(net) > 719_388
    assert card["threshold"]["dev_auc"] > 0.8


def test_a_second_head_needs_two_types(store, tmp_path):
    with pytest.raises(TrainingError, match="column attack_detail has 1 attack types"):
        finetune(str(store), tmp_path, FinetuneConfig(multihead="attack_detail", epochs=1, **FAST))
