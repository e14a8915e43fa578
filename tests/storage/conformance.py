"""What every shard format must do; one subclass a variant in test_formats.py."""

import os

import numpy as np
import pyarrow.compute as pc
import pytest

from storage.config import StoreConfig
from storage.errors import BadSample, Damaged, StoreError
from storage.reader import open_shard
from storage.schema import COLUMNS, Sample
from storage.writer import existing_shard, shard_writer
from tests.fixtures.samples import make_samples, reject_row


def files_of(root):
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


class ShardContract:
    config: StoreConfig
    max_error = 0  # grey levels, of the image codec

    def write(self, root, samples, name="s", rejects=0, meta=None, batch=16):
        with shard_writer(root, name, self.config, meta or {}) as writer:
            for start in range(0, len(samples), batch):
                writer.write(samples[start : start + batch])
            for i in range(rejects):
                writer.reject(reject_row(i))
        return writer.info

    def test_rows_come_back_as_they_were_written(self, tmp_path):
        samples = make_samples(150)  # more than two row groups
        info = self.write(tmp_path, samples)
        reader = open_shard(tmp_path / info.file, expected_bytes=info.bytes)
        images, depths = reader.read(np.arange(150))
        for i, sample in enumerate(samples):
            assert np.abs(images[i].astype(int) - sample.image).max() <= self.max_error
            np.testing.assert_array_equal(depths[i], 0 if sample.depth is None else sample.depth)
            expected = sample.mask if sample.depth is None else sample.depth > 0
            np.testing.assert_array_equal(reader.read_masks([i])[0], False if expected is None else expected)
        assert (info.rows, info.live, info.spoof, len(reader)) == (150, 76, 74, 150)

    def test_columns_come_back_as_they_were_written(self, tmp_path):
        samples = make_samples(70)
        table = open_shard(tmp_path / self.write(tmp_path, samples).file).columns()
        assert table.schema.equals(COLUMNS)
        for row, sample in zip(table.to_pylist(), samples, strict=True):
            for name, value in sample.columns.items():
                if isinstance(value, float):
                    np.testing.assert_array_equal(np.float32(value), np.float32(row[name]))  # NaN is NaN
                else:
                    assert row[name] == value, name
        assert pc.count_distinct(table.column("sample_id")).as_py() == 70

    def test_rows_are_read_in_any_order_into_buffers_of_the_caller(self, tmp_path):
        reader = open_shard(tmp_path / self.write(tmp_path, make_samples(80)).file)
        order = np.random.default_rng(0).permutation(80)
        everything = reader.read(range(80))
        images, depths = np.full((80, 32, 32, 3), 9, np.uint8), np.full((80, 32, 32), 9, np.uint8)
        got = reader.read(order, images, depths)
        assert got[0] is images
        assert got[1] is depths
        np.testing.assert_array_equal(images, everything[0][order])
        np.testing.assert_array_equal(depths, everything[1][order])

    def test_rows_are_read_to_the_places_of_the_caller_and_nowhere_else(self, tmp_path):
        reader = open_shard(tmp_path / self.write(tmp_path, make_samples(10)).file)
        everything = reader.read(range(10))
        images, depths = np.full((5, 32, 32, 3), 9, np.uint8), np.full((5, 32, 32), 9, np.uint8)
        # a spoof and a live row, the latter counted from the end
        reader.read([7, -10], images, depths, places=[3, 0])
        for place, row in ((3, 7), (0, 0)):
            np.testing.assert_array_equal(images[place], everything[0][row])
            np.testing.assert_array_equal(depths[place], everything[1][row])
        assert (images[[1, 2, 4]] == 9).all()
        assert (depths[[1, 2, 4]] == 9).all()

    def test_a_caller_may_use_its_arrays_again_for_the_next_sample(self, tmp_path):
        samples, image = make_samples(70), np.empty((32, 32, 3), np.uint8)

        def one_by_one():
            for sample in samples:
                image[...] = sample.image
                yield Sample(image, sample.depth, sample.columns, sample.mask)

        with shard_writer(tmp_path / "a", "s", self.config, {}) as writer:
            writer.write(one_by_one())
        assert writer.info.sha256 == self.write(tmp_path / "b", samples).sha256

    def test_some_columns_can_be_asked_for_and_unknown_ones_are_refused(self, tmp_path):
        reader = open_shard(tmp_path / self.write(tmp_path, make_samples(4)).file)
        assert reader.columns(["label", "path"]).column_names == ["label", "path"]
        with pytest.raises(StoreError, match="'colour'"):
            reader.columns(["colour"])

    def test_a_row_that_is_not_there_raises_index_error(self, tmp_path):
        reader = open_shard(tmp_path / self.write(tmp_path, make_samples(4)).file)
        with pytest.raises(IndexError):
            reader.read([4])

    def test_sixteen_bit_depth_is_lossless(self, tmp_path):
        samples = make_samples(6, depth_dtype=np.uint16)
        _, depths = open_shard(tmp_path / self.write(tmp_path, samples).file).read(range(6))
        assert depths.dtype == np.uint16
        np.testing.assert_array_equal(depths[0], samples[0].depth)
        assert depths.max() == 65535

    def test_a_spoof_costs_no_depth_bytes(self, tmp_path):
        reader = open_shard(tmp_path / self.write(tmp_path, make_samples(8)).file)
        spoof = reader.columns(["label"]).column("label").to_numpy() == 1
        assert (reader.index.depth.nbytes[spoof] == 0).all()
        assert (reader.index.depth.nbytes[~spoof] > 0).all()

    def test_a_spoof_may_hand_in_a_map_of_zeros(self, tmp_path):
        spoof = make_samples(4)[2]
        zeros = Sample(spoof.image, np.zeros((32, 32), np.uint8), spoof.columns)
        assert self.write(tmp_path / "a", [zeros]).sha256 == self.write(tmp_path / "b", [spoof]).sha256

    def test_equal_samples_give_equal_bytes_whatever_the_batches(self, tmp_path):
        infos = [self.write(tmp_path / str(b), make_samples(70), rejects=2, batch=b) for b in (1, 7, 64, 70)]
        assert len({(info.sha256, info.rejects_sha256) for info in infos}) == 1

    def test_an_exception_in_mid_write_leaves_nothing(self, tmp_path):
        def fail(after):
            with shard_writer(tmp_path, "s", self.config, {}) as writer:
                writer.reject(reject_row())
                writer.write(make_samples(after))
                raise KeyboardInterrupt

        for after in (0, 1, 130):
            with pytest.raises(KeyboardInterrupt):
                fail(after)
            assert files_of(tmp_path) == []
        assert existing_shard(tmp_path, "s") is None

    def test_a_writer_has_no_info_before_it_committed(self, tmp_path):
        with shard_writer(tmp_path, "s", self.config, {}) as writer:
            writer.write(make_samples(1))
            with pytest.raises(StoreError, match="not committed"):
                _ = writer.info

    def test_a_shard_of_rejects_only_is_a_shard(self, tmp_path):
        info = self.write(tmp_path, [], rejects=3)
        assert (info.rows, info.rejects) == (0, 3)
        reader = open_shard(tmp_path / info.file)
        assert len(reader) == 0
        assert len(reader.columns()) == 0
        assert reader.columns().schema.equals(COLUMNS)
        assert reader.read([])[0].shape[0] == 0
        reader.check()

    def test_an_all_spoof_shard_reads_zeros(self, tmp_path):
        spoofs = [s for s in make_samples(12) if s.depth is None]
        reader = open_shard(tmp_path / self.write(tmp_path, spoofs).file)
        assert not reader.read(range(len(spoofs)))[1].any()
        reader.check()

    def test_an_existing_shard_is_found_with_equal_info(self, tmp_path):
        info = self.write(tmp_path, make_samples(8), rejects=1, meta={"plan": [1, 2.5, "ü"]})
        assert existing_shard(tmp_path, "s") == info
        assert existing_shard(f"file://{tmp_path}", "s") == info
        assert existing_shard(tmp_path, "other") is None

    @pytest.mark.parametrize("which", ["file", "rejects_file"])
    def test_a_damaged_shard_does_not_exist_and_writing_again_replaces_it(self, tmp_path, which):
        info = self.write(tmp_path, make_samples(8), rejects=1)
        path = tmp_path / getattr(info, which)
        path.write_bytes(path.read_bytes()[:-7])
        assert existing_shard(tmp_path, "s") is None
        assert self.write(tmp_path, make_samples(8), rejects=1) == info
        assert existing_shard(tmp_path, "s") == info

    def test_writing_the_same_shard_twice_keeps_the_first_file(self, tmp_path):
        info = self.write(tmp_path, make_samples(8))
        inode = (tmp_path / info.file).stat().st_ino
        assert self.write(tmp_path, make_samples(8)) == info
        assert (tmp_path / info.file).stat().st_ino == inode

    def test_a_complete_shard_is_never_overwritten_with_something_else(self, tmp_path):
        info = self.write(tmp_path, make_samples(8))
        with pytest.raises(StoreError, match="something else"):
            self.write(tmp_path, make_samples(7))
        assert existing_shard(tmp_path, "s") == info

    def test_two_writers_of_one_shard_both_succeed_with_the_same_bytes(self, tmp_path):
        with shard_writer(tmp_path, "s", self.config, {}) as a, shard_writer(tmp_path, "s", self.config, {}) as b:
            a.write(make_samples(70))
            b.write(make_samples(70))
        assert a.info == b.info
        assert set(files_of(tmp_path)) == {a.info.file, "shards/s.json", "media/s.parquet"}

    def test_no_flipped_byte_reads_as_other_pixels_or_labels(self, tmp_path):
        info = self.write(tmp_path, make_samples(10), meta={"k": "v"})
        path = tmp_path / info.file
        good, reader = path.read_bytes(), open_shard(path)
        truth, labels, masks = reader.read(range(10)), reader.columns(), reader.read_masks(range(10))
        named, rng = [], np.random.default_rng(5)
        places = [*range(0, 64), *range(info.bytes - 64, info.bytes), *rng.integers(0, info.bytes, 250)]
        for place in places:
            bad = bytearray(good)
            bad[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(bad)
            try:
                reader = open_shard(path)
                images, depths = reader.read(range(10))
                faces = reader.read_masks(range(10))
                table = reader.columns()
            except StoreError as error:
                named.append(str(path) in str(error))
                continue
            np.testing.assert_array_equal(images, truth[0], err_msg=f"byte {place}")
            np.testing.assert_array_equal(depths, truth[1], err_msg=f"byte {place}")
            np.testing.assert_array_equal(faces, masks, err_msg=f"byte {place}")
            assert table.drop_columns(["confidence"]).equals(labels.drop_columns(["confidence"])), f"byte {place}"
        assert len(named) > len(places) / 4
        assert all(named)

    def test_a_cut_file_is_refused_before_it_is_mapped(self, tmp_path):
        info = self.write(tmp_path, make_samples(10))
        path = tmp_path / info.file
        data = path.read_bytes()
        for length in (0, 1, 100, info.bytes // 2, info.bytes - 1):
            path.write_bytes(data[:length])
            with pytest.raises(Damaged, match=r"s\.(h5|parquet)"):
                open_shard(path, expected_bytes=info.bytes)
            with pytest.raises(Damaged, match=r"s\.(h5|parquet)"):
                open_shard(path)

    def test_an_unreadable_folder_is_named(self, tmp_path):
        (tmp_path / "shards").write_text("a file where a folder should be")
        with pytest.raises(StoreError, match="shards: this folder cannot be made"):
            self.write(tmp_path, make_samples(1))
        assert os.listdir(tmp_path) == ["shards"]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"depth": None}, "no depth at all"),  # live without a map
            ({"mask": np.ones((32, 32), bool)}, "of a spoof only"),  # a live sample's mask is its depth
            ({"mask": np.ones((32, 32), np.uint8)}, "mask is uint8"),
            ({"depth": np.zeros((32, 32), np.uint8)}, "no depth at all"),  # live with an empty map
            ({"label": 1, "attack": "print"}, "spoof with depth"),
            ({"label": 2}, "label 2"),
            ({"attack": "print"}, "attack 'print'"),  # live with an attack
            ({"image": np.zeros((32, 32), np.uint8)}, "expected uint8"),  # grey
            ({"image": np.zeros((32, 32, 3), np.float32)}, "expected uint8"),
            ({"depth": np.ones((16, 16), np.uint8)}, r"expected uint8 or uint16 \(32, 32\)"),
            ({"depth": np.ones((32, 32), np.float32)}, "float32"),
            ({"sample_id": "0123456789abcdef"}, "sample_id"),
            ({"subject": None}, "missing columns .*subject"),
            ({"colour": 1}, "unknown columns .*colour"),
            ({"frame": 1 << 40}, "does not fit"),
            ({"box": [1.0, 2.0]}, "does not fit"),
            ({"session": "a\0"}, "NUL"),
            ({"session": "\udc80"}, "does not fit"),  # an undecodable byte of a file name
        ],
    )
    def test_a_row_that_breaks_the_schema_is_refused_by_name(self, tmp_path, change, message):
        live = make_samples(1)[0]
        pixels = {"image": live.image, "depth": live.depth, "mask": live.mask}
        pixels.update({k: v for k, v in change.items() if k in pixels})
        bad = Sample(**pixels, columns={**live.columns, **{k: v for k, v in change.items() if k not in pixels}})
        with pytest.raises(BadSample, match=message) as caught:
            self.write(tmp_path, [bad])
        assert "0000" in str(caught.value)  # the medium
        assert files_of(tmp_path) == []

    @pytest.mark.parametrize("name", ["dataset", "path", "frame", "view"])
    def test_a_row_without_a_part_of_its_name_is_refused(self, tmp_path, name):
        sample = make_samples(1)[0]
        rest = {key: value for key, value in sample.columns.items() if key != name}
        with pytest.raises(BadSample, match=rf"missing columns \['{name}'\]"):
            self.write(tmp_path, [Sample(sample.image, sample.depth, rest)])
        assert files_of(tmp_path) == []

    def test_one_sample_twice_or_of_another_size_is_refused(self, tmp_path):
        sample, other = make_samples(1)[0], make_samples(2, size=48)[1]
        with pytest.raises(BadSample, match="twice"):
            self.write(tmp_path, [sample, sample])
        with pytest.raises(BadSample, match="one size"):
            self.write(tmp_path, [sample, other])

    def test_a_reject_that_breaks_the_schema_is_refused(self, tmp_path):
        with shard_writer(tmp_path, "s", self.config, {}) as writer, pytest.raises(BadSample, match="reason"):
            writer.reject({k: v for k, v in reject_row().items() if k != "reason"})
