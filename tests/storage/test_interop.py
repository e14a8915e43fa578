"""Tools that know nothing of pseudodepth open a Parquet shard as it is."""

import io
import json

import duckdb
import numpy as np
import polars
import pyarrow.parquet as pq
import pytest
from PIL import Image

from storage.config import StoreConfig
from storage.schema import COLUMNS
from storage.writer import shard_writer
from tests.fixtures.samples import make_samples

SAMPLES = make_samples(70)  # more than a row group


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    with shard_writer(root, "s", StoreConfig(format="parquet", image="png"), {}) as writer:
        writer.write(SAMPLES)
    return str(root / writer.info.file)


def assert_picture(data, expected):
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), expected)


def test_duckdb_queries_it(shard):
    with duckdb.connect() as db:
        counts = db.execute(
            f"SELECT label, count(*), count(depth) FROM '{shard}' GROUP BY label ORDER BY label"
        ).fetchall()
        assert counts == [(0, 36, 36), (1, 34, 0)]  # a spoof's depth is null
        (data, path), depth = db.execute(
            f"SELECT (image.bytes, image.path), depth FROM '{shard}' LIMIT 1 OFFSET 65"
        ).fetchone()
        assert_picture(data, SAMPLES[65].image)
        assert path.endswith(".png")
        assert (depth is None) == (SAMPLES[65].depth is None)
        rows = db.execute(f"SELECT attack, box[1] FROM '{shard}' WHERE path LIKE '%Ünï 3.png' ORDER BY view").fetchall()
        assert rows == [(SAMPLES[i].columns["attack"], pytest.approx(SAMPLES[i].columns["box"][0])) for i in (6, 7)]


def test_polars_scans_it(shard):
    live = polars.scan_parquet(shard).filter(polars.col("label") == 0).select("path", "depth", "crop").collect()
    truth = [sample for sample in SAMPLES if sample.depth is not None]
    assert live["path"].to_list() == [sample.columns["path"] for sample in truth]
    assert_picture(live["depth"][3]["bytes"], truth[3].depth)
    assert live["crop"][5].to_list() == truth[5].columns["crop"]


def test_datasets_is_told_how_to_show_every_column(shard):
    # what `load_dataset("parquet", data_files=...)` goes by; checked by hand with datasets 5.0: docs/store.md
    schema = pq.read_schema(shard)
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names
    assert [name for name, kind in features.items() if kind == {"_type": "Image"}] == ["image", "depth", "mask"]
    assert all(str(schema.field(name).type) == "struct<bytes: binary, path: string>" for name in ("image", "depth"))
    assert features["label"] == {"dtype": "int8", "_type": "Value"}
    assert features["crop"] == {"feature": {"dtype": "float64", "_type": "Value"}, "length": 6, "_type": "Sequence"}
    assert set(COLUMNS.names) < features.keys()
