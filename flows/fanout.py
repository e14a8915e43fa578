"""Shards over Dask: submitted in a bounded window, collected as they finish, stopped by a flag.

One Prefect task drives a whole dataset split through here. A Prefect task a shard would cost 0.1-0.2 CPU-seconds each
and be submitted one after another.

Workers die: of a lost machine, or of a medium that takes all memory. A shard whose worker died is built again, one
medium at a time from then on; a medium that was at hand at two such deaths is refused and the shard goes on without it.
"""

import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from distributed import CancelledError, Client, Event, Future, KilledWorker, Variable, as_completed

from flows.interrupt import refuse_if_interrupted
from flows.worker_logs import Line, captured
from storage.shard_info import ShardInfo
from tasks.batches import Caution
from tasks.config import BuildConfig
from tasks.errors import BuildError
from tasks.face import Timings
from tasks.plan import ShardPlan
from tasks.shard import build_shard

WINDOW_PER_WORKER = 3  # queued shards a worker: enough that none waits, few enough that 10,000 shards need no memory
DEATHS_OF_A_MEDIUM = 2
DEATHS_OF_A_SHARD = 12  # more is no medium's fault: workers do not live here
# where a shard's worker is, if not at a path
WAITING, BEGAN = "", "."

logger = logging.getLogger("pseudodepth.build")


class ShardsFailed(BuildError):
    """Some shards could not be built; the finished ones stand and the next run takes them over."""


class SchedulerGone(BuildError):
    """The cluster ended under the build, or somebody cancelled its shards."""

    def __str__(self) -> str:
        return (
            "the Dask scheduler is gone, or somebody cancelled the shards on it; the finished ones are kept and the "
            "next run continues"
        )


@contextmanager
def stop_flag(client: Client) -> Iterator[str]:
    """Yield the name of a flag that workers look at between batches; it is set when the block ends with an exception.

    So a cancelled or interrupted flow ends the work of a cluster that lives on, and nothing is left half written.
    """
    stop = Event(f"stop-{uuid.uuid4().hex}", client=client)
    try:
        yield stop.name
    except BaseException:
        with suppress(OSError):  # no scheduler, no workers to stop
            stop.set()
        raise


@dataclass
class _Shard:
    """One shard on its way: how often its worker died, and over which media."""

    plan: ShardPlan
    deaths: int = 0  # more than one worker may die before a shard begins: those tell nothing, but are counted
    careful: bool = False
    over: Counter[str] = field(default_factory=Counter)

    @property
    def mark(self) -> str:
        """Name of the Dask variable that says where its worker is."""
        return f"at-{self.plan.name}"

    def refused(self) -> frozenset[str]:
        return frozenset(path for path, deaths in self.over.items() if deaths >= DEATHS_OF_A_MEDIUM)


@dataclass(frozen=True)
class _Job:
    """What a worker is sent: a plan is a table of media, never pixels."""

    plan: ShardPlan
    mark: str
    careful: bool
    refused: frozenset[str]


def build_shards(
    client: Client,
    plans: Iterable[ShardPlan],
    config: BuildConfig,
    store: str,
    stop: str,
    finished: Callable[[ShardPlan, ShardInfo, Timings], None],
    log: Callable[[Line], None] = lambda _: None,
) -> list[ShardInfo]:
    """Build every plan on the cluster and return the shards in the order of the plans.

    A worker that dies loses only its running shard; a shard that fails does not stop the others. `log` receives what
    the workers logged, and what became of those that died.

    Raises:
        ShardsFailed: after all shards have ended, when at least one of them could not be built.
        SchedulerGone: when there is nobody left to build.
    """
    waiting: Iterator[ShardPlan] = iter(plans)
    order: list[str] = []
    running: dict[str, _Shard] = {}
    done: dict[str, ShardInfo] = {}
    errors: dict[str, BaseException] = {}
    workers, resources = place(client, config)

    def submit(shard: _Shard) -> Future:
        name = shard.plan.name
        running[name] = shard
        job = _Job(shard.plan, shard.mark, shard.careful, shard.refused())
        Variable(shard.mark, client=client).set(WAITING)
        key = f"shard-{name}-{shard.deaths}"
        return client.submit(_on_worker, job, config, store, stop, key=key, pure=False, resources=resources)

    def next_new() -> Future | None:
        plan = next(waiting, None)
        if plan is None:
            return None
        order.append(plan.name)
        return submit(_Shard(plan))

    try:
        first = [future for _ in range(workers * WINDOW_PER_WORKER) if (future := next_new())]
        collected = as_completed(first)
        for future in collected:
            refuse_if_interrupted()
            shard = running.pop(future.key.removeprefix("shard-").rpartition("-")[0])
            name = shard.plan.name
            error = future.exception()
            if isinstance(error, CancelledError):
                raise error
            if not isinstance(error, KilledWorker):
                Variable(shard.mark, client=client).delete()
            if error is None:
                done[name], timings, lines = future.result()
                for line in lines:
                    log(line)
                finished(shard.plan, done[name], timings)
            elif isinstance(error, KilledWorker) and shard.deaths < DEATHS_OF_A_SHARD:
                log(_blame(client, shard))
                collected.add(submit(shard))
                continue
            else:
                errors[name] = error
            future.release()
            if another := next_new():
                collected.add(another)
    except (OSError, CancelledError) as lost:  # OSError: a connection that is closed and cannot be opened again
        raise SchedulerGone from lost
    if errors:
        name, error = next(iter(errors.items()))
        raise ShardsFailed(
            f"{len(errors)} of {len(order)} shards could not be built; the finished ones are kept and the next run "
            f"continues. First: shard {name}: {type(error).__name__}: {error}"
        )
    return [done[name] for name in order]


def _blame(client: Client, shard: _Shard) -> Line:
    """Note over what the shard's worker died; what to tell."""
    at = str(Variable(shard.mark, client=client).get(timeout="10s"))
    shard.deaths += 1
    if at == WAITING:
        return Line(logging.INFO, f"shard {shard.plan.name}: its worker died before it began; it begins again")
    shard.careful = True
    if at == BEGAN:
        return Line(logging.WARNING, f"shard {shard.plan.name}: its worker died; again, one medium at a time")
    shard.over[at] += 1
    refused = "; it is refused" if at in shard.refused() else ""
    return Line(logging.WARNING, f"shard {shard.plan.name}: its worker died over {at}{refused}")


def place(client: Client, config: BuildConfig) -> tuple[int, dict[str, float]]:
    """How many workers will build, and the Dask resources that a shard asks for.

    On a cluster with workers of the resource `GPU` (`dask worker --resources GPU=1`) shards that PRNet aligns go to
    those, one at a time each; other aligners run on the CPU, so every worker will do.
    """
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    on_gpu = sum(worker["resources"].get("GPU", 0) >= 1 for worker in workers)
    if on_gpu and runs_on_gpu(config):
        return on_gpu, {"GPU": 1}
    return max(1, len(workers)), {}


def runs_on_gpu(config: BuildConfig) -> bool:
    """Whether a build would use a GPU where there is one."""
    return config.align.aligner == "prnet" and config.align.prnet_engine == "torch"


def _on_worker(job: _Job, config: BuildConfig, store: str, stop: str) -> tuple[ShardInfo, Timings, list[Line]]:
    """Runs in a Dask worker process; the stop flag is asked for once a batch."""
    mark = Variable(job.mark)
    mark.set(BEGAN)
    caution = Caution(mark.set, job.refused) if job.careful else None
    with captured(f"{job.plan.dataset} {job.plan.split}, shard {job.plan.name}") as lines:
        info, timings = build_shard(job.plan, config, store, Event(stop).is_set, caution)
    return info, timings, lines
