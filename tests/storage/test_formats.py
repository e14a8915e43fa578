"""Both formats against one contract, and against each other and plain tools."""

import io
import json

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from storage.config import StoreConfig
from storage.reader import open_shard
from storage.writer import shard_writer
from tests.fixtures.samples import make_samples
from tests.storage.conformance import ShardContract


class TestHdf5Raw(ShardContract):
    config = StoreConfig(format="hdf5")


class TestHdf5RawDepth(ShardContract):
    config = StoreConfig(format="hdf5", depth="raw")


class TestHdf5Png(ShardContract):
    config = StoreConfig(format="hdf5", image="png")


class TestHdf5Jpeg(ShardContract):
    config = StoreConfig(format="hdf5", image="jpeg")
    max_error = 12


class TestParquetJpeg(ShardContract):
    config = StoreConfig(format="parquet")
    max_error = 12


class TestParquetRaw(ShardContract):
    config = StoreConfig(format="parquet", image="raw")


class TestParquetPng(ShardContract):
    config = StoreConfig(format="parquet", image="png")


def written(root, config, samples):
    with shard_writer(root, "s", config, {}) as writer:
        writer.write(samples)
    return root / writer.info.file


@pytest.mark.parametrize("image", ["raw", "jpeg"])
def test_both_formats_give_the_same_samples(tmp_path, image):
    samples = make_samples(70)
    readers = [
        open_shard(written(tmp_path / name, StoreConfig(format=name, image=image), samples))
        for name in ("hdf5", "parquet")
    ]
    for a, b in zip(readers[0].read(range(70)), readers[1].read(range(70)), strict=True):
        np.testing.assert_array_equal(a, b)
    tables = [r.columns().drop_columns(["confidence"]) for r in readers]  # NaN never equals NaN
    assert tables[0].equals(tables[1])


def test_defaults_are_raw_in_hdf5_and_jpeg_in_parquet():
    assert (StoreConfig().image_codec, StoreConfig().depth_codec) == ("raw", "lz4")
    assert StoreConfig(format="parquet").image_codec == "jpeg"
    assert StoreConfig(image="jpeg").depth_codec == "lz4"
    with pytest.raises(ValueError, match="colour"):
        StoreConfig(colour=1)


def test_jpeg_keeps_full_colour_resolution(tmp_path):
    samples = make_samples(2)
    row = pq.read_table(written(tmp_path, StoreConfig(format="parquet"), samples)).column("image")[0].as_py()
    picture = Image.open(io.BytesIO(row["bytes"]))
    assert {tuple(layer[1:3]) for layer in picture.layer} == {(1, 1)}  # 4:4:4


@pytest.mark.parametrize("format", ["hdf5", "parquet"])
def test_halved_colour_resolution_is_allowed_warned_of_and_declared(tmp_path, format):
    with pytest.warns(UserWarning, match="colour fringes"):
        config = StoreConfig(format=format, image="jpeg", jpeg_subsampling="4:2:0")
    index = open_shard(written(tmp_path / "half", config, make_samples(2))).index
    assert (index.image_codec, index.image_subsampling) == ("jpeg", "4:2:0")
    full = open_shard(written(tmp_path / "full", StoreConfig(format=format, image="jpeg"), make_samples(2))).index
    assert full.image_subsampling == "4:4:4"
    assert index.image.nbytes.sum() < full.image.nbytes.sum()


def test_subsampling_matters_to_jpeg_only(recwarn):
    assert StoreConfig(image="raw", jpeg_subsampling="4:2:0").image_subsampling == "4:4:4"
    assert not recwarn.list


def test_h5py_alone_reads_pixels_and_columns_by_their_names(tmp_path):
    samples = make_samples(8)
    with h5py.File(written(tmp_path, StoreConfig(depth="raw"), samples)) as file:
        for i, sample in enumerate(samples):
            np.testing.assert_array_equal(file["image"][i], sample.image)
            row = file["depth_row"][i]
            assert (row == -1) == (sample.depth is None)
            if sample.depth is not None:
                np.testing.assert_array_equal(file["depth"][row], sample.depth)
            assert file["columns/label"][i] == sample.columns["label"]
            assert file["columns/path"].asstr()[i] == sample.columns["path"]
        assert b"depth_row" in file.attrs["about"]


def test_h5py_and_pillow_read_packed_jpeg_by_offset(tmp_path):
    samples = make_samples(8)
    with h5py.File(written(tmp_path, StoreConfig(image="jpeg"), samples)) as file:
        start, end = file["image_offset"][3:5]
        picture = np.asarray(Image.open(io.BytesIO(file["image"][start:end].tobytes())))
    assert np.abs(picture.astype(int) - samples[3].image).max() < 12


@pytest.mark.parametrize("image", ["raw", "png", "jpeg"])
def test_parquet_opens_with_pyarrow_and_pillow_in_the_hugging_face_layout(tmp_path, image):
    samples = make_samples(70)
    path = written(tmp_path, StoreConfig(format="parquet", image=image), samples)
    table = pq.read_table(path, page_checksum_verification=True)
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == features["depth"] == {"_type": "Image"}
    assert set(features) == set(table.column_names)
    for i, sample in enumerate(samples):
        row = table.column("image")[i].as_py()
        assert row["path"].startswith(table.column("sample_id")[i].as_py())
        picture = np.asarray(Image.open(io.BytesIO(row["bytes"])))
        assert np.abs(picture.astype(int) - sample.image).max() <= (12 if image == "jpeg" else 0)
        depth = table.column("depth")[i].as_py()
        assert (depth is None) == (sample.depth is None)
        if depth is not None:
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(depth["bytes"]))), sample.depth)


def test_parquet_pages_carry_checksums_and_pixels_lie_plain(tmp_path):
    path = written(tmp_path, StoreConfig(format="parquet"), make_samples(130))
    metadata = pq.ParquetFile(path).metadata
    assert [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)] == [64, 64, 2]
    data = bytearray(path.read_bytes())
    chunk = metadata.row_group(1).column(0)
    assert (chunk.path_in_schema, chunk.compression, chunk.has_dictionary_page) == (
        "image.bytes",
        "UNCOMPRESSED",
        False,
    )
    data[chunk.data_page_offset + chunk.total_compressed_size - 2000] ^= 1  # not in the header, which has no checksum
    path.write_bytes(data)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(path, page_checksum_verification=True)
