"""`convert`: the same rows in another format."""

import hashlib
import io
import json
import tarfile

import numpy as np
import pytest
import webdataset
from PIL import Image
from typer.testing import CliRunner

from flows.cli import app
from storage.config import StoreConfig
from storage.convert import convert
from storage.errors import Damaged, StoreError
from storage.snapshot import Store, open_snapshot
from storage.verify import verify
from storage.webdataset import to_webdataset
from storage.writer import shard_writer
from tests.fixtures.samples import make_samples, reject_row

CASES = {  # source, target: what happens to the image, and to depth
    "raw stays raw, packed depth becomes PNG": (StoreConfig(), StoreConfig(format="parquet")),
    "JPEG is passed through": (StoreConfig(image="jpeg"), StoreConfig(format="parquet", image="jpeg")),
    "JPEG is passed through, the other way": (StoreConfig(format="parquet"), StoreConfig(depth="raw")),
    "PNG to raw": (StoreConfig(format="parquet", image="png"), StoreConfig(image="raw")),
    "the same format, other codecs": (StoreConfig(depth="raw"), StoreConfig(image="png")),
}


def build(root, config, **options):
    """Two shards, 100 rows (more than a batch) and 8, and a reject; snapshot 2 of the store."""
    infos = []
    for name, n, first in (("a", 100, 0), ("b", 8, 100)):
        with shard_writer(root, name, config, {"plan": name}) as writer:
            writer.write(make_samples(n, first=first, size=24, **options))
            if name == "a":
                writer.reject(reject_row())
        infos.append(writer.info)
    first = Store(root).commit(infos[:1], parent=None, config={"seed": 1}, lineage={})
    return Store(root).commit(infos, parent=first, config={"seed": 1}, lineage={"aligner": "facemesh"})


def assert_same_rows(a, b):
    names = [name for name in a.columns().column_names if name != "confidence"]
    assert b.columns(names).equals(a.columns(names))
    np.testing.assert_array_equal(*(s.columns(["confidence"]).column(0).to_numpy() for s in (a, b)))  # NaN is NaN
    assert b.rejects().equals(a.rejects())
    assert b.media().drop_columns(["shard"]).equals(a.media().drop_columns(["shard"]))
    for one, other in zip(a.shards, b.shards, strict=True):
        readers, rows = [a.open(one), b.open(other)], range(one.rows)
        for x, y in zip(*(reader.read(rows) for reader in readers), strict=True):
            np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(*(reader.read_masks(rows) for reader in readers))


@pytest.mark.parametrize("case", CASES)
def test_every_row_is_the_same_afterwards(tmp_path, case):
    source, target = CASES[case]
    before = build(tmp_path / "from", source)
    after = convert(tmp_path / "from", tmp_path / "to", target)
    assert_same_rows(before, after)
    assert verify(tmp_path / "to").ok
    assert {shard.format for shard in after.shards} == {target.format}
    assert [shard.meta for shard in after.shards] == [shard.meta for shard in before.shards]


def test_a_jpeg_is_not_encoded_again(tmp_path):
    before = build(tmp_path / "from", StoreConfig(format="parquet", jpeg_quality=70))
    after = convert(tmp_path / "from", tmp_path / "to", StoreConfig(image="jpeg", jpeg_quality=95))
    for one, other in zip(before.shards, after.shards, strict=True):
        a, b = before.open(one), after.open(other)
        assert [bytes(a.stored(i, "image")) for i in range(len(a))] == [
            bytes(b.stored(i, "image")) for i in range(len(b))
        ]


def test_halved_colours_stay_declared(tmp_path):
    with pytest.warns(UserWarning, match="colour fringes"):
        half = StoreConfig(image="jpeg", jpeg_subsampling="4:2:0")
    build(tmp_path / "from", half)
    with pytest.warns(UserWarning, match="colour fringes"):
        after = convert(tmp_path / "from", tmp_path / "to", StoreConfig(format="parquet"))
    assert {after.open(shard).index.image_subsampling for shard in after.shards} == {"4:2:0"}


def test_there_and_back_is_the_same_store(tmp_path):
    before = build(tmp_path / "a", StoreConfig(), depth_dtype=np.uint16)
    convert(tmp_path / "a", tmp_path / "b", StoreConfig(format="parquet", image="png"))
    assert_same_rows(before, convert(tmp_path / "b", tmp_path / "c", StoreConfig(image="raw")))


def test_the_new_store_knows_its_parent(tmp_path):
    before = build(tmp_path / "from", StoreConfig())
    after = convert(f"{tmp_path / 'from'}@2", tmp_path / "to", StoreConfig(format="parquet"))
    assert after.lineage["aligner"] == "facemesh"
    sums = "".join(shard.sha256 for shard in before.shards)
    expected = {"snapshot": 2, "shards_sha256": hashlib.sha256(sums.encode()).hexdigest()}
    assert after.lineage["converted_from"] == expected
    assert (after.config["seed"], after.config["store"]["format"]) == (1, "parquet")


def test_an_interrupted_conversion_goes_on_and_a_finished_one_does_nothing(tmp_path):
    build(tmp_path / "from", StoreConfig())

    def stop(done, shards):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "from", tmp_path / "to", StoreConfig(format="parquet"), stop)
    assert Store(tmp_path / "to").current() is None
    (first,) = (tmp_path / "to" / "shards").glob("*.parquet")
    inode = first.stat().st_ino
    after = convert(tmp_path / "from", tmp_path / "to", StoreConfig(format="parquet"))
    assert first.stat().st_ino == inode
    assert convert(tmp_path / "from", tmp_path / "to", StoreConfig(format="parquet")) == after


def test_another_store_at_the_target_is_left_alone(tmp_path):
    build(tmp_path / "from", StoreConfig())
    other = build(tmp_path / "to", StoreConfig(), depth_dtype=np.uint16)
    with pytest.raises(StoreError, match="another store already"):
        convert(tmp_path / "from", tmp_path / "to", StoreConfig())
    assert open_snapshot(tmp_path / "to") == other


def test_damage_is_named_and_not_carried_on(tmp_path):
    snapshot = build(tmp_path / "from", StoreConfig())
    path = tmp_path / "from" / snapshot.shards[0].file
    data = bytearray(path.read_bytes())
    data[snapshot.open(snapshot.shards[0]).index.image.start[5] + 7] ^= 1
    path.write_bytes(data)
    for write in (
        lambda: convert(tmp_path / "from", tmp_path / "to", StoreConfig(format="parquet")),
        lambda: to_webdataset(tmp_path / "from", tmp_path / "to"),
    ):
        with pytest.raises(Damaged, match=r"shards/a.h5: row 5: image does not fit"):
            write()
    assert [p for p in (tmp_path / "to").rglob("*") if p.is_file()] == []


def groups(path):
    """Members of a tar by key, in order, as WebDataset groups them."""
    found = {}
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            found.setdefault(key, {})[suffix] = tar.extractfile(member).read()
    return found


@pytest.mark.parametrize(("config", "suffix"), [(StoreConfig(), "png"), (StoreConfig(format="parquet"), "jpg")])
def test_webdataset_holds_the_same_rows(tmp_path, config, suffix):
    snapshot = build(tmp_path / "from", config)
    content = to_webdataset(tmp_path / "from", tmp_path / "tars")
    assert [tar["rows"] for tar in content["tars"]] == [100, 8]
    for shard, tar in zip(snapshot.shards, content["tars"], strict=True):
        path = tmp_path / "tars" / tar["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == tar["sha256"]
        reader, found = snapshot.open(shard), groups(path)
        images, depths = reader.read(range(len(reader)))
        masks, table = reader.read_masks(range(len(reader))), reader.columns().to_pylist()
        assert list(found) == [row["sample_id"] for row in table]
        for i, (row, group) in enumerate(zip(table, found.values(), strict=True)):
            picture = np.asarray(Image.open(io.BytesIO(group[suffix])))
            assert np.abs(picture.astype(int) - images[i]).max() <= (0 if suffix == "png" else 2)  # Pillow's own IDCT
            assert ("depth.png" in group) == (row["label"] == 0)
            if "depth.png" in group:
                np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(group["depth.png"]))), depths[i])
            if "mask.png" in group:
                np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(group["mask.png"]))), masks[i])
            assert int(group["cls"]) == row["label"]
            values = json.loads(group["json"])
            assert values.keys() == row.keys()
            assert values["path"] == row["path"]
            assert values["crop"] == row["crop"]
            assert (values["confidence"] is None) == np.isnan(row["confidence"])


def test_webdataset_is_deterministic_and_never_written_over(tmp_path):
    build(tmp_path / "from", StoreConfig(image="jpeg"))
    for name in ("a", "b"):
        to_webdataset(tmp_path / "from", tmp_path / name)
    files = {p.name for p in (tmp_path / "a").iterdir()}
    assert files == {"00000.tar", "00001.tar", "dataset.json"}
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    with pytest.raises(StoreError, match="a dataset is there already"):
        to_webdataset(tmp_path / "from", tmp_path / "a")


def test_the_webdataset_library_reads_it(tmp_path):
    snapshot = build(tmp_path / "from", StoreConfig(format="parquet"))
    to_webdataset(tmp_path / "from", tmp_path / "tars")
    urls = str(tmp_path / "tars" / "{00000..00001}.tar")
    rows = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"))
    assert [row["__key__"] for row in rows] == snapshot.columns(["sample_id"]).column(0).to_pylist()
    assert [row["cls"] for row in rows] == snapshot.columns(["label"]).column(0).to_pylist()
    assert {row["jpg"].shape for row in rows} == {(24, 24, 3)}
    assert rows[0]["json"]["dataset"] == "demo"


@pytest.mark.parametrize("to", ["parquet", "hdf5", "webdataset"])
def test_the_command(tmp_path, to):
    build(tmp_path / "from", StoreConfig())
    done = CliRunner().invoke(app, ["convert", str(tmp_path / "from"), "--to", to, "-o", str(tmp_path / "to")])
    assert done.exit_code == 0, done.output
    assert "108 rows (54 live, 54 spoof)" in done.output
