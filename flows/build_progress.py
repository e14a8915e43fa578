"""What a running build shows: a line in the terminal, a bar in Prefect, counters for Prometheus."""

import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from flows.metrics import Metrics
from flows.progress import Advance, progress_line
from storage.shard_info import ShardInfo
from tasks.face import Timings
from tasks.plan import ShardPlan

EVERY_SECONDS = 10.0


class BuildProgress:
    """Counts what finished shards hold; may be called from several threads.

    By (dataset, split): `by_split` media, samples, live, spoof, rejects; `stages` the seconds of each, of all workers.
    """

    def __init__(self, total: int, advance: Advance, artifact: UUID, metrics: Metrics) -> None:
        self.by_split: dict[tuple[str, str], Counter[str]] = {}
        self.stages: dict[tuple[str, str], Counter[str]] = {}
        self._total, self._advance, self._artifact, self._metrics = total, advance, artifact, metrics
        self._began = self._told = time.monotonic()
        self._gpu = ""
        self._lock = threading.Lock()

    def finished(self, plan: ShardPlan, info: ShardInfo, timings: Timings) -> None:
        """One shard more is done."""
        counts = Counter(
            media=len(plan.media), samples=info.rows, live=info.live, spoof=info.spoof, rejects=info.rejects, shards=1
        )
        with self._lock:
            self.by_split.setdefault((plan.dataset, plan.split), Counter()).update(counts)
            self.stages.setdefault((plan.dataset, plan.split), Counter()).update(timings)
            self._metrics.add(plan.dataset, plan.split, counts, timings)
            totals = sum(self.by_split.values(), Counter[str]())
            tell = time.monotonic() - self._told >= EVERY_SECONDS
            if tell:
                self._told, self._gpu = time.monotonic(), gpu_use()
            rate = totals["samples"] / max(time.monotonic() - self._began, 1e-9)
            self._advance(len(plan.media), f"{rate:.1f} samples/s, {totals['rejects']:,} rejects{self._gpu}")
        if tell:
            update_progress_artifact(self._artifact, 100 * totals["media"] / max(self._total, 1))


@contextmanager
def build_progress(media: int) -> Iterator[BuildProgress]:
    """Show how much of `media` is done, until the block ends."""
    artifact = cast(UUID, create_progress_artifact(0.0, key="build-depth-progress", description=f"{media:,} media"))
    with progress_line("build", media, "media") as advance, Metrics.serving() as metrics:
        yield BuildProgress(media, advance, artifact, metrics)
    update_progress_artifact(artifact, 100.0)


def gpu_use() -> str:
    """`, GPU 87 %` for each GPU of this machine; empty where there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return "".join(f", GPU {line.strip()} %" for line in done.stdout.splitlines())
