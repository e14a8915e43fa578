"""build-depth: datasets on disk become one committed snapshot of an RGB + pseudo-depth store.

    pseudodepth build celeba-spoof=/data/CelebA_Spoof --store /data/stores/celeba        # this machine, no server
    prefect deployment run build-depth/build-depth -p store=... -p sources=...           # a deployment of prefect.yaml

Read `build_depth` from top to bottom: scan, plan, build shards, commit.
"""

import re
import sys
import time
from collections import Counter
from itertools import groupby
from typing import Any

from distributed import Client
from prefect import flow, get_run_logger, task
from prefect.assets import add_asset_metadata, materialize
from prefect.cache_policies import NO_CACHE

from flows.assets import asset
from flows.build_progress import BuildProgress, build_progress
from flows.build_summary import BuildSummary, announce, summarise
from flows.cluster import DaskConfig, dask_client
from flows.fanout import build_shards, runs_on_gpu, stop_flag
from flows.interrupt import refuse_if_interrupted
from flows.one_build import one_build
from flows.source import Source
from storage.build_lock import build_lock
from storage.shard_info import ShardInfo
from storage.snapshot import Snapshot, Store
from tasks.build import build_store
from tasks.config import BuildConfig
from tasks.errors import BuildError
from tasks.leaks import leaks_of
from tasks.lineage import lineage
from tasks.plan import EVERYTHING, Plan, ShardPlan
from tasks.selection import Selection
from tasks.sources import Scan, scan


@flow(name="build-depth", flow_run_name="build-depth {store}", persist_result=False)
def build_depth(
    sources: list[Source],
    store: str,
    config: BuildConfig | None = None,
    dask: DaskConfig | None = None,
    checksum: bool = False,
    only: Selection | None = None,
    refuse_leaks: bool = False,
) -> BuildSummary:
    """Bring `store` up to date with `sources`; a run with nothing to do changes nothing.

    Args:
        sources: the datasets; together they are the whole content of the store.
        store: folder or URL of the store; it is made where it does not exist.
        config: how samples are made.
        dask: where they are made.
        checksum: compare files by content even where size and time are the same; reads every file.
        only: the part of the datasets to build; the rest of the store stays as it is.
        refuse_leaks: end before any work if a subject is in more than one split; without it that is only said.
    """
    started = time.monotonic()
    config = (config or BuildConfig()).resolved()
    target = open_target(store)

    scans = [scan_source(source) for source in sources]
    for leak in leaks_of(scans, refuse=refuse_leaks):
        print(f"leak: {leak}", file=sys.stderr, flush=True)
    target.check_writable()
    by_split: dict[tuple[str, str], Counter[str]] = {}
    stages: dict[tuple[str, str], Counter[str]] = {}

    def make(work: Plan) -> list[ShardInfo]:
        for reason in work.why:  # so that nobody wonders why a night was spent
            print(f"why: {reason}", file=sys.stderr, flush=True)
        shards, progress = make_shards(work, config, str(target.root), dask or DaskConfig())
        by_split.update(progress.by_split)
        stages.update(progress.stages)
        return shards

    def put(shards: list[ShardInfo], current: Snapshot | None) -> Snapshot:
        refuse_if_interrupted()
        into = commit.with_options(
            assets=[asset(str(target.root), "store")], asset_deps=[asset(str(s.root), s.dataset) for s in scans]
        )
        return into(target, shards, current, config, scans)

    with one_build(str(target.root)), build_lock(target.root):
        done = build_store(target, scans, config, make, put, checksum=checksum, only=only or EVERYTHING)
    summary = summarise(done, scans, sum(stages.values(), Counter()), started)
    if done.committed:
        announce(summary, done.snapshot, by_split, stages)
    return summary


def make_shards(work: Plan, config: BuildConfig, store: str, dask: DaskConfig) -> tuple[list[ShardInfo], BuildProgress]:
    """Build every planned shard on the cluster, one Prefect task a dataset split; also what was counted meanwhile."""
    with build_progress(sum(len(plan.media) for plan in work.shards)) as progress:
        if not work.shards:
            return [], progress
        with dask_client(dask, on_gpu=runs_on_gpu(config)) as client, stop_flag(client) as stop:
            splits = groupby(work.shards, key=lambda plan: (plan.dataset, plan.split))
            runs = [
                build_split.with_options(name=f"build {dataset} {split}").submit(
                    client, list(plans), config, store, stop, progress.finished
                )
                for (dataset, split), plans in splits
            ]
            return [info for run in runs for info in run.result()], progress


def open_target(store: str) -> Store:
    """The store to write, at a location that workers in any folder will find.

    Raises:
        BuildError: for one snapshot of a store (`path@3`): a build always goes on top of the newest.
    """
    if re.search(r"@\d+$", store):
        raise BuildError(f"{store}: a build writes a store, not a snapshot; leave out @{store.rpartition('@')[2]}")
    return Store(store)


@task(name="scan", task_run_name="scan {source.name}", cache_policy=NO_CACHE, persist_result=False)
def scan_source(source: Source) -> Scan:
    """List the media of one dataset."""
    return scan(source.name, source.root, source.dataset)


@task(name="build split", cache_policy=NO_CACHE, persist_result=False)
def build_split(
    client: Client,
    plans: list[ShardPlan],
    config: BuildConfig,
    store: str,
    stop: str,
    finished: Any,  # noqa: ANN401 - Prefect makes a pydantic model of the parameters, and it has no schema for our types
) -> list[ShardInfo]:
    """Build the shards of one dataset split on the cluster."""
    logger = get_run_logger()
    return build_shards(client, plans, config, store, stop, finished, lambda line: logger.log(line.level, line.text))


@materialize("pseudodepth://store", name="commit", cache_policy=NO_CACHE, persist_result=False)
def commit(
    store: Store, shards: list[ShardInfo], current: Snapshot | None, config: BuildConfig, scans: list[Scan]
) -> Snapshot:
    """Verify the shards and make them the store's next snapshot."""
    snapshot = store.commit(
        shards, parent=current, config=config.model_dump(mode="json"), lineage=lineage(scans, config)
    )
    add_asset_metadata(asset(str(store.root), "store"), {"snapshot": snapshot.number, **snapshot.counts})
    return snapshot
