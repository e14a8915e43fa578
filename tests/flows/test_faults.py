"""Workers, the scheduler and media that kill: each build ends with the content of one that nobody disturbed."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
from distributed import Client
from PIL import Image
from prefect.client.orchestration import get_client

from flows.build_depth import build_depth
from flows.build_summary import BuildSummary
from flows.cluster import DaskConfig
from flows.fanout import SchedulerGone
from flows.source import Source
from storage.snapshot import open_snapshot
from storage.verify import verify
from tasks.config import BuildConfig
from tests.fixtures.photos import ASTRONAUT, GRACE_HOPPER, photo
from tests.fixtures.trees import save

CONFIG = BuildConfig.model_validate({"view": {"views": 2}, "shard_samples": 24})


def run(
    root: Path, store: Path, dask: DaskConfig, source: str = "celeba-spoof", config: BuildConfig = CONFIG
) -> BuildSummary:
    return build_depth([Source(name=source, root=str(root))], str(store), config, dask)


def shard_sums(store: Path) -> dict[str, str]:
    return {shard.name: shard.sha256 for shard in open_snapshot(str(store)).shards}


@pytest.fixture(scope="module")
def undisturbed(simulated: Path, tmp_path_factory: pytest.TempPathFactory, prefect_server: None) -> dict[str, str]:
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    run(simulated, store, DaskConfig(workers=2))
    return shard_sums(store)


def dask_workers() -> list[psutil.Process]:
    """The worker processes of this process's local cluster."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "multiprocessing-fork" in " ".join(child.cmdline())]


@pytest.mark.slow
def test_workers_killed_again_and_again_cost_time_and_nothing_else(
    simulated: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    store, over, killed = tmp_path / "store", threading.Event(), []
    dice = random.Random(5)

    def kill_now_and_then() -> None:
        while not list(store.glob("shards/*.json")) and not over.wait(0.05):
            pass
        while len(killed) < 4 and not over.wait(dice.uniform(0.5, 2.5)):
            if workers := dask_workers():
                victim = dice.choice(workers)
                victim.send_signal(signal.SIGKILL)
                killed.append(victim.pid)

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    try:
        summary = run(simulated, store, DaskConfig(workers=2))
    finally:
        over.set()
        killer.join()
    assert killed, "the build was over before a worker could be killed"
    assert "worker-died" not in summary.rejects
    assert shard_sums(store) == undisturbed
    assert (verify(str(store)).problems, verify(str(store)).orphans) == ([], [])


@pytest.mark.slow
def test_a_medium_that_takes_all_memory_is_refused_and_its_shard_goes_on(tmp_path: Path, prefect_server: None) -> None:
    root, store = tmp_path / "root", tmp_path / "store"
    save(root / "train/live/eileen/1.png", photo(ASTRONAUT))
    save(root / "train/live/grace/2.png", photo(GRACE_HOPPER))
    save(root / "train/spoof/print/eileen/3.png", photo(ASTRONAUT)[:, 40:])
    poison = root / "train/live/grace/poison.png"
    Image.new("RGB", (13_300, 13_300)).save(poison, compress_level=1)  # 2 MB; 530 MB when decoded, and again as copies
    config = BuildConfig.model_validate({"read": {"max_pixels": 200_000_000}})
    summary = run(root, store, DaskConfig(workers=1, memory="900MB"), "folder", config)
    assert summary.samples == 3
    assert summary.rejects == {"worker-died": 1}
    (reject,) = open_snapshot(str(store)).rejects().to_pylist()
    assert reject["path"] == "train/live/grace/poison.png"


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and workers as a user starts them, each in a working folder of its own; the scheduler is first."""
    processes = []

    def start(name: str, *words: str) -> None:
        (folder / name).mkdir(parents=True)
        command = [sys.executable, "-m", f"distributed.cli.dask_{words[0]}", *words[1:]]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        output = subprocess.DEVNULL
        processes.append(subprocess.Popen(command, cwd=folder / name, env=environment, stdout=output, stderr=output))

    file = folder / "scheduler.json"
    options = ("--no-dashboard", "--scheduler-file", str(file))
    try:
        start("scheduler", "scheduler", "--port", "0", "--host", "127.0.0.1", *options)
        for number in range(workers):
            start(f"worker-{number}", "worker", "--nthreads", "1", *options)
        with Client(scheduler_file=str(file), timeout="60s") as client:
            client.wait_for_workers(workers, timeout=120)
            address = client.scheduler.address
        yield address, processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_build_on_a_cluster_whose_scheduler_dies_says_so_and_the_next_run_continues(
    simulated: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    with cluster(tmp_path / "first", 3) as (address, processes):

        def kill_scheduler() -> None:
            while not list(store.glob("shards/*.json")):
                time.sleep(0.05)
            processes[0].kill()

        killer = threading.Thread(target=kill_scheduler)
        killer.start()
        with pytest.raises(SchedulerGone):
            run(simulated, store, DaskConfig(address=address))
        killer.join()
    assert not list(store.glob("snapshots/*"))
    finished = {path.stem for path in store.glob("shards/*.json")}
    with cluster(tmp_path / "second", 3) as (address, _):
        run(simulated, store, DaskConfig(address=address))
    assert finished
    assert shard_sums(store) == undisturbed
    assert (verify(str(store)).problems, verify(str(store)).orphans) == ([], [])


@pytest.mark.slow
def test_a_server_that_stops_and_starts_again_costs_a_build_nothing(
    simulated: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"PREFECT_HOME": str(tmp_path / "prefect")}
    (tmp_path / "prefect").mkdir()
    servers: list[subprocess.Popen[bytes]] = []

    def start_server() -> None:
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        output = subprocess.DEVNULL
        servers.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True))

    def answers() -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5):
                return True
        except OSError:
            return False

    store = tmp_path / "store"

    def stop_and_start() -> None:
        while not list(store.glob("shards/*.json")):
            time.sleep(0.05)
        os.killpg(servers[0].pid, signal.SIGKILL)
        time.sleep(5)
        start_server()

    start_server()
    try:
        while not answers():
            assert servers[0].poll() is None
            time.sleep(0.5)
        disturber = threading.Thread(target=stop_and_start)
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}):
            disturber.start()
            summary = run(simulated, store, DaskConfig(workers=2))
            disturber.join()
            assert len(servers) == 2
            assert summary.committed
            with get_client(sync_client=True) as client:
                states = {flow_run.state.name for flow_run in client.read_flow_runs()}
        assert states == {"Completed"}
        assert shard_sums(store) == undisturbed
    finally:
        for server in servers:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
