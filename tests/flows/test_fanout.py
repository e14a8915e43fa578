"""Where shards go on a Dask cluster: to workers with a GPU if PRNet aligns, to any worker otherwise."""

import pytest
from distributed import Client, LocalCluster, Worker

from flows.fanout import place
from tasks.config import BuildConfig


@pytest.fixture(scope="module")
def mixed() -> Client:
    """A scheduler with one worker that offers a GPU and two that do not."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):

        async def join(address: str) -> Worker:
            return await Worker(address, nthreads=1, resources={"GPU": 1}, name="with-gpu", dashboard_address=":0")

        worker = client.sync(join, cluster.scheduler_address)
        client.wait_for_workers(3)
        yield client
        client.sync(worker.close)


def config(**align: str) -> BuildConfig:
    return BuildConfig.model_validate({"align": align})


@pytest.mark.parametrize(
    ("align", "workers", "resources"),
    [
        ({"aligner": "prnet"}, 1, {"GPU": 1}),
        ({"aligner": "prnet", "prnet_engine": "openvino"}, 3, {}),
        ({"aligner": "facemesh"}, 3, {}),
    ],
)
def test_shards_of_prnet_ask_for_a_gpu_where_the_cluster_has_one(
    mixed: Client, align: dict[str, str], workers: int, resources: dict[str, float]
) -> None:
    assert place(mixed, config(**align)) == (workers, resources)


def test_dask_sends_what_asks_for_a_gpu_to_the_worker_that_has_one(mixed: Client) -> None:
    _, resources = place(mixed, config(aligner="prnet"))
    futures = [mixed.submit(worker_name, n, resources=resources, pure=False) for n in range(4)]
    assert set(mixed.gather(futures)) == {"with-gpu"}


def worker_name(_: int) -> str:
    from distributed import get_worker

    return str(get_worker().name)
