"""A shard copied without some of its media is the shard that building the others would have given."""

import pytest

from storage.config import StoreConfig
from storage.errors import Damaged
from storage.media_list import media_keys
from storage.reader import open_shard
from storage.rewrite import copy_media
from storage.schema import Sample
from storage.snapshot import Store
from storage.verify import verify
from storage.writer import shard_writer
from tests.fixtures.samples import make_samples, reject_row

META = {"dataset": "demo", "split": "train"}
CONFIGS = [
    StoreConfig(),
    StoreConfig(image="jpeg", jpeg_quality=90),
    StoreConfig(image="png", depth="raw"),
    StoreConfig(depth="packed"),
    StoreConfig(format="parquet"),
    StoreConfig(format="parquet", image="raw"),
]


def build(root, name, config, samples, rejects):
    with shard_writer(root, name, config, META) as writer:
        writer.write(samples)
        for row in rejects:
            writer.reject(row)
    return writer.info


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.format}-{c.image_codec}-{c.depth_codec}")
def test_a_copy_has_the_bytes_of_a_fresh_build_without_the_media_that_have_gone(tmp_path, config):
    samples, rejects = make_samples(140), [reject_row(i) for i in range(3)]
    origin = build(tmp_path / "a", "origin", config, samples, rejects)
    gone = {samples[4].columns["path"], samples[90].columns["path"], rejects[1]["path"]}
    stay = [s for s in samples if s.columns["path"] not in gone]
    touched = stay[0].columns["path"]
    fresh = build(
        tmp_path / "b",
        "fresh",
        config,
        [Sample(s.image, s.depth, {**s.columns, **later(s, touched)}, s.mask) for s in stay],
        [row for row in rejects if row["path"] not in gone],
    )
    media = Store(tmp_path / "b").commit([fresh], parent=None, config={}, lineage={}).media_of(fresh)
    copy = copy_media(tmp_path / "a", origin, "fresh", media)
    assert copy == fresh  # counts and every checksum
    open_shard(tmp_path / "a" / copy.file).check()
    assert copy_media(tmp_path / "a", origin, "fresh", media) == copy


def later(sample, touched):
    return {"source_mtime_ns": 5} if sample.columns["path"] == touched else {}


def test_a_damaged_origin_is_not_copied_and_leaves_nothing(tmp_path):
    origin = build(tmp_path, "origin", StoreConfig(), make_samples(8), [reject_row()])
    snapshot = Store(tmp_path).commit([origin], parent=None, config={}, lineage={})
    media = snapshot.media().slice(0, 2)
    file = tmp_path / origin.file
    data = bytearray(file.read_bytes())
    start = open_shard(file).index.image.start[1]
    data[start] ^= 1
    file.write_bytes(data)
    with pytest.raises(Damaged, match=r"origin\.h5: row 1"):
        copy_media(tmp_path, origin, "copy", media.drop_columns(["shard"]))
    assert verify(tmp_path).orphans == []


def test_media_are_told_apart_by_dataset_and_path(tmp_path):
    samples = make_samples(2)
    others = [Sample(s.image, s.depth, {**s.columns, "dataset": "other"}) for s in samples]
    origin = build(tmp_path, "origin", StoreConfig(), samples + others, [])
    media = Store(tmp_path).commit([origin], parent=None, config={}, lineage={}).media_of(origin)
    assert len(set(media_keys(media).to_pylist())) == 2
    copy = copy_media(tmp_path, origin, "copy", media.slice(1))
    assert open_shard(tmp_path / copy.file).columns(["dataset"])["dataset"].to_pylist() == ["other", "other"]
