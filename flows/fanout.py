"""Shards over Dask: submitted in a bounded window, collected as they finish, stopped by a flag.

One Prefect task drives a whole dataset split through here. A Prefect task a shard would cost 0.1-0.2 CPU-seconds each
and be submitted one after another.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from distributed import Client, Event, Future, as_completed

from flows.interrupt import refuse_if_interrupted
from storage.shard_info import ShardInfo
from tasks.config import BuildConfig
from tasks.errors import BuildError
from tasks.plan import ShardPlan
from tasks.shard import Timings, build_shard

WINDOW_PER_WORKER = 3  # queued shards a worker: enough that none waits, few enough that 10,000 shards need no memory


class ShardsFailed(BuildError):
    """Some shards could not be built; the finished ones stand and the next run takes them over."""


@contextmanager
def stop_flag(client: Client) -> Iterator[str]:
    """Yield the name of a flag that workers look at between batches; it is set when the block ends with an exception.

    So a cancelled or interrupted flow ends the work of a cluster that lives on, and nothing is left half written.
    """
    stop = Event(f"stop-{uuid.uuid4().hex}", client=client)
    try:
        yield stop.name
    except BaseException:
        stop.set()
        raise


def build_shards(
    client: Client,
    plans: Iterable[ShardPlan],
    config: BuildConfig,
    store: str,
    stop: str,
    finished: Callable[[ShardPlan, ShardInfo, Timings], None],
) -> list[ShardInfo]:
    """Build every plan on the cluster and return the shards in the order of the plans.

    A worker that dies loses only its running shard, which Dask gives to another worker; a shard that fails does not
    stop the others.

    Raises:
        ShardsFailed: after all shards have ended, when at least one of them could not be built.
    """
    waiting: Iterator[ShardPlan] = iter(plans)
    order: list[str] = []
    running: dict[str, ShardPlan] = {}
    done: dict[str, ShardInfo] = {}
    errors: dict[str, BaseException] = {}

    def submit() -> Future | None:
        plan = next(waiting, None)
        if plan is None:
            return None
        order.append(plan.name)
        running[plan.name] = plan
        return client.submit(
            _on_worker, plan, config, store, stop, key=f"shard-{plan.name}", pure=False, resources=resources
        )

    workers, resources = place(client, config)
    first = [future for _ in range(workers * WINDOW_PER_WORKER) if (future := submit())]
    collected = as_completed(first)
    for future in collected:
        refuse_if_interrupted()
        name = future.key.removeprefix("shard-")
        plan = running.pop(name)
        error = future.exception()
        if error is None:
            done[name], timings = future.result()
            finished(plan, done[name], timings)
        else:
            errors[name] = error
        future.release()
        if another := submit():
            collected.add(another)
    if errors:
        name, error = next(iter(errors.items()))
        raise ShardsFailed(
            f"{len(errors)} of {len(order)} shards could not be built; the finished ones are kept and the next run "
            f"continues. First: shard {name}: {type(error).__name__}: {error}"
        )
    return [done[name] for name in order]


def place(client: Client, config: BuildConfig) -> tuple[int, dict[str, float]]:
    """How many workers will build, and the Dask resources that a shard asks for.

    On a cluster with workers of the resource `GPU` (`dask worker --resources GPU=1`) shards that PRNet aligns go to
    those, one at a time each; other aligners run on the CPU, so every worker will do.
    """
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    on_gpu = sum(worker["resources"].get("GPU", 0) >= 1 for worker in workers)
    if on_gpu and config.align.aligner == "prnet" and config.align.prnet_engine == "torch":
        return on_gpu, {"GPU": 1}
    return max(1, len(workers)), {}


def _on_worker(plan: ShardPlan, config: BuildConfig, store: str, stop: str) -> tuple[ShardInfo, Timings]:
    """Runs in a Dask worker process; the stop flag is asked for once a batch."""
    return build_shard(plan, config, store, should_stop=Event(stop).is_set)
