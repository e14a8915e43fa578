"""Our PNG: any reader opens it, it is read back exactly, and other people's PNGs are read too."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from storage.errors import Damaged
from storage.png import _decode_ours, decode, encode
from storage.row_difference import accumulate, difference
from tests.fixtures.samples import depth_map, picture

RNG = np.random.default_rng(0)
ARRAYS = {
    "noise": RNG.integers(0, 256, (13, 7), np.uint8),
    "one row": RNG.integers(0, 256, (1, 9), np.uint8),
    "two rows, deep": RNG.integers(0, 65536, (2, 5), np.uint16),
    "deep face": depth_map(RNG, 33, np.uint16),
    "face": depth_map(RNG, 64),
    "mask, width no multiple of 8": depth_map(RNG, 37) > 0,
    "picture": picture(RNG, 48),
    "mirrored, so not contiguous": picture(RNG, 48)[:, ::-1],
}


@pytest.mark.parametrize("name", ARRAYS)
def test_pixels_survive_and_pillow_sees_the_same(name):
    pixels = ARRAYS[name]
    data = encode(pixels)
    out = np.empty(pixels.shape, pixels.dtype)
    assert _decode_ours(data, out)  # the fast way, not Pillow's
    np.testing.assert_array_equal(out, pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)


@pytest.mark.parametrize("name", ["face", "deep face", "picture", "mask, width no multiple of 8"])
def test_a_png_that_pillow_wrote_is_read(name):
    pixels, file = ARRAYS[name], io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    out = np.empty_like(pixels)
    decode(file.getvalue(), out)
    np.testing.assert_array_equal(out, pixels)


def test_out_may_be_a_part_of_a_larger_array():
    batch = np.zeros((3, 64, 64), np.uint8)
    decode(encode(ARRAYS["face"]), batch[1])
    np.testing.assert_array_equal(batch[1], ARRAYS["face"])
    assert not batch[[0, 2]].any()


def test_another_type_or_size_than_expected_is_damage():
    data = encode(ARRAYS["face"])
    for shape, dtype in (((64, 65), np.uint8), ((64, 64), np.uint16), ((64, 64, 3), np.uint8), ((64, 64), bool)):
        with pytest.raises(Damaged, match="expected"):
            decode(data, np.empty(shape, dtype))


def test_a_flipped_byte_is_damage_or_the_same_pixels():
    good, truth = encode(ARRAYS["face"]), ARRAYS["face"]
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << int(RNG.integers(8))
        out = np.empty_like(truth)
        try:
            decode(bytes(bad), out)
        except Damaged:
            continue
        np.testing.assert_array_equal(out, truth, err_msg=f"byte {place}")


def test_a_bomb_does_not_go_off():
    face = ARRAYS["face"]
    bomb = encode(np.zeros((5_000, 5_000), np.uint8))  # 25 MB of zeros in a few KB
    header = encode(face)[:33]
    with pytest.raises(Damaged):
        decode(bomb, np.empty_like(face))
    assert not _decode_ours(header + bomb[33:], np.empty_like(face))  # stops after the 4 KB that it expects
    with pytest.raises(Damaged):
        decode(header + struct.pack(">I", 0xFFFFFFFF) + b"IDAT", np.empty_like(face))


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 7, 8, 9, 224])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_differences_add_up_again(height, dtype):
    rows = RNG.integers(0, np.iinfo(dtype).max, (height, 5), dtype, endpoint=True)
    delta, back = np.empty_like(rows), np.empty_like(rows)
    difference(rows, delta)
    accumulate(delta, back)
    np.testing.assert_array_equal(back, rows)
    np.testing.assert_array_equal(back, np.cumsum(delta, axis=0, dtype=dtype))
