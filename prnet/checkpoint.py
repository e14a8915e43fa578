"""Imports PRNet weights that someone else saved: the released TensorFlow checkpoint, or a plain torch state dict."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prnet.errors import WeightsError
from prnet.network import Resfcn256
from prnet.tf_bundle import Bundle, bundle_prefix
from prnet.weights_file import fill, read_layout, write_weights

SCOPE = "resfcn256/"
LEAVES = ("weights", "gamma", "beta", "moving_mean", "moving_variance")
# sha256 of the released 256_256_resfcn256_weight.data-00000-of-00001 (160,290,984 bytes), as a git-LFS pointer in a
# public fork gives it
RELEASED_SHA256 = "59d338bf0c21b10be813f17f84042c9d3a5bf318e588855ff2b2c041c25bb91a"
LICENCE = (
    "The weights were trained by the authors of PRNet on 300W-LP (3DDFA, Basel Face Model, LFPW): by their own word "
    "(yfeng95/PRNet, issue 28) free for research purposes at best. The licence of this program does not cover them."
)
LICENCE_OWN = "Imported from a file of unknown origin: its licence is whatever its author gave it."


@dataclass(frozen=True)
class ImportReport:
    """What was imported, from which files (`source_sha256` by file name), to what.

    `released`: the data file is bit for bit the published one. `left_out`: tensors of the source that are no part of
    the network (optimiser slots, counters). The network is `width` wide, for crops of `size`.
    """

    source: str
    source_sha256: dict[str, str]
    released: bool
    width: float
    size: int
    tensors: int
    floats: int
    left_out: tuple[str, ...]
    vertices: int
    triangles: int
    out: str


def tf_names(network: Resfcn256) -> dict[str, str]:
    """Our tensor names -> those of the TensorFlow graph (under `resfcn256/`)."""
    norms = {
        "weight": "BatchNorm/gamma",
        "bias": "BatchNorm/beta",
        "running_mean": "BatchNorm/moving_mean",
        "running_var": "BatchNorm/moving_variance",
    }
    scopes = {"reduce": "Conv/", "spatial": "Conv_1/", "expand": "Conv_2/", "shortcut": "shortcut/"}
    names = {}
    for name in network.tensors():
        parts = name.split(".")
        if parts[0] == "stem":
            scope, rest = "Conv/", parts[1:]
        elif parts[0] == "decoder":
            scope, rest = f"Conv2d_transpose{_suffix(parts[1])}/", parts[2:]
        else:
            scope, rest = f"resBlock{_suffix(parts[1])}/", parts[2:]
            if rest[0] in scopes:
                scope, rest = scope + scopes[rest[0]], rest[1:]
        names[name] = SCOPE + scope + (norms[rest[1]] if rest[0] == "norm" else "weights")
    return names


def _suffix(number: str) -> str:
    return "" if number == "0" else f"_{number}"


def import_checkpoint(
    source: str | Path, uv: str | Path, out: str | Path, names: Mapping[str, str] | None = None
) -> ImportReport:
    """Read weights and UV layout, check both, write `out` (prnet.safetensors).

    `source`: a TensorFlow checkpoint (its name, or one of its files) of the released network or of a narrower one, with
    or without the optimiser's slots; or a torch state dict (`.pt`, `.pth`; loaded with `weights_only`, a surrounding
    `state_dict` and a `module.` before each name are taken off), whose names are those of `Resfcn256.tensors()` or are
    given by `names`, ours -> theirs. `uv`: PRNet's `Data/uv-data` folder. Raises WeightsError, naming file and tensor,
    for what is missing, extra, damaged, short or of another architecture; `out` is not written then.
    """
    source, layout = Path(source), read_layout(uv)
    prefix = bundle_prefix(source)
    if prefix is not None:
        bundle = Bundle(prefix)
        files = bundle.files
        tensors = {name: _to_torch(value) for name, value in bundle.read(_is_model).items()}
        left_out = sorted(bundle.entries.keys() - tensors.keys())
        network = Resfcn256(_width(tensors, SCOPE + "Conv/weights", prefix), layout.size)
        tensors = _rename(tensors, tf_names(network), network, str(prefix))
    elif source.is_file():
        files = [source]
        tensors = _read_torch(source)
        left_out = sorted(name for name in tensors if name.endswith("num_batches_tracked"))
        for name in left_out:
            del tensors[name]
        names = names or {}
        stem = "stem.conv.weight"
        network = Resfcn256(_width(tensors, names.get(stem, stem), source), layout.size)
        theirs = {name: names.get(name, name) for name in network.tensors()}
        tensors = _rename(tensors, theirs, network, str(source))
    else:
        raise WeightsError(f"{source}: no such checkpoint; expected NAME (.index and .data-...) or a .pt file")
    fill(network, tensors, str(source))
    hashes = {file.name: _sha256(file) for file in files}
    released = RELEASED_SHA256 in hashes.values()
    about = {
        "source": source.name,
        "source_sha256": hashes,
        "licence": LICENCE if prefix is not None else LICENCE_OWN,
        "released": released,
    }
    write_weights(out, network, layout, about)
    return ImportReport(
        source=str(source),
        source_sha256=hashes,
        released=released,
        width=network.width,
        size=network.size,
        tensors=len(tensors),
        floats=sum(value.numel() for value in tensors.values()),
        left_out=tuple(left_out),
        vertices=len(layout.vertex_index),
        triangles=len(layout.triangles),
        out=str(out),
    )


def _is_model(name: str) -> bool:
    """A variable of the network; not a slot of an optimiser, which has one more part behind the variable's name."""
    return name.startswith(SCOPE) and name.rsplit("/", 1)[1] in LEAVES


def _to_torch(value: NDArray[np.float32]) -> Tensor:
    """TensorFlow's (kh, kw, in, out), transposed convolutions' (kh, kw, out, in), to torch's: the same permutation."""
    tensor = torch.from_numpy(value.copy())
    return tensor.permute(3, 2, 0, 1).contiguous() if tensor.ndim == 4 else tensor


def _width(tensors: Mapping[str, Tensor], first: str, source: Path) -> float:
    """The width by the first convolution's channels, so that a narrower network is imported as what it is."""
    if first not in tensors:
        raise WeightsError(f"{source}: no tensor {first}: not a resfcn256; it has {_some(tensors)}")
    shape = tensors[first].shape
    if len(shape) != 4 or shape[0] < 1:
        raise WeightsError(
            f"{source}: tensor {first} has shape {tuple(shape)}, expected a 4x4 convolution of 3 channels"
        )
    return shape[0] / 16


def _rename(
    tensors: Mapping[str, Tensor], theirs: Mapping[str, str], network: Resfcn256, source: str
) -> dict[str, Tensor]:
    """Tensors under our names; WeightsError in their names for what is missing, extra or has another shape."""
    if missing := set(theirs.values()) - tensors.keys():
        raise WeightsError(f"{source}: {len(missing)} of {len(theirs)} tensors are missing: {_some(missing)}")
    if extra := tensors.keys() - set(theirs.values()):
        raise WeightsError(f"{source}: {len(extra)} tensors are no part of resfcn256: {_some(extra)}")
    for ours, wanted in network.tensors().items():
        got = tensors[theirs[ours]].shape
        if got != wanted.shape:
            raise WeightsError(
                f"{source}: tensor {theirs[ours]} has shape {tuple(got)}, expected {tuple(wanted.shape)} "
                f"(as torch counts: out, in, height, width) in a resfcn256 of width {network.width}"
            )
    return {ours: tensors[name] for ours, name in theirs.items()}


def _some(names: Iterable[str], most: int = 8) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:most]) + (f" and {len(ordered) - most} more" if len(ordered) > most else "")


def _read_torch(source: Path) -> dict[str, Tensor]:
    """A state dict, its zip checksums checked (torch's own reader does not look at them)."""
    try:
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                if (broken := archive.testzip()) is not None:
                    raise WeightsError(f"{source}: damaged: {broken} in it does not have its checksum")
        content = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        if isinstance(error, WeightsError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{source}: not a torch state dict that can be loaded safely: {reason}") from error
    while isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{source}: expected a state dict (names to tensors), got {type(content).__name__}")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
