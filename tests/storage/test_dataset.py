"""The torch Dataset: the same samples from either format, in this process and in workers."""

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader

from storage.config import StoreConfig
from storage.dataset import DepthDataset
from storage.errors import Damaged, StoreError
from storage.schema import COLUMNS
from storage.snapshot import Snapshot, Store, open_snapshot
from storage.writer import shard_writer
from tests.fixtures.samples import make_samples


def build(root, config, per_shard=10, n=30, **kwargs):
    infos = []
    for first in range(0, n, per_shard):
        with shard_writer(root, f"s{first}", config, {}) as writer:
            writer.write(make_samples(per_shard, first=first, split="train" if first < 20 else "test", **kwargs))
        infos.append(writer.info)
    Store(root).commit(infos, parent=None, config={}, lineage={})
    return root


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    root = tmp_path_factory.mktemp("stores")
    configs = {
        "hdf5": StoreConfig(format="hdf5"),
        "parquet": StoreConfig(format="parquet", image="raw"),
        "hdf5-jpeg": StoreConfig(format="hdf5", image="jpeg"),
        "parquet-jpeg": StoreConfig(format="parquet"),
    }
    return {name: build(root / name, config) for name, config in configs.items()}


def test_an_item_is_image_depth_label_and_its_number(stores):
    item = DepthDataset(stores["hdf5"])[5]
    sample = make_samples(6)[5]
    assert sample.depth is not None
    assert (item["image"].shape, item["image"].dtype) == ((3, 32, 32), torch.uint8)
    assert (item["depth"].shape, item["depth"].dtype) == ((1, 32, 32), torch.float32)
    np.testing.assert_array_equal(item["image"].permute(1, 2, 0), sample.image)
    np.testing.assert_array_equal(item["depth"][0], sample.depth.astype(np.float32) / np.float32(255))
    assert (item["label"].dtype, int(item["label"]), int(item["index"])) == (torch.int64, 0, 5)


def test_both_formats_give_the_same_items(stores):
    for a, b in (("hdf5", "parquet"), ("hdf5-jpeg", "parquet-jpeg")):
        left, right = DepthDataset(stores[a]), DepthDataset(stores[b])
        assert len(left) == len(right) == 30
        for x, y in zip(left, right, strict=False):
            assert all(torch.equal(x[key], y[key]) for key in ("image", "depth", "label", "index"))
            if int(x["index"]) == 29:
                break
    raw, jpeg = DepthDataset(stores["hdf5"])[7], DepthDataset(stores["parquet-jpeg"])[7]
    assert (raw["image"].int() - jpeg["image"].int()).abs().max() <= 12
    assert torch.equal(raw["depth"], jpeg["depth"])


def test_where_chooses_rows_and_the_table_follows(stores):
    data = DepthDataset(stores["hdf5"], where={"split": "train", "view": 0, "attack": ["print", "replay"]})
    rows = data.table.to_pylist()
    assert len(data) == len(rows) > 0
    assert {(r["split"], r["view"]) for r in rows} == {("train", 0)}
    assert {r["attack"] for r in rows} <= {"print", "replay"}
    truth = {s.columns["path"]: s for s in make_samples(30) if s.columns["view"] == 0}
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(data[i]["image"].permute(1, 2, 0), truth[row["path"]].image)


def test_rows_are_taken_in_the_order_given(stores):
    everything = DepthDataset(stores["hdf5"])
    data = DepthDataset(stores["hdf5"], rows=np.array([25, 3, 14]))
    assert [int(x["label"]) for x in data.__getitems__([0, 1, 2])] == [int(everything[i]["label"]) for i in (25, 3, 14)]
    assert all(torch.equal(data[k]["image"], everything[i]["image"]) for k, i in enumerate((25, 3, 14)))
    assert data.table.column("path").to_pylist() == [everything.table.column("path")[i].as_py() for i in (25, 3, 14)]
    assert len(DepthDataset(stores["hdf5"], where={"split": "dev"})) == 0


def test_a_batch_across_shards_keeps_its_order(stores):
    data = DepthDataset(stores["hdf5"])
    order = [29, 0, 15, 1, 29, -1]
    batch = data.__getitems__(order)
    assert [int(x["index"]) for x in batch] == [29, 0, 15, 1, 29, 29]
    assert all(torch.equal(x["image"], data[i]["image"]) for x, i in zip(batch, order, strict=True))


def test_sixteen_bit_depth_is_the_same_range(tmp_path):
    data = DepthDataset(build(tmp_path, StoreConfig(), depth_dtype=np.uint16))
    truth = make_samples(1, depth_dtype=np.uint16)[0].depth
    np.testing.assert_array_equal(data[0]["depth"][0], truth.astype(np.float32) / np.float32(65535))
    assert data[0]["depth"].max() == 1.0


def test_a_small_map_is_the_area_mean_of_the_stored_one(stores):
    whole, small = (DepthDataset(stores["hdf5"], depth_size=size) for size in (None, 8))
    for i in (0, 1, 2):
        blocks = whole[i]["depth"].reshape(1, 8, 4, 8, 4).mean(dim=(2, 4))
        torch.testing.assert_close(small[i]["depth"], blocks)
    assert small[0]["image"].shape == (3, 32, 32)
    with pytest.raises(StoreError, match="depth_size 0"):
        DepthDataset(stores["hdf5"], depth_size=0)


@pytest.mark.parametrize("name", ["hdf5", "parquet-jpeg"])
def test_a_mask_says_where_the_face_is_live_or_spoof(stores, name):
    data, samples = DepthDataset(stores[name], mask=True), make_samples(8)
    assert "mask" not in DepthDataset(stores[name])[0]
    for i, expected in ((0, samples[0].depth > 0), (6, samples[6].mask), (2, np.zeros((32, 32), bool))):
        assert data[i]["mask"].dtype == torch.bool
        np.testing.assert_array_equal(data[i]["mask"][0], expected)
    small = DepthDataset(stores[name], mask=True, depth_size=8)
    assert torch.equal(small[0]["mask"], small[0]["depth"] > 0)
    np.testing.assert_array_equal(small[6]["mask"][0], samples[6].mask.reshape(8, 4, 8, 4).any(axis=(1, 3)))


def test_wrong_questions_are_answered_clearly(stores, tmp_path):
    with pytest.raises(StoreError, match="'colour'"):
        DepthDataset(stores["hdf5"], where={"colour": 1})
    with pytest.raises(StoreError, match="pseudodepth build"):
        DepthDataset(tmp_path)
    with pytest.raises(IndexError):
        DepthDataset(stores["hdf5"])[30]


@pytest.mark.parametrize(("method", "epochs"), [("fork", 3), ("spawn", 1)])
def test_two_workers_read_what_one_process_reads(stores, method, epochs):
    # in a fresh process, as a trainer is: Prefect, once imported here, makes every forked worker exit with code 1
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        assert fresh.submit(_read_in_workers, stores["hdf5"], stores["parquet-jpeg"], method, epochs).result() == 60


def _read_in_workers(one, other, method, epochs):
    parts = [DepthDataset(open_snapshot(store)) for store in (one, other)]
    # shards are open in the parent now: an inherited handle must do no harm
    expected = [item for part in parts for item in part.__getitems__(range(30))]
    loader = DataLoader(ConcatDataset(parts), batch_size=7, num_workers=2, multiprocessing_context=method)
    for _ in range(epochs):
        got = [{k: v[j] for k, v in batch.items()} for batch in loader for j in range(len(batch["label"]))]
        for x, y in zip(got, expected, strict=True):
            assert all(torch.equal(x[key], y[key]) for key in y)
    return len(got)


def test_a_pickled_dataset_carries_no_pixels_and_reads_on(stores):
    data = DepthDataset(stores["hdf5"])
    _ = data[0]
    packed = pickle.dumps(data)
    assert len(packed) < 100_000
    assert torch.equal(pickle.loads(packed)[3]["image"], data[3]["image"])


def test_more_shards_than_may_be_open_at_once(stores, monkeypatch):
    monkeypatch.setattr("storage.dataset._MAX_OPEN", 1)
    data = DepthDataset(stores["hdf5"])
    assert [int(x["index"]) for x in data.__getitems__([0, 10, 20, 1, 11])] == [0, 10, 20, 1, 11]


def test_opening_reads_only_the_columns_it_needs(tmp_path, monkeypatch):
    root, asked = build(tmp_path, StoreConfig()), []
    original = Snapshot.columns
    monkeypatch.setattr(Snapshot, "columns", lambda self, names=None: asked.append(names) or original(self, names))
    assert len(DepthDataset(root)) == 30
    assert asked == []
    data = DepthDataset(root, where={"split": "test", "view": 0})
    assert asked == [["split", "view"]]
    assert data.columns(["path"]).column("path").to_pylist() == data.table.column("path").to_pylist()
    assert asked[1:] == [["path"], COLUMNS.names]
    for shard in (root / "shards").glob("*.h5"):
        shard.unlink()
    assert len(DepthDataset(root)) == 30  # so no shard was opened either
    with pytest.raises(Damaged, match="cannot be opened"):
        DepthDataset(root)[0]


def test_rows_that_are_not_there_are_refused(stores):
    for rows in ([30], [-1]):
        with pytest.raises(StoreError, match="has 30"):
            DepthDataset(stores["hdf5"], rows=rows)


def test_damaged_pixels_are_never_handed_to_training(tmp_path):
    root = build(tmp_path, StoreConfig())
    data = DepthDataset(root)
    shard = root / "shards" / "s10.h5"
    picture = make_samples(15)[14].image.tobytes()
    content = bytearray(shard.read_bytes())
    content[content.index(picture) + 1000] ^= 4
    shard.write_bytes(content)
    assert data[13] is not None
    with pytest.raises(Damaged, match=r"s10\.h5: row 4: image does not fit its checksum"):
        _ = data[14]
    shard.write_bytes(content[:-1])
    with pytest.raises(Damaged, match=r"s10\.h5.*bytes, expected"):
        _ = DepthDataset(root)[10]
