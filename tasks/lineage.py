"""Where a snapshot comes from: sources, settings and models; `Store.commit` adds code, machine and counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.config import BuildConfig
from tasks.plan import media_digest
from tasks.sources.media import Scan


def lineage(scans: Sequence[Scan], config: BuildConfig) -> dict[str, Any]:
    """Plain JSON: each source with the hash of its table of media, all that affects pixels, weights by SHA-256."""
    return {
        "sources": [
            {
                "dataset": scan.dataset,
                "root": str(scan.root),
                "layout": scan.layout,
                "media": len(scan.media),
                "media_sha256": media_digest(scan.media),
                "ignored": [list(pair) for pair in scan.ignored],  # path and reason: nothing is skipped unsaid
            }
            for scan in scans
        ],
        "config_digest": config.digest(),
        "pixels": config.pixels(),
        "models": config.models(),
    }
