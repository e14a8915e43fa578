"""LZ4 blocks."""

import numpy as np
import pytest

from storage.errors import Damaged
from storage.lz4_codec import decode, encode
from tests.fixtures.samples import depth_map


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (33, 65)])
def test_any_map_survives(dtype, shape):
    depth = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    out = np.empty_like(depth)
    decode(encode(depth[:, ::-1]), out)
    np.testing.assert_array_equal(out, depth[:, ::-1])


def test_a_face_takes_less_than_two_fifths_of_its_bytes():
    depth = depth_map(np.random.default_rng(0), 224)
    assert len(encode(depth)) < depth.nbytes * 2 / 5


def test_what_does_not_unpack_into_the_map_is_refused():
    depth = depth_map(np.random.default_rng(0), 64)
    packed = encode(depth)
    for bad in (b"junk", packed[: len(packed) // 2], b"\xff" * 40):
        with pytest.raises(Damaged, match="not of"):
            decode(bad, np.empty_like(depth))
    with pytest.raises(Damaged, match="not of"):
        decode(packed, np.empty((64, 63), np.uint8))
