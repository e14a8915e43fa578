"""What every snapshot says of itself besides its shards: by which code, on which machine, how many samples of what."""

import functools
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from storage.schema import LIVE, SCHEMA_VERSION

# what decodes, moves and encodes pixels
_LIBRARIES = ("numpy", "pillow", "av", "onnxruntime", "ai-edge-litert", "numba", "h5py", "pyarrow", "simplejpeg")
# beyond this a snapshot would be mostly names: then subjects are counted only
_MAX_SUBJECTS = 20_000


def code() -> dict[str, Any]:
    """Version of this package, of the store's schema, and of the libraries that pixels pass through."""
    return {
        "pseudodepth": _version("pseudodepth"),
        "schema": SCHEMA_VERSION,
        "python": platform.python_version(),
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name))},
    }


def machine() -> dict[str, Any]:
    """Where the snapshot was committed."""
    return {"name": platform.node(), "system": platform.platform(), "cpu": platform.machine(), "cores": os.cpu_count()}


def sample_counts(media: pa.Table) -> dict[str, Any]:
    """Samples by dataset, split, label, attack and subject, of lists of media (storage/media_list.py)."""
    label = pc.if_else(pc.equal(media["label"], LIVE), "live", "spoof")
    table = media.set_column(media.column_names.index("label"), "label", label)
    table = table.filter(pc.greater(table["samples"], 0))
    counts: dict[str, Any] = {name: _by(table, name) for name in ("dataset", "split", "label")}
    counts["attack"] = _by(table.filter(pc.not_equal(table["attack"], "")), "attack")
    subjects = _by(table.filter(pc.not_equal(table["subject"], "")), "subject")
    counts["subjects"] = len(subjects)
    if len(subjects) <= _MAX_SUBJECTS:
        counts["subject"] = subjects
    return counts


def _by(table: pa.Table, name: str) -> dict[str, int]:
    found = table.group_by(name, use_threads=False).aggregate([("samples", "sum")]).sort_by(name)
    return dict(zip(found[name].to_pylist(), found["samples_sum"].to_pylist(), strict=True))


@functools.cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
