"""The order of an epoch: every sample once, whatever the number of ranks."""

import numpy as np
import pytest

from storage.errors import StoreError
from storage.order import EpochOrder

SHARDS = np.repeat(np.arange(10), 20)  # 200 samples


def epoch_of(world, batch_size=8, position=0, epoch=0, shards=SHARDS, **options):
    """Batches of every rank."""
    orders = [EpochOrder(batch_size, seed=3, rank=r, world=world, **options) for r in range(world)]
    return [order.batches(order.sequence(shards, epoch), position) for order in orders]


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("buffer", [None, 0, 30])
def test_every_sample_comes_once_an_epoch_over_all_ranks(world, buffer):
    ranks = epoch_of(world, buffer=buffer)
    assert sorted(np.concatenate([b for rank in ranks for b in rank])) == list(range(200))


def test_order_depends_on_seed_and_epoch_alone():
    def sequence(seed=0, epoch=0, **options):
        return EpochOrder(8, seed, **options).sequence(SHARDS, epoch).tolist()

    assert sequence() == sequence(rank=1, world=3)
    assert len({tuple(sequence(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4
    assert sequence(shuffle=False, epoch=5) == list(range(200))


@pytest.mark.parametrize(("batch_size", "world"), [(12, 1), (6, 2), (4, 3)])
def test_a_step_takes_the_same_samples_with_any_number_of_ranks(batch_size, world):
    ranks = epoch_of(world, batch_size)
    steps = [sorted(np.concatenate(step).tolist()) for step in zip(*ranks, strict=True)]
    alone = EpochOrder(12, seed=3)
    assert steps == [sorted(b.tolist()) for b in alone.batches(alone.sequence(SHARDS, 0), 0)]


def test_shards_alone_are_shuffled_with_an_empty_buffer():
    sequence = EpochOrder(8, buffer=0).sequence(SHARDS, 0).reshape(10, 20)
    assert (np.diff(sequence, axis=1) == 1).all()
    assert sequence[:, 0].tolist() != sorted(sequence[:, 0])


@pytest.mark.parametrize("buffer", [1, 30, 150])
def test_a_buffer_moves_samples_by_less_than_its_size(buffer):
    by_shard = EpochOrder(8, buffer=0).sequence(SHARDS, 4)
    shuffled = EpochOrder(8, buffer=buffer).sequence(SHARDS, 4)
    place = np.argsort(by_shard)
    moved = np.abs(place[shuffled] - np.arange(200))
    assert moved.max() < buffer
    assert moved.max() >= buffer // 3


def test_the_remainder_is_short_filled_up_or_left_out():
    sizes = {name: [[len(b) for b in rank] for rank in epoch_of(3, 8, remainder=name)] for name in ("pad", "drop")}
    assert sizes == {"pad": [[8] * 9] * 3, "drop": [[8] * 8] * 3}  # 200 = 8 steps of 24 and 8 samples
    exact = epoch_of(3, 8)
    assert [len(rank[-1]) for rank in exact] == [3, 3, 2]
    assert [len(rank) for rank in epoch_of(3, 8, shards=SHARDS[:1])] == [1, 0, 0]
    padded = np.concatenate([b for rank in epoch_of(3, 8, remainder="pad") for b in rank])
    assert set(padded) == set(range(200))
    assert len(padded) == 216


def test_a_tiny_dataset_is_repeated_to_fill_a_step():
    ranks = epoch_of(3, 8, shards=SHARDS[:5], remainder="pad")
    assert [[len(b) for b in rank] for rank in ranks] == [[8], [8], [8]]
    assert epoch_of(3, 8, shards=SHARDS[:5], remainder="drop") == [[], [], []]
    assert epoch_of(2, 8, shards=SHARDS[:0], remainder="pad") == [[], []]


def test_other_ranks_and_batch_sizes_continue_where_some_stopped():
    first = np.concatenate([b for rank in epoch_of(2, 10) for b in rank[:4]])  # 80 samples
    rest = np.concatenate([b for rank in epoch_of(3, 7, position=80) for b in rank])
    assert sorted([*first, *rest]) == list(range(200))


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"batch_size": 1, "world": 0},
        {"batch_size": 1, "seed": -1},
        {"batch_size": 1, "buffer": -1},
        {"batch_size": 1, "rank": 2, "world": 2},
        {"batch_size": 1, "remainder": "wrap"},
    ],
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(StoreError):
        EpochOrder(**options)
