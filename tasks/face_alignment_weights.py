"""Weights that the package face-alignment would download: taken from where it keeps them, never from the network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import BuildError
from tasks.weights import read_weights, sha256

if TYPE_CHECKING:
    from types import ModuleType


def import_face_alignment() -> ModuleType:
    """The package, imported only here because it imports cv2, whose wheels need a system library."""
    try:
        import face_alignment
    except ImportError as error:
        raise BuildError(
            f"face-alignment cannot be imported ({error}). It needs cv2, whose wheel needs libGL.so.1: install the "
            "system package libgl1, or choose another detector or aligner."
        ) from error
    return face_alignment


def checkpoint_path(name: str) -> Path:
    """Where face-alignment keeps its file `name`: `$TORCH_HOME/hub/checkpoints` (default `~/.cache/torch`)."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / name


def load_checkpoint(path: Path, what: str) -> tuple[Any, str]:
    """The unpickled checkpoint and its sha256; BuildError says which file to put where, or what is wrong with it.

    A file that needs arbitrary objects is only unpickled if its sha256 starts with the digits in its own name, which is
    how its authors signed it; anything else could run code.
    """
    import io
    import pickle

    import torch

    hint = f"{what} needs the file {path.name} of the package face-alignment (face_alignment.api.models_urls): put it at {path}."
    data = read_weights(path, what, hint)
    digest = sha256(data)
    signed = digest.startswith(path.name.split(".")[0].split("-")[-1])
    try:
        try:
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True), digest
        except pickle.UnpicklingError:
            if not signed:
                raise
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=False), digest
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise BuildError(f"{path} is damaged or no checkpoint ({str(error).splitlines()[0]}). {hint}") from error
