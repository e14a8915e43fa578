"""FAS-SGTD's training: its losses, both stages, and every command around them."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from storage.dataset import DepthDataset
from tests.fixtures.balls import build_store
from tests.fixtures.clips import FRAMES, build_clip_store
from tests.fixtures.noise import seeded
from training.batch import Batch
from training.checkpoint import load_json, load_model
from training.clips import ends_of_clips
from training.config import LoopConfig, TrainConfig
from training.errors import TrainingError
from training.evaluate import evaluate, read_scores
from training.export import export
from training.feed import Feed
from training.methods import Moment, Targets, get_method
from training.methods.fas_sgtd import SGTD, SGTDConfig, SGTDLearner, SGTDNetwork
from training.methods.fas_sgtd_single import (
    SGTDSingle,
    SGTDSingleConfig,
    SingleFrameLearner,
    check_depth_source,
    depth_terms,
    optimiser,
)
from training.track import SIDE, Watch, grid
from training.train import train

THIN = {"width": 0.0625}
CONFIG = TrainConfig(batch=4, input_size=64, device="cpu", loop=LoopConfig(track=()))
PEOPLE = {"train": [f"s{i}" for i in range(5)], "test": ["t0", "t1"]}


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
    with pytest.raises(TrainingError, match=r"face masks of a store.*settings\.single\.mask"):
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
