"""What a build would do and what it would take, from a probe of a few samples; nothing is written."""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from storage.snapshot import Store
from tasks.config import BuildConfig, aligner_of
from tasks.frames import guess_frames
from tasks.plan import Plan, plan_build
from tasks.selection import Selection
from tasks.shard import build_shard
from tasks.sources import Scan

PROBE_SAMPLES = 64


@dataclass(frozen=True)
class Estimate:
    """The plan, and from the probe: seconds on `workers` workers, bytes on disk, bytes of GPU memory (0: none used).

    `probed` samples were made in `probe_seconds`, loading of models not counted.
    """

    plan: Plan
    media: int
    samples: int
    workers: int
    seconds: float
    disk: float
    gpu_memory: int
    probed: int
    probe_seconds: float


def estimate(
    store: str, scans: Sequence[Scan], config: BuildConfig, only: Selection, workers: int, *, checksum: bool = False
) -> Estimate:
    """Plan a build of `store` and build a probe of it in a temporary place; raises what planning and building raise."""
    work = plan_build(scans, Store(store).current(), config, checksum=checksum, only=only)
    fresh = [plan for plan in work.shards if plan.origin is None]
    media = sum(len(plan.media) for plan in fresh)
    frames = guess_frames(config.read)
    videos = sum((plan.media["kind"].to_numpy(zero_copy_only=False) != "image").sum() for plan in fresh)
    samples = config.view.views * (media + int(videos) * (frames - 1))
    if not media:
        return Estimate(work, 0, 0, workers, 0.0, 0.0, 0, 0, 0.0)
    aligner_of(config.align)  # loaded now, so that the probe is not charged with it
    began, rows, size, tried = time.perf_counter(), 0, 0, 0
    # evenly over the shards: datasets and splits differ in size of pictures and number of faces
    share = max(1, round(PROBE_SAMPLES / (samples / media) / len(fresh)))
    with tempfile.TemporaryDirectory() as folder:
        for number in np.unique(np.linspace(0, len(fresh) - 1, min(len(fresh), PROBE_SAMPLES)).astype(int)):
            plan = fresh[number]
            picked = np.unique(np.linspace(0, len(plan.media) - 1, min(share, len(plan.media))).astype(int))
            part = replace(plan, name=f"probe-{number}", media=plan.media.take(pa.array(picked)))
            info, _ = build_shard(part, config, folder)
            rows, size, tried = rows + info.rows, size + info.bytes, tried + len(picked)
            if rows >= PROBE_SAMPLES:
                break
    spent = time.perf_counter() - began
    return Estimate(
        plan=work,
        media=media,
        samples=samples,
        workers=workers,
        seconds=spent / tried * media / workers,
        disk=size / tried * media,
        gpu_memory=_gpu_memory(),
        probed=rows,
        probe_seconds=spent,
    )


def _gpu_memory() -> int:
    """Most bytes that this process held on its GPU; 0 if torch was not needed or sees none."""
    torch = sys.modules.get("torch")
    return int(torch.cuda.max_memory_reserved()) if torch is not None and torch.cuda.is_available() else 0
