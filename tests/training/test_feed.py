"""What a network is given: the stored pixels, depth untouched by colour, the same at any batch size."""

import threading
from functools import partial

import numpy as np
import pytest
import torch

from storage.config import StoreConfig
from storage.dataset import DepthDataset
from storage.schema import Sample
from storage.snapshot import Store
from storage.writer import shard_writer
from tests.fixtures.balls import face, row
from training.augment import AugmentConfig, GeometryConfig, SpoofConfig
from training.errors import TrainingError
from training.feed import AHEAD, UNKNOWN_KIND, Feed, in_turn
from training.methods import Targets
from training.splits import BalancedSampler, groups_of, split_train_dev


@pytest.fixture(scope="module")
def data(store):
    return DepthDataset(str(store))


def feed_of(data, batch=8, input_size=64, depth_size=64):
    targets = Targets(depth_size=depth_size)
    return Feed(data, input_size=input_size, targets=targets, batch=batch, device=torch.device("cpu"))


def test_plain_batches_are_the_stored_samples_in_order(data):
    rows = np.arange(3, 22)
    batches = list(feed_of(data).plain(rows))
    assert [len(b.rows) for b in batches] == [8, 8, 3]
    image, depth = (torch.cat([getattr(b, name) for b in batches]) for name in ("image", "depth"))
    for k, i in enumerate(rows):
        item = data[int(i)]
        assert torch.equal(image[k], item["image"].float() / 255)
        assert torch.equal(depth[k], item["depth"])
    assert image.is_contiguous(memory_format=torch.channels_last)


def test_colour_changes_images_and_never_depth(data):
    split = split_train_dev(data.table, seed=0)
    sampler = BalancedSampler(groups_of(data.table, split.train, "class"), seed=0)
    plain = list(feed_of(data).train(sampler, range(4), AugmentConfig(colour=None), seed=0))
    tinted = list(feed_of(data).train(sampler, range(4), AugmentConfig(), seed=0))
    for a, b in zip(plain, tinted, strict=True):
        assert torch.equal(a.depth, b.depth)
        assert torch.equal(a.label, b.label)
        assert not torch.allclose(a.image, b.image)
        assert a.label.sum() == 4


def test_a_sample_gets_the_same_colours_at_any_batch_size(data):
    sampler = BalancedSampler(groups_of(data.table, np.arange(40), "class"), seed=0)
    small = torch.cat([b.image for b in feed_of(data, 4).train(sampler, range(4), AugmentConfig(), seed=0)])
    large = torch.cat([b.image for b in feed_of(data, 16).train(sampler, range(1), AugmentConfig(), seed=0)])
    assert torch.allclose(small, large, atol=1e-6)


def test_a_sample_gets_new_colours_when_it_comes_again(data):
    sampler = BalancedSampler([[np.array([0])], [np.array([1])]], seed=0)
    first, again = feed_of(data, 2).train(sampler, range(2), AugmentConfig(), seed=0)
    assert first.rows.tolist() == again.rows.tolist()
    assert not torch.allclose(first.image, again.image)


def test_sizes_are_brought_to_the_networks_and_depth_is_averaged(data):
    batch = next(feed_of(data, input_size=96, depth_size=32).plain(np.arange(2)))
    assert batch.image.shape == (2, 3, 96, 96)
    whole = data[0]["depth"]
    assert torch.allclose(batch.depth[0], whole.reshape(1, 32, 2, 32, 2).mean(dim=(2, 4)), atol=1e-6)
    without = next(feed_of(data, depth_size=None).plain(np.arange(2)))
    assert without.depth is None


def test_turned_live_samples_are_labelled_spoof_without_depth_or_type(data):
    targets = Targets(depth_size=32, kinds=("print", "replay"))
    feed = Feed(data, input_size=64, targets=targets, batch=40, device=torch.device("cpu"))
    rows = np.arange(40)
    sampler = BalancedSampler([[rows]], seed=0)
    batch = next(feed.train(sampler, range(1), AugmentConfig(spoof=SpoofConfig(share=0.5)), seed=0))
    stored = data.table.column("label").to_numpy()[batch.rows]
    turned = batch.label.numpy() != stored
    assert 3 < turned.sum() < 18
    assert (stored[turned] == 0).all()
    assert batch.depth.amax(dim=(1, 2, 3)).numpy()[turned].max() == 0
    attacks = np.array(data.table.column("attack").to_pylist())[batch.rows]
    expected = np.select([turned, attacks == "print", attacks == "replay"], [UNKNOWN_KIND, 1, 2], 0)
    assert batch.kind.tolist() == expected.tolist()


def test_masks_are_live_depth_at_the_targets_size(store):
    data = DepthDataset(str(store), mask=True)
    feed = Feed(data, input_size=64, targets=Targets(depth_size=32, mask=True), batch=8, device=torch.device("cpu"))
    batch = next(feed.plain(np.arange(8)))
    assert batch.mask.shape == (8, 1, 32, 32)
    assert torch.equal(batch.mask, batch.depth > 0)
    with pytest.raises(TrainingError, match="mask=True"):
        Feed(DepthDataset(str(store)), input_size=64, targets=Targets(mask=True), batch=8, device=torch.device("cpu"))


def test_clips_are_frames_of_one_medium_with_one_recipe(tmp_path):
    folder = build_clips(tmp_path)
    data = DepthDataset(str(folder))
    targets = Targets(depth_size=32, frames=3, interval=2)
    feed = Feed(data, input_size=64, targets=targets, batch=4, device=torch.device("cpu"))
    batch = next(feed.plain(np.array([12, 4, 5])))
    assert batch.image.shape == (3, 3, 3, 64, 64)
    assert batch.depth.shape == (3, 3, 1, 32, 32)
    # seven frames of a live medium, then of a spoof; a clip is named by its last row
    for clip, frames in zip(batch.image, [(8, 10, 12), (0, 2, 4), (1, 3, 5)], strict=True):
        for got, i in zip(clip, frames, strict=True):
            assert torch.equal(got, data[i]["image"].float() / 255)
    assert batch.label.tolist() == [1, 0, 0]
    with pytest.raises(TrainingError, match="row 6 ends no clip"):
        next(feed.plain(np.array([4, 6])))
    sampler = BalancedSampler([[np.array([4, 5])], [np.array([11, 12])]], seed=0)
    one = AugmentConfig(colour=None, geometry=GeometryConfig(rotation=0, scale=0, shift=0, flip=1))
    mirrored = next(feed.train(sampler, range(1), one, seed=0))
    for clip, last in zip(mirrored.image, mirrored.rows, strict=True):
        for got, i in zip(clip, (last - 4, last - 2, last), strict=True):
            assert torch.allclose(got, data[int(i)]["image"].float().flip(-1) / 255, atol=1e-3)


def build_clips(folder):
    with shard_writer(str(folder), "only", StoreConfig(), {}) as writer:
        for m, attack in enumerate(("", "print")):
            for frame in range(7):
                sample = face(np.random.default_rng([m, frame]), attack=attack)
                columns = {**row(m, split="train", subject="s", attack=attack), "frame": frame}
                writer.write([Sample(sample.image, sample.depth, columns)])
    Store(str(folder)).commit([writer.info], parent=None, config={}, lineage={})
    return folder


def test_an_error_is_raised_where_its_batch_would_be():
    def fail():
        raise OSError("disk gone")

    def broken_reader():
        yield lambda: 1
        yield lambda: 2
        raise OSError("disk gone")

    for jobs in (broken_reader(), (job for job in (lambda: 1, lambda: 2, fail, lambda: 3))):
        got = in_turn(jobs)
        assert [next(got), next(got)] == [1, 2]
        with pytest.raises(OSError, match="disk gone"):
            next(got)


def test_batches_keep_their_order_whichever_is_ready_first():
    slow = threading.Event()

    def first():
        assert slow.wait(10)
        return "first"

    def second():
        slow.set()
        return "second"

    assert list(in_turn(job for job in (first, second, lambda: "third"))) == ["first", "second", "third"]


def test_reading_stays_a_few_ahead_and_ends_with_its_user():
    made = []

    def endless():
        while True:
            made.append(len(made))
            yield partial(int, made[-1])

    got = in_turn(endless())
    assert [next(got) for _ in range(3)] == [0, 1, 2]
    assert len(made) == 3 + AHEAD
    got.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("feed")]
