from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from simulation.backgrounds import draw_background
from simulation.head import Expression, draw_pose
from simulation.portrait import head_angles, head_rotation
from simulation.render import Scene, draw_scene, pose_vertices, render
from tests.fixtures.portraits import portrait, subject

REST = Expression(0.0, 0.0, 0.0)


def scene_of(index: int, pose: tuple[float, float, float], seed: int = 0) -> Scene:
    scene = draw_scene(np.random.default_rng(seed), subject(index), outdoor=False)
    return replace(scene, pose=pose, expression=REST, distance=50.0)


@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (30.0, 0.0, 0.0), (0.0, -20.0, 0.0), (-12.0, 8.0, 5.0)])
def test_a_rotation_has_the_angles_it_was_made_from(angles):
    np.testing.assert_allclose(head_angles(head_rotation(*angles)), angles, atol=1e-9)


@pytest.mark.parametrize("index", [0, 1])
def test_truth_covers_the_face_only_and_agrees_with_the_vertices(index):
    scene = scene_of(index, (14.0, -4.0, 2.0))
    w, h = scene.size
    seen = render(subject(index), scene, draw_background(np.random.default_rng(1), w, h))
    assert seen.depth is not None
    assert seen.depth.shape == (h, w)
    x1, y1, x2, y2 = seen.box
    row, col = np.nonzero(seen.depth)
    assert col.min() >= x1 - 1
    assert col.max() <= x2 + 1
    assert row.min() >= y1 - 1
    assert row.max() <= y2 + 1
    # nose, eye corners, mouth corners are seen: the depth there is their own
    zero = seen.vertices[:, 2].min()
    for vertex in (1, 33, 263, 61, 291):
        x, y, z = seen.vertices[vertex]
        assert seen.depth[round(float(y)), round(float(x))] == pytest.approx(z - zero + 1.0, abs=0.05 * (x2 - x1))
    assert seen.vertices[1, 2] > seen.vertices[[33, 263, 61, 291], 2].max()


def test_the_face_lies_inside_the_picture_and_has_the_promised_size():
    shares = []
    for seed in range(30):
        scene = draw_scene(np.random.default_rng(seed), subject(seed % 2), outdoor=False)
        xy = pose_vertices(subject(seed % 2), scene)[0][:468, :2]
        w, h = scene.size
        inside = (xy[:, 0] > 0) & (xy[:, 0] < w - 1) & (xy[:, 1] > 0) & (xy[:, 1] < h - 1)
        assert inside.all()
        shares.append(np.ptp(xy[:, 0]) / w)
    assert min(shares) > 0.3
    assert max(shares) < 0.66


def test_the_nose_follows_the_yaw_and_shoulders_stay():
    left, right = (pose_vertices(subject(0), scene_of(0, (yaw, -6.0, 0.0)))[0] for yaw in (-30.0, 30.0))
    width = np.ptp(left[:468, 0])
    assert right[1, 0] - left[1, 0] > 0.4 * width
    still = subject(0).portrait.surface.follow == 0
    assert still.sum() > 100
    np.testing.assert_allclose(left[still], right[still], atol=1e-6)


@pytest.mark.parametrize("yaw", [-30.0, 0.0, 30.0])
def test_no_crack_opens_between_face_and_hair(yaw):
    from tasks.aligners.facemesh import FACE_OVAL

    # where hair or ear continues the face, the dark background must not shine through along the contour
    scene = replace(scene_of(0, (yaw, 5.0, 6.0)), own_surroundings=False)
    w, h = scene.size
    seen = render(subject(0), scene, np.zeros((h, w, 3), np.float32), with_depth=False)
    contour = seen.vertices[list(FACE_OVAL), :2]
    upper = contour[contour[:, 1] < seen.vertices[[61, 291], 1].mean()]
    upper = upper[np.argsort(np.arctan2(upper[:, 1] - contour[:, 1].mean(), upper[:, 0] - contour[:, 0].mean()))]
    line = np.concatenate([a + (b - a) * np.linspace(0, 1, 40)[:, None] for a, b in pairwise(upper)])
    x, y = line.round().astype(int).T
    assert len(line) > 500
    assert np.quantile(seen.person[y, x], 0.02) > 0.97


def test_mirrored_photographs_make_mirrored_people():
    plain, mirrored = portrait(0), portrait(0, mirrored=True)
    difference = np.abs(plain.texture[:, ::-1].astype(int) - mirrored.texture)
    assert np.median(difference) < 12
    assert mirrored.angles[0] == pytest.approx(-plain.angles[0], abs=3)
    assert mirrored.angles[1] == pytest.approx(plain.angles[1], abs=3)
    assert mirrored.angles[2] == pytest.approx(-plain.angles[2], abs=3)


def test_the_depth_of_a_head_is_the_drawn_shapes_and_not_the_aligners():
    # two photographs, one pose: before shapes are drawn both heads have the average face's depth exactly
    for index in (0, 1):
        p = portrait(index)
        expected = (p.scale * p.canonical @ p.rotation.T)[:, 2]
        np.testing.assert_allclose(p.surface.vertices[:468, 2], expected)
    assert np.abs(subject(0).base[:468, 2] - portrait(0).surface.vertices[:468, 2]).max() > 1.0


def test_poses_stay_within_their_limits_and_reach_them():
    rng = np.random.default_rng(0)
    poses = np.array([draw_pose(rng, (0.0, -6.0, 0.0)) for _ in range(2000)])
    assert np.abs(poses[:, 0]).max() <= 35
    assert np.abs(poses[:, 1] + 6).max() <= 20
    assert np.abs(poses[:, 0]).max() > 33
    assert np.abs(poses[:, 1] + 6).max() > 18


def test_light_from_the_left_brightens_the_left_cheek():
    scene = replace(scene_of(0, (0.0, -6.0, 0.0)), own_surroundings=False)
    key = np.array([0.8, -0.2, 0.56])
    means = []
    for side in (-1.0, 1.0):
        colour = np.full(3, 0.8)
        light = replace(scene.light, key=key * [side, 1, 1], key_colour=colour, ambient_colour=colour / 4, gloss=0.0)
        seen = render(subject(0), replace(scene, light=light), np.zeros((*scene.size[::-1], 3), np.float32), False)
        x, y = seen.vertices[[50, 280], :2].round().astype(int).T  # the cheeks
        means.append(seen.light[y, x].mean(axis=1))
    assert means[0][0] > 1.2 * means[1][0]  # the image-left cheek
    assert means[1][1] > 1.2 * means[0][1]
