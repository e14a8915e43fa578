"""Where a reported model comes from: store, code, settings, weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from storage.dataset import DepthDataset
from training.checkpoint import load_json
from training.evaluate import Evaluation


@lru_cache(maxsize=1)
def code_version() -> str:
    """The package's version and a digest of the sources that train and judge, changed or not."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(p for part in ("storage", "training") for p in (root / part).rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    try:
        number = version("pseudodepth")
    except PackageNotFoundError:  # run from a checkout that is not installed
        number = "not installed"
    return f"pseudodepth {number}, sources {digest.hexdigest()[:16]}"


def lineage(
    data: DepthDataset, pretrain_dir: Path | None, model: Mapping[str, Any], evaluation: Evaluation
) -> list[tuple[str, str]]:
    """(what, where it comes from) for people; settings are shown apart."""
    snapshot, split = data.snapshot, model["split"]
    counts = snapshot.counts
    entries = [
        ("Store", f"{snapshot.root} — snapshot {snapshot.number}, {snapshot.created}"),
        ("Shards", f"{counts['shards']} shards, {counts['rows']} rows, {counts['bytes']:,} bytes"),
        *(
            (f"Store: {key}", value if isinstance(value, str) else json.dumps(value))
            for key, value in snapshot.lineage.items()
        ),
    ]
    if pretrain_dir:
        card = load_json(pretrain_dir / "model.json")
        entries.append(("Pre-trained generator", f"sha256 {card['weights']['sha256']}"))
        entries.append(("Pre-trained encoder", f"sha256 {card['encoder_sha256']}"))
        entries.append(("Pre-training", f"{pretrain_dir} — snapshot {card['store']['snapshot']}"))
    started = model["training"].get("encoder")
    return [
        *entries,
        ("Model", f"sha256 {evaluation.model['sha256']} — {model['weights']['parameters']:,} parameters"),
        ("Trained on", f"snapshot {model['store']['snapshot']}, encoder {started or 'He init'}"),
        ("Train", f"{split['train_samples']} samples of {len(split['train_subjects'])} subjects"),
        ("Dev", f"{split['dev_samples']} samples of {len(split['dev_subjects'])} subjects: {split['dev_is']}"),
        ("Evaluated on", f"split {evaluation.split}, {evaluation.store['samples']} samples, one score each"),
        ("Code of this report", code_version()),
    ]
