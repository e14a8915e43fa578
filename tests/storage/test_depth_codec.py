"""Row difference + zstd."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from storage.depth_codec import decode, encode
from storage.errors import Damaged
from tests.fixtures.samples import depth_map


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (33, 65)])
def test_any_map_survives(dtype, shape):
    depth = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    out = np.empty_like(depth)
    decode(encode(depth), out)
    np.testing.assert_array_equal(out, depth)


def test_a_view_that_is_not_contiguous_survives():
    depth = depth_map(np.random.default_rng(0), 64)[:, ::-1]
    out = np.empty(depth.shape, np.uint8)
    decode(encode(depth), out)
    np.testing.assert_array_equal(out, depth)


def test_rows_add_up_where_compiled_code_cannot_be_kept():
    code = (
        "import numpy as np\nfrom storage.row_difference import accumulate\n"
        "out = np.empty((3, 2), np.uint8)\naccumulate(np.full((3, 2), 100, np.uint8), out)\nprint(out.tolist())"
    )
    env = os.environ | {"NUMBA_CACHE_LOCATOR_CLASSES": "IPythonCacheLocator"}  # as in a container that is read-only
    output = subprocess.check_output([sys.executable, "-c", code], env=env, text=True)
    assert output.strip() == "[[100, 100], [200, 200], [44, 44]]"


def test_a_face_takes_less_than_a_fifth_of_its_bytes():
    depth = depth_map(np.random.default_rng(0), 224)
    assert len(encode(depth)) < depth.nbytes / 5


def test_what_is_no_frame_of_the_map_is_refused():
    depth = depth_map(np.random.default_rng(0), 64)
    packed = encode(depth)
    for bad in (b"", b"junk", packed[:-1], packed[: len(packed) // 2], b"\xff" + packed[1:]):
        with pytest.raises(Damaged):
            decode(bad, np.empty_like(depth))
    with pytest.raises(Damaged, match="expected"):
        decode(packed, np.empty((64, 65), np.uint8))
    with pytest.raises(Damaged, match="not of"):
        decode(packed, np.empty((64, 63), np.uint8))


def test_threads_do_not_disturb_each_other():
    maps = [depth_map(np.random.default_rng(i), 64) for i in range(8)]
    packed, wrong = [encode(m) for m in maps], []

    def work():
        out = np.empty((64, 64), np.uint8)
        for _ in range(200):
            for m, p in zip(maps, packed, strict=True):
                decode(p, out)
                if not np.array_equal(out, m):
                    wrong.append(m)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
