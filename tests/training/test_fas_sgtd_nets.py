"""FAS-SGTD's networks: each block against a plain computation of its equation, the whole, and its score."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d

from tests.fixtures.noise import seeded
from training.batch import Batch
from training.errors import TrainingError
from training.methods import parameters
from training.methods.fas_sgtd import SGTDNetwork
from training.methods.fas_sgtd_nets import Backbone, ConvGRUCell, ResidualGradientBlock, ShortTermBlock, sobel
from training.methods.fas_sgtd_single import SingleFrame

THIN = {"width": 0.0625}
ACROSS = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])  # Sobel's horizontal derivative


# blocks -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "count"),
    [
        (SingleFrame(), 2_469_697),
        (SingleFrame(width=0.25), 156_625),
        (SGTDNetwork(), 4_615_873),
        (SGTDNetwork(block="ststb-text"), 3_840_577),
    ],
    ids=["single", "single, a quarter wide", "whole", "whole, block of the text"],
)
def test_parameter_counts(net, count):
    assert parameters(net) == count


def test_gradients_are_sobels_of_every_channel():
    x = torch.rand(2, 3, 9, 7, generator=seeded())
    for kernel, got in zip((ACROSS, ACROSS.T), sobel(x), strict=True):
        expected = [[correlate2d(c, kernel, mode="same") for c in picture] for picture in x.numpy()]
        np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("gradient", ["squared", "magnitude", "none"])
def test_a_gradient_block_is_equation_2(gradient):
    block = ResidualGradientBlock(3, 4, gradient).eval()
    x = torch.rand(1, 3, 8, 8, generator=seeded())

    def edges(maps):
        dx, dy = (np.array([correlate2d(c, k, mode="same") for c in maps]) for k in (ACROSS, ACROSS.T))
        return dx**2 + dy**2

    with torch.no_grad():
        expected = block.conv(x)
        if gradient == "squared":
            slopes = torch.from_numpy(edges(block.point(x)[0].numpy()))[None].float()
            expected = expected + block.gradient_norm(slopes)
        elif gradient == "magnitude":
            slopes = torch.from_numpy(np.sqrt(edges(x[0].numpy()) + 1e-8))[None].float()
            expected = expected + block.gradient_norm(block.point(slopes))
        assert torch.allclose(block(x), torch.relu(block.norm(expected)), atol=1e-5)


def test_a_flat_picture_has_a_finite_gradient():
    # sqrt has none at 0: without the epsilon every flat patch would make the weights NaN
    block = ResidualGradientBlock(3, 4, "magnitude")
    x = torch.zeros(2, 3, 8, 8, requires_grad=True)
    block(x).sum().backward()
    assert x.grad.isfinite().all()


def test_backbone_shapes_are_the_papers_at_256_px():
    net = Backbone(width=0.0625)
    levels = net.features(torch.rand(1, 3, 256, 256))
    assert [level.shape for level in levels] == [(1, 8, 256, 256), (1, 8, 128, 128), (1, 8, 64, 64)]
    assert net.depth(levels).shape == (1, 1, 32, 32)


@pytest.mark.parametrize("kind", ["ststb", "ststb-text", "off"])
def test_short_term_blocks_see_motion(kind):
    block = ShortTermBlock(8, 2, kind).eval()
    still = torch.rand(1, 1, 8, 16, 16, generator=seeded()).repeat(1, 3, 1, 1, 1)
    moved = torch.stack([still[0, 0].roll(t, dims=-1) for t in range(3)])[None]
    alike, other = block(still), block(moved)
    assert alike.shape == (2, 8, 8, 8)
    assert torch.allclose(alike[0], alike[1])  # nothing moves: both pairs are the same
    assert not torch.allclose(other[0], alike[0])


def test_off_ignores_the_future_gradient_and_the_current_features():
    off, ststb = (ShortTermBlock(8, 2, kind).conv.in_channels for kind in ("off", "ststb"))
    assert (off, ststb) == (3 * 2, 8 + 5 * 2)


def test_a_recurrent_step_is_equation_3():
    cell = ConvGRUCell(3, 2)
    x, h = torch.rand(1, 3, 5, 5, generator=seeded()), torch.rand(1, 2, 5, 5, generator=seeded(1))

    def convolved(kernel, bias, maps):
        return np.array(
            [
                sum(correlate2d(m, k, mode="same") for m, k in zip(maps, each, strict=True)) + b
                for each, b in zip(kernel, bias, strict=True)
            ]
        )

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    gates, candidate = (
        (layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy())
        for layer in (cell.gates, cell.candidate)
    )
    x_, h_ = x[0].double().numpy(), h[0].double().numpy()
    both = sigmoid(convolved(*gates, np.concatenate([h_, x_])))
    reset, update = both[:2], both[2:]
    proposed = np.tanh(convolved(*candidate, np.concatenate([reset * h_, x_])))
    np.testing.assert_allclose(cell(x, h)[0].detach().numpy(), (1 - update) * h_ + update * proposed, atol=1e-5)


def test_a_new_cell_keeps_most_of_what_it_knows():
    cell = ConvGRUCell(3, 2)
    torch.nn.init.zeros_(cell.gates.weight)
    torch.nn.init.zeros_(cell.candidate.weight)
    torch.nn.init.zeros_(cell.candidate.bias)
    cell.remember()
    h = torch.ones(1, 2, 4, 4)
    assert torch.allclose(cell(torch.zeros(1, 3, 4, 4), h), torch.sigmoid(torch.tensor(1.0)) * h)


# the whole network ------------------------------------------------------------


@pytest.mark.parametrize("block", ["ststb", "ststb-text", "off"])
@pytest.mark.parametrize("recurrent", [True, False])
def test_a_clip_gives_a_map_of_every_frame_but_the_last(block, recurrent):
    net = SGTDNetwork(**THIN, block=block, recurrent=recurrent).eval()
    output = net(torch.rand(2, 4, 3, 48, 48))
    assert output.shape == (2, 3, 1, 32, 32)
    assert net.logits(output).shape == (2, 2)
    assert ((net.score(output) >= 0) & (net.score(output) <= 1)).all()


def test_alpha_0_is_the_single_frames_depth():
    net = SGTDNetwork(**THIN, alpha=0.0).eval()
    clip = torch.rand(1, 3, 3, 64, 64, generator=seeded())
    with torch.no_grad():
        single = net.backbone.depth(net.backbone.features(clip[0]))
        assert torch.allclose(net(clip)[0], single[:2], atol=1e-6)


def test_an_earlier_frame_reaches_later_maps_only_through_the_recurrence():
    clip = torch.rand(1, 4, 3, 64, 64, generator=seeded())
    other = clip.clone()
    other[:, 0] = torch.rand(1, 3, 64, 64, generator=seeded(1))
    for released, reaches in (((), True), (("one-step-gru",), False)):
        torch.manual_seed(0)
        net = SGTDNetwork(**THIN, released=released).eval()
        with torch.no_grad():
            assert torch.allclose(net(clip)[:, 2], net(other)[:, 2], atol=1e-7) != reaches


def test_mixed_clips_are_right_for_one_clip_alone():
    clips = torch.rand(2, 4, 3, 64, 64, generator=seeded())
    nets = []
    for released in ((), ("mixed-clips",)):
        torch.manual_seed(0)
        nets.append(SGTDNetwork(**THIN, released=released).eval())
    with torch.no_grad():
        assert torch.equal(nets[0](clips[:1]), nets[1](clips[:1]))
        assert not torch.allclose(nets[0](clips), nets[1](clips))


# score ------------------------------------------------------------------------


def test_score_rises_with_depth_and_with_the_live_logit():
    net = SGTDNetwork(**THIN).eval()
    near, flat = torch.full((1, 2, 1, 32, 32), 0.8), torch.zeros(1, 2, 1, 32, 32)
    for layer in (net.head[0], net.head[2]):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    assert net.score(near).item() == pytest.approx(0.8 * 0.5 + 0.2 * 0.8)
    assert net.score(flat).item() == pytest.approx(0.8 * 0.5)
    net.head[2].bias.data[1] = 50.0  # live
    assert net.score(flat).item() == pytest.approx(0.8)
    again = SGTDNetwork(**THIN, released=("softmax-score",))
    again.head = net.head
    assert again.score(flat).item() == pytest.approx(1 / (1 + np.exp(0.2)))  # softmax of [.8, 1]


def test_without_a_binary_head_the_score_is_depth():
    net = SGTDNetwork(**THIN, beta=0.0)
    assert net.head is None
    assert net.score(torch.full((1, 2, 1, 32, 32), 0.3)).item() == pytest.approx(0.3)


def test_stored_masks_are_used_frame_by_frame_and_asked_for():
    net = SGTDNetwork(**THIN, beta=0.0, mask="stored")
    output = torch.zeros(1, 2, 1, 32, 32)
    output[0, 0, 0, :16] = 1.0
    mask = torch.zeros(1, 3, 1, 32, 32, dtype=torch.bool)
    mask[0, 0, 0, :16] = mask[0, 1, 0, 16:] = mask[0, 2] = True  # that of the last frame belongs to no map
    batch = Batch(torch.empty(0), None, torch.zeros(1), np.arange(1), mask=mask)
    assert net.score_batch(output, batch).item() == 0.5
    with pytest.raises(TrainingError, match=r"mask=ellipse"):
        net.score(output)
    batch.mask = torch.zeros_like(mask)
    with pytest.raises(TrainingError, match="spoof_mask"):
        net.score_batch(output, batch)
