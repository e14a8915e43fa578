"""Why motion tells depth: the scene of FAS-SGTD's appendix 7 (arXiv 2003.08061), projected point by point.

Three points of a face, l, m, r, at z, z + d1, z + d2 from a camera, move down by dx. From how far their images move the
relative depth d1 / d2 follows (eq. 16). Through a print or a screen the same estimate goes wrong, unless a screen that
faces the camera is held perfectly still.
"""

import numpy as np
import pytest

F_A, F_B = 1.0, 1.3  # focal lengths of the recording and of the watching camera
Z_A, Z_B = 10.0, 6.0  # from the first camera to the nearest point, from the second to the print or screen
DEPTHS = np.array([0.0, 0.4, 1.0])  # of l, m, r behind the nearest
HEIGHTS = np.array([0.9, 1.4, 0.3])  # where they begin
MOVE = 0.25  # dx


def projected(height, distance, focal):
    """Pinhole camera, eq. 12."""
    return focal * height / distance


def relative_depth(before, after):
    """Eq. 16: d1 / d2 from how far the images of l, m and r moved."""
    left, middle, right = after - before
    return (left / middle - 1) / (left / right - 1)


def recorded(move=MOVE, start=0.0):
    """Where the points are in the recording, before and after; the face begins at `start`."""
    return (projected(HEIGHTS + start + by, Z_A + DEPTHS, F_A) for by in (0.0, move))


def seen_on_a_plane(height, turned):
    """The image of a point at `height` on a print or screen that is turned by an angle about its horizontal axis."""
    return projected(height * np.cos(turned), Z_B - height * np.sin(turned), F_B)


def through_a_plane(move, carried, turned=0.0, start=0.0):
    """Relative depth that the second camera estimates; the print or screen itself is carried down meanwhile."""
    before, after = recorded(move, start)
    return relative_depth(seen_on_a_plane(before, turned), seen_on_a_plane(after + carried, turned))


TRUTH = DEPTHS[1] / DEPTHS[2]


def test_motion_of_a_live_face_tells_its_relative_depth():
    assert relative_depth(*recorded()) == pytest.approx(TRUTH)
    assert relative_depth(*recorded(3 * MOVE)) == pytest.approx(TRUTH)  # whatever the motion


def test_a_carried_print_shows_no_depth():
    before, after = recorded(move=0.0)
    left, middle, right = seen_on_a_plane(after + 0.1, 0.0) - seen_on_a_plane(before, 0.0)
    # eq. 22 and 23: d = z_b (ratio of motions - 1)
    assert Z_B * (left / middle - 1) == pytest.approx(0, abs=1e-12)
    assert Z_B * (left / right - 1) == pytest.approx(0, abs=1e-12)


def test_a_screen_that_is_parallel_and_still_is_a_perfect_spoof():
    assert through_a_plane(MOVE, carried=0.0) == pytest.approx(TRUTH)  # eq. 24: no motion gives it away


@pytest.mark.parametrize("carried", [-0.004, 0.002, 0.01, 0.05])
def test_a_carried_screen_shows_another_depth_that_changes_with_its_motion(carried):
    far = F_A * MOVE + (Z_A + DEPTHS[2]) * carried
    middle = F_A * MOVE + (Z_A + DEPTHS[1]) * carried
    got = through_a_plane(MOVE, carried)
    assert got == pytest.approx(TRUTH * far / middle)  # eq. 21
    assert abs(got - TRUTH) > 1e-4  # eq. 25 to 27: only if carried = 0
    assert abs(got - through_a_plane(MOVE, carried * 2)) > 1e-4


@pytest.mark.parametrize("degrees", [5, 15, 30])
def test_a_turned_screen_shows_another_depth_that_changes_with_the_faces_place(degrees):
    turned = np.deg2rad(degrees)
    (l1, m1, r1), (l2, m2, r2) = recorded()

    def closeness(first, second):
        return (Z_B - first * np.sin(turned)) * (Z_B - second * np.sin(turned))

    beta_1, beta_2 = closeness(m1, m2) / closeness(l1, l2), closeness(r1, r2) / closeness(l1, l2)  # eq. 34
    assert beta_1 < 1 < beta_2  # eq. 35: m lies above l, and r below it
    got = through_a_plane(MOVE, carried=0.0, turned=turned)
    expected = ((DEPTHS[1] / Z_A + 1) * beta_1 - 1) / ((DEPTHS[2] / Z_A + 1) * beta_2 - 1)  # eq. 33
    assert got == pytest.approx(expected)
    assert got < TRUTH - 1e-3
    assert abs(got - through_a_plane(MOVE, carried=0.0, turned=turned, start=1.0)) > 1e-5  # a live face: 1e-16
