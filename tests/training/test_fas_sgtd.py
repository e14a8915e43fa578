"""FAS-SGTD: its blocks against plain computations, its losses, both stages, and every command around them."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.signal import correlate2d

from storage.dataset import DepthDataset
from tests.fixtures.balls import build_store
from tests.fixtures.clips import FRAMES, build_clip_store
from training.batch import Batch
from training.checkpoint import load_json, load_model
from training.clips import ends_of_clips
from training.config import LoopConfig, TrainConfig
from training.errors import TrainingError
from training.evaluate import evaluate, read_scores
from training.export import export
from training.feed import Feed
from training.methods import Moment, Targets, get_method, parameters
from training.methods.fas_sgtd import SGTD, SGTDConfig, SGTDLearner, SGTDNetwork
from training.methods.fas_sgtd_nets import Backbone, ConvGRUCell, ResidualGradientBlock, ShortTermBlock, sobel
from training.methods.fas_sgtd_single import (
    SGTDSingle,
    SGTDSingleConfig,
    SingleFrame,
    SingleFrameLearner,
    check_depth_source,
    depth_terms,
    ellipse,
    masked_depth,
    optimiser,
)
from training.track import SIDE, Watch, grid
from training.train import train

THIN = {"width": 0.0625}
CONFIG = TrainConfig(batch=4, input_size=64, device="cpu", loop=LoopConfig(track=()))
ACROSS = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])  # Sobel's horizontal derivative
PEOPLE = {"train": [f"s{i}" for i in range(5)], "test": ["t0", "t1"]}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def clips_of_noise(n=4, frames=3, size=64, depth_size=32):
    label = (torch.arange(n) % 2).float()
    depth = (
        torch.rand(n, frames, 1, depth_size, depth_size, generator=seeded()) * (1 - label)[:, None, None, None, None]
    )
    return Batch(torch.rand(n, frames, 3, size, size, generator=seeded(1)), depth, label, np.arange(n))


def learner_of(**options):
    settings = SGTDConfig(**{"single": SGTDSingleConfig(epochs=1, **THIN), "frames": 3, **options})
    return SGTDLearner(SGTD().network(**SGTD().network_arguments(settings)), settings, 0)


@pytest.fixture(scope="module")
def clip_store(tmp_path_factory):
    return build_clip_store(tmp_path_factory.mktemp("clips"), PEOPLE)


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


# losses -----------------------------------------------------------------------


def test_depth_losses_are_sums_as_printed_or_means_as_released():
    depth, target = (torch.rand(2, 1, 8, 8, generator=seeded(i)) for i in range(2))
    printed = depth_terms(depth, target, contrast=1.0, reduction="sum")
    released = depth_terms(depth, target, contrast=0.5, reduction="mean")
    error = (depth - target).numpy()[:, 0]
    assert printed["euclidean"].item() == pytest.approx((error**2).sum() / 2, rel=1e-5)
    assert released["euclidean"].item() == pytest.approx((error**2).mean(), rel=1e-5)
    around = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    middle = error[:, 1:-1, 1:-1]
    contrasts = [(error[:, 1 + i : 7 + i, 1 + j : 7 + j] - middle) ** 2 for i, j in around]
    assert printed["contrast"].item() == pytest.approx(np.sum(contrasts) / 2, rel=1e-5)
    assert released["contrast"].item() == pytest.approx(0.5 * np.mean(contrasts), rel=1e-5)
    assert "contrast" not in depth_terms(depth, target, contrast=0.0, reduction="sum")


def test_stage_1_moves_the_backbone_alone_and_stage_2_all_but_it():
    learner, batch = learner_of(), clips_of_noise()
    for epoch, moves in ((1, "backbone."), (2, "rest")):
        learner.begin_epoch(epoch)
        before = {n: p.detach().clone() for n, p in learner.model.state_dict().items()}
        (objective,) = learner.losses(batch, Moment(epoch, epoch, 1))
        sum(objective.terms.values()).backward()
        learner.optimisers[objective.optimiser].step()
        changed = {n for n, p in learner.model.state_dict().items() if not torch.equal(p, before[n])}
        assert changed
        assert all(n.startswith("backbone.") == (moves == "backbone.") for n in changed)  # norms' statistics too
        learner.optimisers[objective.optimiser].zero_grad()
    assert learner.monitor == ("dev_auc", "max")


def test_stage_2_is_equation_8():
    learner, batch = learner_of(), clips_of_noise()
    learner.begin_epoch(2)
    learner.model.eval()
    (objective,) = learner.losses(batch, Moment(2, 1, 1))
    refined = learner.model(batch.image)
    expected = depth_terms(refined.flatten(0, 1), batch.depth[:, :-1].flatten(0, 1), 1.0, "sum", weight=0.2)
    spoof, live = learner.model.logits(refined).log_softmax(dim=1).T
    binary = -0.8 * torch.where(batch.label == 0, live, spoof).mean()
    assert objective.optimiser == "multi"
    assert {n: pytest.approx(t.item(), rel=1e-4) for n, t in objective.terms.items()} == {
        **{n: t.item() for n, t in expected.items()},
        "binary": binary.item(),
    }


@pytest.mark.parametrize(
    ("deviation", "term"), [("softmax-twice", "binary"), ("depth-over-frames", "euclidean"), ("frame-colour", "binary")]
)
def test_deviations_of_the_released_losses_change_what_they_name(deviation, term):
    found = []
    for released in ((), (deviation,)):
        learner = learner_of(released=released)
        learner.begin_epoch(2)
        learner.model.eval()
        torch.manual_seed(0)
        (objective,) = learner.losses(clips_of_noise(), Moment(2, 1, 1))
        found.append(objective.terms[term].item())
    assert found[0] != pytest.approx(found[1], rel=1e-6)
    if deviation == "depth-over-frames":
        assert found[1] == pytest.approx(found[0] * 2 / 3)


def test_the_released_flip_leaves_depth_where_it_was():
    learner, batch = learner_of(released=("unflipped-depth",)), clips_of_noise()
    batch.depth = torch.zeros_like(batch.depth)
    batch.image[..., :32] = 0
    seen = []
    learner.model.backbone.features = lambda image: seen.append(image) or [image] * 3
    learner.model.backbone.depth = lambda levels: torch.zeros(len(levels[0]), 1, 32, 32, requires_grad=True)
    torch.manual_seed(1)
    list(learner.losses(batch, Moment(1, 0, 1)))
    turned = [bool(clip[..., 32:].abs().max() == 0) for clip in seen[0].unflatten(0, (4, 3))]
    assert 0 < sum(turned) < 4


def test_adadelta_at_the_texts_rate_hardly_moves_and_adam_learns():
    # why stage 1 has Adam: the text's Adadelta at 1e-4 changes a weight by about 1e-8 a step
    moved = {}
    for rule in ("adadelta", "adam"):
        weight = torch.nn.Parameter(torch.ones(4))
        chosen = optimiser(rule, iter([weight]), 1e-4, 0.0)
        for _ in range(100):
            chosen.zero_grad()
            weight.square().sum().backward()
            chosen.step()
        moved[rule] = (1 - weight).max().item()
    assert moved["adadelta"] < 1e-4 < 5e-3 < moved["adam"]


def test_a_single_frame_network_learns_a_batch():
    settings = SGTDSingleConfig(**THIN, lr=3e-3)
    learner = SingleFrameLearner(SGTDSingle().network(**SGTDSingle().network_arguments(settings)), settings, 0)
    batch = clips_of_noise()
    flat = Batch(batch.image[:, 0], batch.depth[:, 0], batch.label, batch.rows)
    losses = []
    for i in range(20):
        (objective,) = learner.losses(flat, Moment(1, i, 20))
        learner.optimisers["model"].zero_grad()
        loss = sum(objective.terms.values())
        loss.backward()
        learner.optimisers["model"].step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_a_network_that_draws_zeros_is_noticed():
    both = learner_of(single=SGTDSingleConfig(**THIN, epochs=5))
    rows = [{"epoch": i + 1, "single_depth": 0.001, "single_target": 0.1} for i in range(5)]
    assert both.trouble(rows[:4]) is None
    assert "zeros" in both.trouble(rows)
    assert both.trouble([*rows[:4], {"epoch": 5, "single_depth": 0.01, "single_target": 0.1}]) is None
    settings = SGTDSingleConfig(**THIN)
    single = SingleFrameLearner(SGTDSingle().network(**SGTDSingle().network_arguments(settings)), settings, 0)
    assert "zeros" in single.trouble([{"dev_depth_live": 0.001, "dev_target_live": 0.3}] * 5)


def test_settings_beyond_their_ranges_are_refused():
    for wrong in ({"alpha": 1.5}, {"beta": 1.0}, {"frames": 1}, {"block": "resnet"}, {"released": ("all",)}):
        with pytest.raises(ValidationError):
            SGTDConfig(**wrong)


# stores, commands -------------------------------------------------------------


def test_a_store_of_pictures_is_refused_with_what_to_build(tmp_path):
    store = build_store(tmp_path / "balls", {"train": ["a", "b", "c", "d"]}, each=4)
    with pytest.raises(TrainingError, match=r"no clip of 5 frames, 3 apart, .*frames: clips"):
        train(str(store), tmp_path / "out", SGTD(), SGTDConfig(), CONFIG)
    assert not (tmp_path / "out").exists()


def test_a_clip_stands_for_its_rows_by_the_last_of_them(clip_store):
    table = DepthDataset(str(clip_store)).table
    ends = ends_of_clips(table, np.arange(len(table)), Targets(frames=5, interval=3), "all")
    assert table.column("frame").to_numpy()[ends].tolist() == [FRAMES[-1]] * (7 * 4)
    pairs = ends_of_clips(table, np.arange(len(table)), Targets(frames=2, interval=3), "all")
    assert sorted(set(table.column("frame").to_numpy()[pairs])) == [3, 9]  # 12 is left over
    with pytest.raises(TrainingError, match=r"test: no clip of 5 frames, 2 apart"):
        ends_of_clips(table, np.arange(10), Targets(frames=5, interval=2), "test")


def test_real_depth_can_be_asked_for(tmp_path):
    real, generated = (
        DepthDataset(str(build_clip_store(tmp_path / name, {"train": ["s"]}, frames=(0,), extra=extra))).table
        for name, extra in (("real", '{"depth_real": true}'), ("generated", "{}"))
    )
    check_depth_source("any", generated)
    check_depth_source("real", real)
    check_depth_source("generated", generated)
    with pytest.raises(TrainingError, match=r"of 2 live training samples 0 have real depth.*source: real"):
        check_depth_source("real", generated)
    with pytest.raises(TrainingError, match="source: aligned"):
        check_depth_source("generated", real)


def test_spoofs_without_masks_are_noticed_in_the_first_batch(clip_store, tmp_path):
    settings = SGTDSingleConfig(**THIN, mask="stored")
    with pytest.raises(TrainingError, match=r"no face mask.*spoof_mask: true"):
        train(str(clip_store), tmp_path / "out", SGTDSingle(), settings, CONFIG)


def test_stages_in_two_runs_keep_the_backbone_and_score_clips_with_stored_masks(tmp_path):
    store = build_clip_store(tmp_path / "store", PEOPLE, spoof_mask=True)
    single = SGTDSingleConfig(**THIN, epochs=1, lr=2e-3, mask="stored")
    first = train(str(store), tmp_path / "single", SGTDSingle(), single, CONFIG)
    second = train(str(store), tmp_path / "multi", SGTD(), SGTDConfig(single=single, backbone=first, epochs=1), CONFIG)
    (net, card), (kept, _) = load_model(second), load_model(first)
    theirs = kept.backbone.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in net.backbone.state_dict().items())
    assert card["input"] | {"crop": None, "frames": 5, "interval": 3, "mask": 32} == card["input"] | {"crop": None}
    assert (card["training"]["init"], card["training"]["encoder"]) == ("pretrained", str(first))
    assert [r["epoch"] for r in load_json(second / "history.json")] == [1]
    judged = evaluate(str(store), second, tmp_path / "eval")
    assert (judged.store["samples"], judged.store["outside_clips"]) == (8, 0)  # two subjects' four videos, a clip each
    assert len(read_scores(tmp_path / "eval" / "scores.parquet").score) == 8
    with pytest.raises(TrainingError, match=r"clips of 5 frames"):
        export(second, tmp_path / "shipped")
    with pytest.raises(TrainingError, match=r"settings\.single\.width=0\.0625"):
        train(str(store), tmp_path / "no", SGTD(), SGTDConfig(backbone=first), CONFIG)
    with pytest.raises(TrainingError, match="mask=ellipse"):
        export(first, tmp_path / "shipped")


def test_a_run_that_is_stopped_in_stage_2_goes_on_to_the_same_weights(clip_store, tmp_path):
    settings = SGTDConfig(single=SGTDSingleConfig(**THIN, epochs=1), epochs=1, frames=2)
    config = CONFIG.model_copy(update={"batch": 8, "loop": LoopConfig(track=(), checkpoint_updates=1, ema=0.9)})

    def stop(_stage, done, total, _terms):
        if done == total - 1:
            raise KeyboardInterrupt

    whole = train(str(clip_store), tmp_path / "whole", SGTD(), settings, config)
    with pytest.raises(KeyboardInterrupt):
        train(str(clip_store), tmp_path / "stopped", SGTD(), settings, config, stop)
    went_on = train(str(clip_store), tmp_path / "stopped", SGTD(), settings, config)
    assert (went_on / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    # a fifth frame of each of the videos has no pair
    assert load_json(whole / "model.json")["split"]["outside_clips"] == 5 * 4


def test_sample_grids_show_the_first_frame_of_a_clip(clip_store):
    data = DepthDataset(str(clip_store))
    feed = Feed(data, input_size=64, targets=SGTD().targets(SGTDConfig()), batch=4, device=torch.device("cpu"))
    pictures = []

    class Kept:
        def picture(self, update, name, pixels):
            pictures.append(pixels)

    ends = ends_of_clips(data.table, np.arange(len(data)), feed.targets, "all")
    Watch([Kept()], feed, ends).network(1, "fas-sgtd", SGTDNetwork(**THIN))
    (shown,) = pictures
    assert shown.shape == (3 * SIDE, 8 * SIDE, 3)  # picture, stored depth, refined depth
    first = data[int(feed.clips[ends[data.table.column("label").to_numpy()[ends] == 0][0], 0])]["image"]
    assert np.array_equal(shown[:SIDE, :SIDE], grid([first[None].float() / 255]))


def test_the_single_frame_stage_is_exported(tmp_path):
    store = build_store(tmp_path / "balls", {"train": ["a", "b", "c", "d"]}, each=8)
    model = train(str(store), tmp_path / "m", SGTDSingle(), SGTDSingleConfig(**THIN, epochs=1), CONFIG)
    assert (export(model, tmp_path / "shipped") / "model.onnx").exists()


@pytest.mark.slow
def test_both_stages_in_one_run_tell_live_from_spoof(tmp_path):
    people = {"train": [f"s{i}" for i in range(10)], "test": [f"t{i}" for i in range(6)]}
    store = build_clip_store(tmp_path / "store", people)
    single = SGTDSingleConfig(width=0.125, epochs=4, lr=2e-3)
    settings = SGTDConfig(single=single, epochs=3, optimiser="adam", lr=1e-3)
    model = train(str(store), tmp_path / "model", get_method("fas-sgtd"), settings, CONFIG)
    history = load_json(model / "history.json")
    assert history[3]["single_euclidean"] < 0.7 * history[0]["single_euclidean"]
    assert history[6]["euclidean"] < history[4]["euclidean"]
    judged = evaluate(str(store), model, tmp_path / "eval")
    assert judged.metrics.auc > 0.85
    scores = read_scores(tmp_path / "eval" / "scores.parquet")
    assert np.median(scores.live) > np.median(scores.spoof)
