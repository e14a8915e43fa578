"""`prnet.safetensors`: the network's tensors, the UV layout they were trained with, and where they came from.

safetensors keeps no checksum, so one over all tensors is kept in the metadata and checked on every read.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from prnet.errors import WeightsError
from prnet.network import Resfcn256
from prnet.uv import PREFIX, UVLayout, read_uv_data

FORMAT = "pseudodepth-prnet-1"
# one key, so that the bytes of a file do not depend on the order of a hash table
KEY = "pseudodepth"


@dataclass(frozen=True, eq=False)
class Weights:
    """What a weights file holds. `about`: width, size, source, source_sha256, licence and whatever else was noted."""

    network: Resfcn256
    layout: UVLayout
    about: dict[str, object]
    sha256: str


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def fill(network: Resfcn256, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy `tensors` (named as `network.tensors()`) into the network; WeightsError names what is missing or unfit."""
    wanted = network.tensors()
    if missing := sorted(wanted.keys() - tensors.keys()):
        raise WeightsError(f"{source}: {len(missing)} tensors are missing: {', '.join(missing[:8])}")
    if extra := sorted(tensors.keys() - wanted.keys()):
        raise WeightsError(f"{source}: {len(extra)} tensors are not part of this network: {', '.join(extra[:8])}")
    for name, target in wanted.items():
        value = tensors[name]
        if value.shape != target.shape:
            raise WeightsError(
                f"{source}: tensor {name} has shape {tuple(value.shape)}, expected {tuple(target.shape)} "
                f"for width {network.width}"
            )
        if not value.is_floating_point() or not bool(torch.isfinite(value).all()):
            raise WeightsError(f"{source}: tensor {name} must be floating point and finite throughout")
        with torch.no_grad():
            target.copy_(value)


def write_weights(path: str | Path, network: Resfcn256, layout: UVLayout, about: Mapping[str, object]) -> None:
    """Write `prnet.safetensors`; the name appears when the file is whole. `about` must be JSON-able."""
    path = Path(path)
    if layout.size != network.size:
        raise WeightsError(f"{path}: the UV layout is for size {layout.size}, the network for {network.size}")
    tensors = {name: value.detach().float().cpu().contiguous() for name, value in network.tensors().items()}
    tensors[PREFIX + "mask"] = torch.from_numpy(layout.mask())
    tensors[PREFIX + "landmarks"] = torch.from_numpy(layout.landmark_places())
    note = {
        "format": FORMAT,
        "width": network.width,
        "size": network.size,
        "sha256_of_tensors": _digest(tensors),
        **about,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(save(tensors, {KEY: json.dumps(note, sort_keys=True)}))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_weights(path: str | Path) -> Weights:
    """Read and check `prnet.safetensors`.

    Raises WeightsError if it is missing, not such a file, damaged, or for another architecture.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such weights file. Make one from the released checkpoint with "
            "`pseudodepth prnet import CHECKPOINT --uv DIR -o prnet.safetensors`"
        )
    try:
        with safe_open(path, "pt") as file:
            note = (file.metadata() or {}).get(KEY)
            if note is None:
                raise WeightsError(f"{path}: a safetensors file, but not one of `pseudodepth prnet import`")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no Mapping)
        about = json.loads(note)
    except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error}); import the checkpoint again") from error
    if about.get("format") != FORMAT:
        raise WeightsError(f"{path}: format {about.get('format')!r}, expected {FORMAT!r}")
    if _digest(tensors) != about.get("sha256_of_tensors"):
        raise WeightsError(f"{path}: damaged, its tensors do not have the checksum that was written with them")
    layout = UVLayout.from_mask(
        tensors.pop(PREFIX + "mask").numpy(), tensors.pop(PREFIX + "landmarks").numpy().astype(np.int64), str(path)
    )
    network = Resfcn256(about["width"], about["size"])
    fill(network, tensors, str(path))
    with path.open("rb") as raw:
        sha256 = hashlib.file_digest(raw, "sha256").hexdigest()
    return Weights(network.eval(), layout, about, sha256)


def read_layout(path: str | Path) -> UVLayout:
    """The UV layout of a `uv-data` folder as PRNet ships it, or of a weights file; raises WeightsError."""
    path = Path(path)
    return read_uv_data(path) if path.is_dir() else read_weights(path).layout
