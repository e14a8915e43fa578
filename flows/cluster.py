"""The Dask cluster that a flow works on: one that exists, or local worker processes for the length of the flow."""

from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client, LocalCluster
from pydantic import BaseModel, ConfigDict, Field

from flows.settings import settings


class DaskConfig(BaseModel):
    """Where shards are built."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str | None = Field(None, description="an existing scheduler, tcp://host:port; empty: local processes")
    workers: int | None = Field(None, ge=1, description="local worker processes; empty: one a core")


@contextmanager
def dask_client(config: DaskConfig) -> Iterator[Client]:
    """Yield a client of the configured cluster; a local cluster ends with the block.

    Local workers are processes of one thread: decoding, detection and alignment are each single-threaded, and Dask's
    nanny already limits OpenMP and BLAS to one thread a worker.
    """
    address = config.address or settings().dask
    if address:
        with Client(address, timeout="30s") as client:
            yield client
        return
    with (
        LocalCluster(
            n_workers=config.workers or settings().workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=40,  # logging.ERROR: a worker that is closed at the end is no news
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
