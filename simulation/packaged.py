"""The two public-domain portraits that come inside other packages, and what a colour model cannot know about them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tasks.errors import BuildError

PACKAGED = (
    ("skimage", "data/astronaut.png"),  # Eileen Collins, NASA, public domain
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),  # Grace Hopper, US Navy, public domain
)
Polygon = tuple[tuple[float, float], ...]
# file name, width, height -> (part of the person?, outline in photograph px): a collar ring and a white cap that look
# like the wall behind them, a gold fringe that looks like skin
HINTS: dict[tuple[str, int, int], tuple[tuple[bool, Polygon], ...]] = {
    ("astronaut.png", 512, 512): (
        (True, ((134, 182), (150, 162), (180, 154), (184, 180), (182, 240), (122, 214), (126, 196))),
        (True, ((40, 252), (104, 216), (130, 240), (130, 300), (24, 300))),
        (True, ((300, 244), (330, 260), (352, 300), (300, 300))),
    ),
    ("grace_hopper.jpg", 512, 600): (
        (True, ((306, 46), (328, 56), (344, 78), (336, 82), (308, 62))),
        (True, ((182, 70), (192, 54), (216, 46), (216, 64), (192, 80))),
        (True, ((222, 32), (240, 25), (280, 29), (294, 42), (294, 60), (222, 60))),
        (False, ((112, 240), (150, 236), (158, 262), (165, 285), (184, 300), (193, 310), (192, 318), (112, 336))),
    ),
}  # fmt: skip


def packaged_photographs() -> list[Path]:
    """The two public-domain portraits inside scikit-image and matplotlib. Raises BuildError if one is gone."""
    found = []
    for package, relative in PACKAGED:
        spec = importlib.util.find_spec(package)
        path = Path(spec.origin or "").parent / relative if spec else Path(relative)
        if not path.is_file():
            raise BuildError(f"{package}: {path} is missing; reinstall {package}, or give a folder with --photos")
        found.append(path)
    return found
