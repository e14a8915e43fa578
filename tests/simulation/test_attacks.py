import numpy as np
import pytest

from simulation.attacks import Source, present
from simulation.camera import CAMERAS, compress, expose
from simulation.media import ATTACK_DOMAINS, PAPERS, SCREENS, displayed, halftone, pixel_grid, printed


@pytest.fixture(scope="module")
def source() -> Source:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:400, :360].astype(float)
    colours = np.stack([x / 2 % 256, y / 2 % 256, (x + y) / 3 % 256], axis=2)
    angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    face = np.column_stack([180 + 90 * np.cos(angle), 200 + 120 * np.sin(angle)])
    person = (np.hypot((x - 180) / 120, (y - 220) / 170) < 1).astype(np.float32)
    return Source(
        (colours + rng.normal(0, 2, colours.shape)).clip(0, 255).astype(np.uint8),
        face,
        np.array([[145.0, 170], [215, 170]]),
        person,
    )


CASES = [("print", m, False) for m in PAPERS] + [("replay", m, False) for m in SCREENS]
CASES += [("papercut", "laser-a4", False), ("papercut", "photo-gloss", True)]


@pytest.mark.parametrize(("kind", "medium", "worn"), CASES)
def test_the_presented_face_lands_where_it_should_and_the_rest_stays(source, kind, medium, worn):
    behind = np.full((384, 400, 3), 0.2, np.float32)
    shown = present(
        np.random.default_rng(1), kind, medium, source, behind, (210.0, 180.0, 170.0), np.ones(3, np.float32), worn
    )
    x1, y1, x2, y2 = shown.box
    assert (x1 + x2) / 2 == pytest.approx(210, abs=0.5)
    assert (y1 + y2) / 2 == pytest.approx(180, abs=0.5)
    assert x2 - x1 == pytest.approx(170, rel=0.01)
    assert shown.light.shape == behind.shape
    assert np.isfinite(shown.light).all()
    assert shown.light.min() >= 0
    assert shown.light[130:230, 170:250].std() > 3 * shown.light[:8, :8].std()
    expected = {"print": {1, 2, 3}, "replay": {7, 8, 9}, "papercut": {4, 5, 6}}[kind]
    assert shown.code in expected
    assert shown.medium == medium


def test_paper_shows_less_colour_and_less_black_than_the_picture():
    rng = np.random.default_rng(0)
    picture = rng.random((60, 60, 3)).astype(np.float32)
    for paper in PAPERS.values():
        ink = printed(np.random.default_rng(1), paper, picture)
        assert np.ptp(ink, axis=2).mean() < np.ptp(picture, axis=2).mean()
        assert printed(np.random.default_rng(1), paper, picture * 0).mean() > 0.015


def test_halftone_dots_and_pixel_grids_are_periodic_and_keep_the_mean():
    y, x = np.mgrid[:240, :240].astype(np.float32)
    grey = np.full((240, 240, 3), 0.4, np.float32)
    dots = halftone(np.random.default_rng(2), PAPERS["laser-a4"], grey, x, y, 0.3)
    grid = pixel_grid(np.random.default_rng(2), SCREENS["tablet-ips"], grey, x, y, 0.3)
    for pattern in (dots, grid):
        assert pattern.mean() == pytest.approx(0.4, rel=0.05)
        spectrum = np.abs(np.fft.fft2(pattern[..., 1] - pattern[..., 1].mean()))
        assert spectrum.max() > 30 * np.median(spectrum)
    assert np.abs(displayed(np.random.default_rng(0), SCREENS["pc-lcd"], grey) - grey).max() < 0.2


def test_a_worse_camera_is_noisier_and_writes_smaller_files():
    flat = np.full((200, 200, 3), 0.2, np.float32)
    noise = {
        name: expose(np.random.default_rng(0), camera, flat)[50:150, 50:150].std() for name, camera in CAMERAS.items()
    }
    assert noise["dslr"] < noise["phone"] < noise["webcam"]
    picture = np.random.default_rng(0).integers(0, 255, (100, 100, 3)).astype(np.uint8)
    assert len(compress(picture, CAMERAS["webcam"].quality[0])) < len(compress(picture, CAMERAS["dslr"].quality[1]))


def test_domains_share_no_medium():
    office, home = ATTACK_DOMAINS["office"], ATTACK_DOMAINS["home"]
    assert not {*office[0], *office[1]} & {*home[0], *home[1]}
    assert all(len(papers) >= 2 and len(screens) >= 2 for papers, screens in ATTACK_DOMAINS.values())
