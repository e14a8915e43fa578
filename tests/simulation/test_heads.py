"""Rendered heads: endless, the same in any process and from any number on, with the mesh that is really shown."""

from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np

from prnet.rasterize import rasterize
from prnet.train.faces import window_side
from simulation.heads import HEADS_A_SITTING, MAX_YAW, draw_wide_pose, heads, sit
from simulation.packaged import packaged_photographs
from tasks.aligners.facemesh import canonical_face
from tests.fixtures.faces import rendered

PHOTOS = [(path, path.stem) for path in packaged_photographs()]


def test_a_stream_can_be_entered_anywhere_and_made_by_many() -> None:
    whole = list(islice(heads(PHOTOS, 64, 3), 2 * HEADS_A_SITTING))
    assert {face.subject for face in whole} == {"astronaut", "grace_hopper"}
    assert len({face.yaw for face in whole}) == len(whole)
    with ThreadPoolExecutor(2) as pool:
        rest = list(islice(heads(PHOTOS, 64, 3, start=11, run=pool.map), 2 * HEADS_A_SITTING - 11))
    for a, b in zip(whole[11:], rest, strict=True):
        assert np.array_equal(a.window, b.window)
        assert np.array_equal(a.vertices, b.vertices)
    other = next(heads(PHOTOS, 64, 4))
    assert not np.array_equal(other.window, whole[0].window)


def test_the_mesh_is_where_the_face_is() -> None:
    """Inside the mesh's outline the picture is a face's: the aligner, which never saw the mesh, finds it there."""
    from tasks.align import AlignConfig, align
    from tasks.aligners import load_aligner

    frontal = [face for face in rendered(8, 128) if abs(face.yaw) < 35]
    assert frontal
    boxes = [np.concatenate([f.vertices[:, :2].min(0), f.vertices[:, :2].max(0)]) for f in frontal]
    aligner = load_aligner(AlignConfig(aligner="facemesh"))
    found = align([f.window for f in frontal], np.stack(boxes), [None] * len(frontal), aligner)
    for face, box, guess in zip(frontal, boxes, found, strict=True):
        off = np.linalg.norm(guess.vertices[:, :2] - face.vertices[:, :2], axis=1).mean()
        assert off < 0.05 * np.sqrt((box[2] - box[0]) * (box[3] - box[1]))


def test_windows_hold_the_whole_face() -> None:
    triangles = canonical_face().triangles
    for face in rendered():
        side = window_side(64)
        assert face.window.shape == (side, side, 3)
        assert (face.vertices[:, :2] > 0).all()
        assert (face.vertices[:, :2] < side - 1).all()
        raised = face.vertices - [0, 0, face.vertices[:, 2].min() - 1]
        assert (rasterize(raised, triangles, (side, side)) > 0).mean() > 0.08


def test_heads_turn_as_far_as_the_photograph_allows() -> None:
    rng = np.random.default_rng(0)
    for own, low, high in ((0.0, -60, 60), (25.0, -35, MAX_YAW), (-25.0, -MAX_YAW, 35)):
        yaws = np.array([draw_wide_pose(rng, (own, 0.0, 0.0))[0] for _ in range(500)])
        assert low <= yaws.min() < low + 5
        assert high - 5 < yaws.max() <= high


def test_a_sitting_depends_on_nothing_but_its_number() -> None:
    from simulation.heads import Sitting

    photo, subject = PHOTOS[0]
    once, again = (sit(Sitting(5, photo, subject, 32, 1)) for _ in range(2))
    assert all(np.array_equal(a.window, b.window) for a, b in zip(once, again, strict=True))
