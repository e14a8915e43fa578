"""JSON files that carry their own checksum, so that a flipped byte anywhere in them is noticed."""

import hashlib
import json
from typing import Any

from storage.errors import Damaged, StoreError
from storage.place import Place
from storage.schema import check_version

# a million-shard snapshot is about 500 MB; anything larger is not ours
MAX_BYTES = 1 << 30


def seal(content: dict[str, Any]) -> bytes:
    """Canonical bytes of `content` with its sha256 added."""
    try:
        body = _canonical(content)
    except (TypeError, ValueError) as error:
        raise StoreError(f"config, lineage and meta must be plain JSON without NaN: {error}") from error
    return _canonical({**content, "sha256": hashlib.sha256(body).hexdigest()})


def unseal(place: Place, name: str) -> dict[str, Any]:
    """The content of a sealed file; raises Damaged (or UnknownVersion) that names it."""
    path = place.where(name)
    try:
        data = place.read(name, MAX_BYTES)
        content = json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        raise Damaged(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(content, dict) or "schema_version" not in content:
        raise Damaged(f"{path}: no schema_version in it, so it is not a file of a store")
    check_version(content["schema_version"], path)
    content.pop("sha256", None)
    # comparing whole files catches a flip in white space and in the seal itself, not only one in the values
    try:
        intact = seal(content) == data
    except (StoreError, RecursionError):
        intact = False
    if not intact:
        raise Damaged(f"{path}: its checksum does not fit its content")
    return content


def _canonical(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=True) + "\n").encode()
