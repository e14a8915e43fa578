"""Duplicates and leaks: found where they were planted, by hashes that a new encoding does not move."""

import io

import numpy as np
import pytest
from PIL import Image

from storage.config import StoreConfig
from storage.duplicates import MAX_BITS, duplicates, hash_images, near_pairs
from storage.schema import Sample
from storage.snapshot import Store
from storage.writer import shard_writer
from tests.fixtures.photos import ASTRONAUT, GRACE_HOPPER, photo
from tests.fixtures.samples import make_samples


def crops(n, size=64):
    """Different parts of two photographs: (n, size, size, 3)."""
    rng, images = np.random.default_rng(1), [photo(ASTRONAUT), photo(GRACE_HOPPER)]
    found = []
    for k in range(n):
        image = images[k % 2]
        side = int(rng.integers(120, 300))
        y, x = (int(rng.integers(0, length - side)) for length in image.shape[:2])
        found.append(np.asarray(Image.fromarray(image[y : y + side, x : x + side]).resize((size, size))))
    return np.stack(found)


def as_jpeg(image, quality=60):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


@pytest.fixture
def store(tmp_path):
    """Two splits of 20 media; test's medium 3 is train's 5 as another file, its 4 is train's 6 byte for byte."""
    images = crops(40)
    images[23], images[24] = as_jpeg(images[5]), images[6]
    infos = []
    for name, first, split in (("a", 0, "train"), ("b", 20, "test")):
        samples = [s for s in make_samples(80, size=64) if s.columns["view"] == 0][first : first + 20]
        rows = []
        for k, sample in enumerate(samples):
            subject = "demo/both" if k == 9 else f"demo/{first + k}"
            row = {**sample.columns, "split": split, "subject": subject}
            rows.append(Sample(images[first + k], sample.depth, row))
        with shard_writer(tmp_path, name, StoreConfig(), {}) as writer:
            writer.write(rows)
            listed = [
                {name: row.columns.get(name) for name in ("dataset", "path", "split", "subject", "label", "attack")}
                | {"size": 1, "mtime_ns": 1, "sha256": f"{6 if first + k == 24 else first + k:064x}"}
                for k, row in enumerate(rows)
            ]
            writer.media = media_table(listed)
        infos.append(writer.info)
    return Store(tmp_path).commit(infos, parent=None, config={}, lineage={})


def media_table(rows):
    import pyarrow as pa

    from storage.media_list import MEDIA_COLUMNS

    return pa.Table.from_pylist(rows, schema=MEDIA_COLUMNS.remove(MEDIA_COLUMNS.get_field_index("samples")))


def test_planted_duplicates_and_leaks_are_found_and_nothing_else(store):
    media = store.media()["path"].to_pylist()
    report = duplicates(store)
    assert [[row["path"] for row in group.media] for group in report.exact] == [sorted([media[6], media[24]])]
    assert [sorted(row["path"] for row in group.media) for group in report.near] == [sorted([media[5], media[23]])]
    assert all(group.crosses for group in [*report.exact, *report.near])
    assert report.subjects == {"demo/both": ["test", "train"]}
    assert (report.media, report.compared, report.unhashed, report.leaks) == (40, 40, 0, 3)


def test_without_pictures_only_hashes_and_subjects_are_compared(store):
    report = duplicates(store, near=False)
    assert (report.compared, report.near, len(report.exact), len(report.subjects)) == (0, [], 1, 1)


def test_a_hash_survives_encoding_brightness_and_size_and_tells_pictures_apart():
    images = crops(60)
    hashes = hash_images(images)

    def apart(others):
        return np.bitwise_count(hashes ^ hash_images(others)).sum(-1)

    assert apart(np.stack([as_jpeg(image, 75) for image in images])).max() <= MAX_BITS
    assert np.median(apart(np.clip(images.astype(int) + 20, 0, 255).astype(np.uint8))) <= MAX_BITS
    larger = np.stack([np.asarray(Image.fromarray(image).resize((128, 128))) for image in images])
    assert np.median(apart(larger)) <= 10
    between = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(-1)[~np.eye(60, dtype=bool)]
    assert between.min() > 2 * MAX_BITS


@pytest.mark.parametrize("bits", [0, 6, MAX_BITS])
def test_pairs_are_those_that_comparing_everything_finds(bits):
    rng = np.random.default_rng(bits)
    hashes = rng.integers(0, 1 << 63, (400, 4), dtype=np.uint64)
    for k in range(100):  # planted, at every distance from 0 to 19 bits
        flips = rng.choice(256, k % 20, replace=False)
        copy = np.unpackbits(hashes[k].view(np.uint8))
        copy[flips] ^= 1
        hashes[200 + k] = np.packbits(copy).view(np.uint64)
    group = rng.integers(0, 3, 400)
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(-1)
    expected = np.argwhere((apart <= bits) & (group[:, None] != group[None]))
    expected = {tuple(sorted(pair)) for pair in expected.tolist()}
    assert {tuple(pair) for pair in near_pairs(hashes, group, bits).tolist()} == expected
    assert len(expected) > (2 if bits == 0 else 10)


def test_too_many_bits_are_refused(store):
    with pytest.raises(ValueError, match="0 to 15"):
        duplicates(store, bits=16)
