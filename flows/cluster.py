"""The Dask cluster that a flow works on: one that exists, or local worker processes for the length of the flow."""

import importlib.util
import logging
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import dask
from distributed import Client, LocalCluster, performance_report
from pydantic import BaseModel, ConfigDict, Field

from flows.interrupt import unaware_of_interrupts
from flows.settings import settings
from tasks.errors import BuildError


class DaskConfig(BaseModel):
    """Where shards are built."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str | None = Field(None, description="an existing scheduler, tcp://host:port; empty: local processes")
    workers: int | None = Field(None, ge=1, description="local worker processes; empty: one a core")
    memory: str | None = Field(None, description="of one local worker, such as 4GB; one that takes more is ended")
    performance_report: Path | None = Field(None, description="write Dask's own report there, an .html (extra `dask`)")


# What Dask does beside the work up to fifty times a second, and takes the interpreter from it; shards take seconds.
QUIET = {
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.memory.monitor-interval": "250ms",
}


@contextmanager
def dask_client(config: DaskConfig, *, on_gpu: bool = False) -> Iterator[Client]:
    """Yield a client of the configured cluster; a local cluster ends with the block.

    Local workers are processes of one thread: decoding, detection and alignment are each single-threaded, and Dask's
    nanny already limits OpenMP and BLAS to one thread a worker. For work `on_gpu` there is one a GPU where dask-cuda is
    installed; without it all workers share the first GPU.
    """
    address = config.address or settings().dask
    if address:
        try:
            client = Client(address, timeout="10s")
        except OSError as error:
            raise BuildError(
                f"{address}: no Dask scheduler answers there; start one or leave the address out"
            ) from error
        with client, _report(config):
            yield client
        return
    # the first death of a worker is told to flows/fanout.py, which knows better than to try the same thing thrice
    # Dask's own MALLOC_TRIM_THRESHOLD_ makes every picture a fresh mapping: pages fault anew for each allocation
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1)
    dask.config.set({"distributed.scheduler.allowed-failures": 0, "distributed.nanny.pre-spawn-environ": one_thread})
    dask.config.set({**QUIET, "distributed.worker.profile.enabled": config.performance_report is not None})
    with unaware_of_interrupts():
        cluster = _local_cluster(config, on_gpu=on_gpu)
    with cluster, Client(cluster) as client, _report(config):
        yield client


def _local_cluster(config: DaskConfig, *, on_gpu: bool) -> LocalCluster:
    options = {
        "threads_per_worker": 1,
        "memory_limit": config.memory or "auto",
        "dashboard_address": ":0",  # any free port: two builds on one machine must not argue about 8787
        "scheduler_kwargs": {"dashboard": False},  # nobody knows that port, and bokeh takes a second to import
        "silence_logs": logging.CRITICAL,  # what a shard raises is raised here; a worker that is closed is no news
    }
    if on_gpu and importlib.util.find_spec("dask_cuda") is not None and shutil.which("nvidia-smi"):
        from dask_cuda import LocalCUDACluster

        return LocalCUDACluster(n_workers=config.workers, resources={"GPU": 1}, **options)
    return LocalCluster(n_workers=config.workers or settings().workers, processes=True, **options)


def _report(config: DaskConfig) -> AbstractContextManager[object]:
    if config.performance_report is None:
        return nullcontext()
    if importlib.util.find_spec("bokeh") is None:
        raise BuildError("performance_report: `pip install 'pseudodepth[dask]'`, or leave the option out")
    config.performance_report.parent.mkdir(parents=True, exist_ok=True)
    return performance_report(filename=str(config.performance_report))
