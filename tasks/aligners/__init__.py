"""The aligners by name, one file each; a loader imports its module (and its runtime) only when it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.align import AlignConfig, Aligner


def _facemesh(config: AlignConfig) -> Aligner:
    from tasks.aligners import facemesh

    return facemesh.load(config)


def _prnet(config: AlignConfig) -> Aligner:
    from tasks.aligners import prnet

    return prnet.load(config)


def _face_alignment(config: AlignConfig) -> Aligner:
    from tasks.aligners import face_alignment

    return face_alignment.load(config)


ALIGNERS: dict[str, Callable[[AlignConfig], Aligner]] = {
    "facemesh": _facemesh,
    "prnet": _prnet,
    "face-alignment": _face_alignment,
}
