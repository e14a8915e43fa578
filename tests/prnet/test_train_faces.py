"""Pools of faces on disk, and what augmentation does to them."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from prnet.errors import WeightsError
from prnet.train.augment import AugmentConfig, crop_batch
from prnet.train.faces import Face, Faces, shuffled, window_affine, window_side, write_faces
from tests.fixtures.faces import mesh, rendered

SIZE = 64


def test_a_pool_gives_back_what_was_written(tmp_path: Path) -> None:
    faces = rendered()
    assert write_faces(tmp_path / "a", faces[:3], {}) == 3
    assert write_faces(tmp_path / "b", faces[3:], {}) == 1
    pool = Faces([tmp_path / "a", tmp_path / "b"])
    assert len(pool) == 4
    for index, face in enumerate(faces):
        assert np.array_equal(pool[index].window, face.window)
        assert np.array_equal(pool[index].vertices, face.vertices)
        assert pool[index].subject == face.subject
        assert pool[index].yaw == pytest.approx(face.yaw, abs=1e-3)


def test_an_interrupted_pool_has_no_name(tmp_path: Path) -> None:
    def breaks():
        yield rendered()[0]
        raise RuntimeError("the power went out")

    with pytest.raises(RuntimeError):
        write_faces(tmp_path / "pool", breaks(), {})
    with pytest.raises(WeightsError, match=r"no faces\.json"):
        Faces([tmp_path / "pool"])
    assert write_faces(tmp_path / "pool", rendered(), {}) == 4, "and the next run writes it"
    with pytest.raises(WeightsError, match="not one usable face"):
        write_faces(tmp_path / "empty", [], {})


def test_an_endless_stream_can_be_entered_anywhere(tmp_path: Path) -> None:
    write_faces(tmp_path / "pool", rendered(), {})
    pool = Faces([tmp_path / "pool"])
    yaws = [face.yaw for face in islice(shuffled(pool, np.arange(4), 7, 0), 20)]
    assert [face.yaw for face in islice(shuffled(pool, np.arange(4), 7, 9), 11)] == yaws[9:]
    assert all(sorted(yaws[i : i + 4]) == sorted(yaws[:4]) for i in range(0, 20, 4)), "every face once a round"


def dotted(vertices: np.ndarray) -> Face:
    """A grey window with a white blot on the nose tip and a black one on the image-left eye."""
    side = window_side(SIZE)
    window = np.full((side, side, 3), 128, np.uint8)
    for index, value in ((4, 255), (33, 0)):
        x, y = np.rint(vertices[index, :2]).astype(int)
        window[y - 2 : y + 3, x - 2 : x + 3] = value
    return Face(window, vertices, "dots", "rendered", 0.0)


@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_picture_and_mesh_move_together(mirror: float) -> None:
    face = dotted(next(face for face in rendered() if abs(face.yaw) < 50).vertices)
    config = AugmentConfig(mirror=mirror, occluders=0, colour=(1, 1))
    turned = mesh().mirror()
    for seed in range(12):
        crops, meshes = crop_batch([face], SIZE, turned, [np.random.default_rng(seed)], config)
        picture, vertices = crops[0].mean(0).numpy(), meshes[0].numpy()
        assert vertices[:, 2].min() == pytest.approx(0)
        across, down = vertices[263, :2] - vertices[33, :2], vertices[152, :2] - vertices[10, :2]
        assert across[0] * down[1] - across[1] * down[0] > 0, "a mirrored face is a face: its left eye is on the left"
        for index, bright in ((4, 1.0), (turned[33] if mirror else 33, 0.0)):
            x, y = np.rint(vertices[index, :2]).astype(int)
            if 2 <= x < SIZE - 2 and 2 <= y < SIZE - 2:
                assert abs(picture[y, x] - bright) < 0.2, "the blot is where the mesh says"


def test_depth_grows_with_the_face_and_augmentation_repeats() -> None:
    face = rendered()[0]
    grown = AugmentConfig(rotation=0, translation=0, scale=(1.2, 1.2), mirror=0)
    (plain_crops, plain), (crops, meshes) = (
        crop_batch([face], SIZE, mesh().mirror()),
        crop_batch([face], SIZE, mesh().mirror(), [np.random.default_rng(5)], grown),
    )
    assert float(meshes[..., 2].max() / plain[..., 2].max()) == pytest.approx(1.2, rel=1e-4)
    again, _ = crop_batch([face], SIZE, mesh().mirror(), [np.random.default_rng(5)], grown)
    assert np.array_equal(crops, again)
    assert 0 <= float(crops.min()) <= float(crops.max()) <= 1
    assert not np.array_equal(crops, plain_crops)


def test_a_windows_face_sits_where_a_crops_face_does() -> None:
    vertices = rendered()[0].vertices
    assert np.allclose(window_affine(vertices, SIZE), [[1, 0, 0], [0, 1, 0]], atol=0.02)
