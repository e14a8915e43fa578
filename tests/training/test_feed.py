"""What a network is given: the stored pixels, depth untouched by colour, the same at any batch size."""

import threading
import time

import numpy as np
import pytest
import torch

from storage.dataset import DepthDataset
from training.augment import ColourConfig
from training.feed import AHEAD, Feed, read_ahead
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
    plain = list(feed_of(data).train(sampler, range(4), None, seed=0))
    tinted = list(feed_of(data).train(sampler, range(4), ColourConfig(), seed=0))
    for a, b in zip(plain, tinted, strict=True):
        assert torch.equal(a.depth, b.depth)
        assert torch.equal(a.label, b.label)
        assert not torch.allclose(a.image, b.image)
        assert a.label.sum() == 4


def test_a_sample_gets_the_same_colours_at_any_batch_size(data):
    sampler = BalancedSampler(groups_of(data.table, np.arange(40), "class"), seed=0)
    small = torch.cat([b.image for b in feed_of(data, 4).train(sampler, range(4), ColourConfig(), seed=0)])
    large = torch.cat([b.image for b in feed_of(data, 16).train(sampler, range(1), ColourConfig(), seed=0)])
    assert torch.allclose(small, large, atol=1e-6)


def test_a_sample_gets_new_colours_when_it_comes_again(data):
    sampler = BalancedSampler([[np.array([0])], [np.array([1])]], seed=0)
    first, again = feed_of(data, 2).train(sampler, range(2), ColourConfig(), seed=0)
    assert first.rows.tolist() == again.rows.tolist()
    assert not torch.allclose(first.image, again.image)


def test_sizes_are_brought_to_the_networks_and_depth_is_averaged(data):
    batch = next(feed_of(data, input_size=96, depth_size=32).plain(np.arange(2)))
    assert batch.image.shape == (2, 3, 96, 96)
    whole = data[0]["depth"]
    assert torch.allclose(batch.depth[0], whole.reshape(1, 32, 2, 32, 2).mean(dim=(2, 4)), atol=1e-6)
    without = next(feed_of(data, depth_size=None).plain(np.arange(2)))
    assert without.depth is None


def test_an_error_of_the_reader_is_raised_where_batches_are_used():
    def broken():
        yield 1
        raise OSError("disk gone")

    got = read_ahead(broken())
    assert next(got) == 1
    with pytest.raises(OSError, match="disk gone"):
        next(got)


def test_reading_stays_a_few_ahead_and_ends_with_its_user():
    made = []

    def endless():
        while True:
            made.append(len(made))
            yield made[-1]

    got = read_ahead(endless())
    assert [next(got) for _ in range(3)] == [0, 1, 2]
    time.sleep(0.3)
    assert len(made) <= 3 + AHEAD + 2
    got.close()
    assert not [t for t in threading.enumerate() if t.name == "read-ahead"]
