"""Streams of batches: one order for any number of workers, threads and ranks, continued anywhere."""

import json
import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor
from itertools import chain

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from storage.config import StoreConfig
from storage.dataset import DepthDataset
from storage.errors import Damaged, StoreError
from storage.loader import DepthLoader, ring_batches
from storage.snapshot import Store
from storage.stream import DepthStream
from storage.writer import shard_writer
from tests.fixtures.samples import make_samples

N, PER_SHARD = 50, 9


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root, infos = tmp_path_factory.mktemp("stream"), []
    for first in range(0, N, PER_SHARD):
        with shard_writer(root, f"s{first:02d}", StoreConfig(), {}) as writer:
            writer.write(make_samples(min(PER_SHARD, N - first), size=16, first=first))
        infos.append(writer.info)
    Store(root).commit(infos, parent=None, config={}, lineage={})
    return root


def stream_of(store, batch_size=4, seed=1, **options):
    return DepthStream(DepthDataset(store), batch_size, seed=seed, buffer=options.pop("buffer", 15), **options)


def numbers(batches):
    return [batch.index.tolist() for batch in batches]


def check_pixels(batch, samples):
    for k, i in enumerate(batch.index.tolist()):
        np.testing.assert_array_equal(batch.image[k].permute(1, 2, 0), samples[i].image)
        np.testing.assert_array_equal(batch.depth[k, 0], 0 if samples[i].depth is None else samples[i].depth)
        assert int(batch.label[k]) == samples[i].columns["label"]


def test_batches_hold_the_stored_bytes(store):
    samples = make_samples(N, size=16)
    batches = list(stream_of(store))
    for batch in batches:
        check_pixels(batch, samples)
    assert (batches[0].image.dtype, batches[0].depth.dtype) == (torch.uint8, torch.uint8)
    assert batches[0].image.shape == (4, 3, 16, 16)
    assert batches[0].image.is_contiguous(memory_format=torch.channels_last)
    image, depth = batches[0].floats()
    item = stream_of(store).data[int(batches[0].index[0])]
    assert torch.equal(image[0], item["image"].float() / 255)
    assert torch.equal(depth[0], item["depth"])
    assert sorted(chain(*numbers(batches))) == list(range(N))


def test_epochs_follow_each_other_and_can_be_gone_back_to(store):
    stream = stream_of(store)
    first, second = numbers(stream), numbers(stream)
    assert first != second
    assert stream.epoch == 2
    stream.set_epoch(1)
    assert len(stream) == 13
    assert numbers(stream) == second


def _through_workers(store, method, cases):
    """Of each case and rank: two epochs through one DataLoader, then the last part of an epoch."""
    got = []
    for workers, ranks, rank in cases:
        stream = stream_of(store, rank=rank, world=ranks)
        loader = DataLoader(
            stream,
            batch_size=None,
            num_workers=workers,
            multiprocessing_context=method,
            persistent_workers=True,
        )
        epochs = []
        for epoch in (0, 1):
            stream.set_epoch(epoch)
            epochs.append(numbers(loader))
        stream.set_epoch(0)
        state = json.loads(json.dumps(stream.state_dict(batches=3)))
        stream.load_state_dict(state)
        got.append((epochs, numbers(loader)))
    return got


FORKED = [(workers, ranks, ranks - 1) for workers in (1, 2, 4) for ranks in (1, 2, 3)]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "cases"), [("fork", FORKED), ("spawn", [(2, 2, 1)])])
def test_any_number_of_workers_yields_the_batches_of_one_process(store, method, cases):
    # in a fresh process, as a trainer is: Prefect, once imported here, makes every forked worker exit with code 1
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        got = fresh.submit(_through_workers, store, method, cases).result()
    for (_, ranks, rank), (epochs, rest) in zip(cases, got, strict=True):
        alone = stream_of(store, rank=rank, world=ranks)
        assert epochs == [numbers(alone), numbers(alone)]
        assert rest == epochs[0][3:]


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("threads", [None, 1, 2, 4])
def test_a_stream_stopped_anywhere_goes_on_as_if_it_had_not_been(store, ranks, threads):
    rng = np.random.default_rng([ranks, threads or 0])

    def reader(stream):
        return stream if threads is None else DepthLoader(stream, threads=threads)

    for rank in range(ranks):
        undisturbed = stream_of(store, rank=rank, world=ranks)
        expected = [numbers(undisturbed), numbers(undisturbed)]
        for stop in rng.integers(1, len(expected[0]), 3):
            stream = stream_of(store, rank=rank, world=ranks)
            batches = iter(reader(stream))
            before = [next(batches).index.tolist() for _ in range(stop)]
            state = json.loads(json.dumps(reader(stream).state_dict()))
            batches.close()
            again = stream_of(store, rank=rank, world=ranks)
            reader(again).load_state_dict(state)
            assert [before + numbers(reader(again)), numbers(reader(again))] == expected


def test_a_state_fits_another_number_of_ranks_but_no_other_order(store):
    stopped = [stream_of(store, rank=r, world=2) for r in (0, 1)]
    had = [next(batches).index.tolist() for batches in map(iter, stopped) for _ in range(3)]
    state = stopped[0].state_dict()
    rest = []
    for rank in range(3):
        other = stream_of(store, batch_size=5, rank=rank, world=3)
        other.load_state_dict(state)
        rest += numbers(other)
    assert sorted(chain(*had, *rest)) == list(range(N))
    part = DepthStream(DepthDataset(store, where={"label": 0}), 4, seed=1, buffer=15)
    for wrong in (stream_of(store, seed=2), stream_of(store, buffer=16), part):
        with pytest.raises(StoreError, match="the state was taken from"):
            wrong.load_state_dict(state)
    for bad in ({}, {**state, "position": "far"}, {**state, "position": -1}, {**state, "position": N + 1}):
        with pytest.raises(StoreError):
            stream_of(store).load_state_dict(bad)


def test_the_loader_gives_the_batches_of_the_stream_in_as_many_buffers_as_agreed(store):
    samples, seen, addresses = make_samples(N, size=16), [], set()
    for batch in DepthLoader(stream_of(store), ring=3, threads=2):
        check_pixels(batch, samples)
        seen.append(batch.index.tolist())
        addresses.add(batch.image.data_ptr())
    assert seen == numbers(stream_of(store))
    assert len(addresses) <= 3


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_a_batch_stays_valid_until_keep_more_are_asked_for(store, keep):
    samples, held = make_samples(N, size=16), []
    for batch in DepthLoader(stream_of(store), ring=5, keep=keep, threads=2):
        held = [*held, batch][-keep:]
        for valid in held:
            check_pixels(valid, samples)


def test_the_loader_reads_no_further_ahead_than_its_ring(store):
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield np.array([taken[-1] % N])

    batches = ring_batches(DepthDataset(store), endless(), 1, ring=4, keep=1, threads=2)
    assert [int(next(batches).index[0]) for _ in range(20)] == list(range(20))
    assert len(taken) <= 20 + 4
    batches.close()


def test_threads_end_with_their_user(store):
    def threads():
        return [t for t in threading.enumerate() if t.name.startswith("depth-loader")]

    for _ in DepthLoader(stream_of(store)):
        assert threads()
        break
    assert not threads()
    list(DepthLoader(stream_of(store)))
    assert not threads()


def test_an_error_of_a_thread_comes_in_place_of_its_batch(tmp_path):
    with shard_writer(tmp_path, "s", StoreConfig(), {}) as writer:
        writer.write(make_samples(20, size=16))
    Store(tmp_path).commit([writer.info], parent=None, config={}, lineage={})
    shard, picture = tmp_path / "shards" / "s.h5", make_samples(10, size=16)[9].image.tobytes()
    content = bytearray(shard.read_bytes())
    content[content.index(picture)] ^= 1
    shard.write_bytes(content)
    stream = DepthStream(DepthDataset(tmp_path), 2, shuffle=False)
    batches, got = iter(DepthLoader(stream, threads=3)), []
    with pytest.raises(Damaged, match="row 9"):
        got.extend(batch.index.tolist() for batch in batches)
    assert got == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert stream.position == 8
    assert not [t for t in threading.enumerate() if t.name.startswith("depth-loader")]


def test_options_that_make_no_sense_are_refused(store):
    for options in ({"ring": 1}, {"keep": 4}, {"keep": 0}, {"threads": 0}):
        with pytest.raises(StoreError, match="ring"):
            DepthLoader(stream_of(store), **options)
    loader = DepthLoader(stream_of(store))
    first = iter(loader)
    next(first)
    with pytest.raises(StoreError, match="iterated over already"):
        next(iter(loader))
    first.close()
    assert next(iter(loader)).index.shape == (4,)
    with pytest.raises(StoreError, match="depth_size"):
        DepthStream(DepthDataset(store, depth_size=8), 4)
    data = DepthDataset(store)
    with pytest.raises(StoreError, match="3 items into a batch of 2"):
        data.read([0, 1, 2], data.empty_batch(2))


def test_masks_and_sixteen_bits_pass_through(tmp_path):
    samples = make_samples(8, size=16, depth_dtype=np.uint16)
    with shard_writer(tmp_path, "s", StoreConfig(), {}) as writer:
        writer.write(samples)
    Store(tmp_path).commit([writer.info], parent=None, config={}, lineage={})
    data = DepthDataset(tmp_path, mask=True)
    batch = next(iter(DepthLoader(DepthStream(data, 8, shuffle=False))))
    check_pixels(batch, samples)
    items = data.__getitems__(range(8))
    assert torch.equal(batch.mask, torch.stack([item["mask"] for item in items]))
    assert torch.equal(batch.floats()[1], torch.stack([item["depth"] for item in items]))
