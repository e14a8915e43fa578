"""The network that turns a face crop into vertices, its weights, and the rasteriser that turns vertices into depth.

`PRNet` and `UVLayout` need torch, which is imported when one of them is first asked for, so that `import prnet` stays
cheap. (`rasterize` is imported here and now, and imports numba later: the module of the same name must not hide it.)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from prnet.rasterize import rasterize

if TYPE_CHECKING:
    from prnet.model import PRNet
    from prnet.uv import UVLayout

__all__ = ["PRNet", "UVLayout", "rasterize"]

_HOME = {"PRNet": "prnet.model", "UVLayout": "prnet.uv"}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'prnet' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
