"""`pseudodepth serve` as a user runs it: new files in a source become, without a hand, a snapshot and its model."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import yaml

from flows.build_summary import STORE_UPDATED
from flows.deployments import call_here, entrypoints, parse_parameters, start_deployment
from storage.snapshot import Store
from storage.verify import verify
from tasks.errors import BuildError
from tests.fixtures.balls import FAST, FAST_PDGAN
from tests.fixtures.photos import PHOTOS, photo
from tests.fixtures.trees import save

ROOT = Path(__file__).parents[2]
MINUTES = 60.0


def wait_for(what: str, done: Callable[[], Any], seconds: float = 6 * MINUTES) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := done():
            return found
        time.sleep(1)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


def add_pictures(root: Path, name: str) -> None:
    """Two subjects a split; each a live picture and a print of it."""
    for split in ("train", "dev", "test"):
        for number, path in enumerate(PHOTOS):
            image = np.roll(photo(path), 4 * len(name), axis=1)
            person = f"{split}-{number}"
            save(root / split / "live" / person / f"{name}.jpg", image)
            save(root / split / "spoof" / "print" / person / f"{name}.jpg", (image * 0.8).astype(np.uint8))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Working folder and API of `pseudodepth serve`; the refresh is scheduled every 20 s, trainings are short."""
    folder = tmp_path_factory.mktemp("served")
    add_pictures(folder / "data", "first")
    content = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    deployments = {deployment["name"]: deployment for deployment in content["deployments"]}
    deployments["refresh-datasets"]["schedules"] = [{"interval": 20, "slug": "often", "active": True}]
    deployments["refresh-datasets"]["parameters"] = {"registry": str(folder / "datasets.yaml"), "dask": {"workers": 1}}
    short = {"batch": 4, "device": "cpu"}
    deployments["train-liveness"]["parameters"] = {
        "pretraining": {**FAST, **short, "pdgan": FAST_PDGAN.model_dump(mode="json")},
        "finetuning": {**FAST, **short, "epochs": 1},
    }
    (folder / "prefect.yaml").write_text(yaml.safe_dump(content))
    source = {"name": "folder", "root": str(folder / "data")}
    config = {"view": {"size": FAST["input_size"]}}
    registry = {"stores": [{"store": str(folder / "store"), "sources": [source], "config": config}]}
    (folder / "datasets.yaml").write_text(yaml.safe_dump(registry))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"PREFECT_HOME": str(folder / "prefect"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from flows.cli import main; main()", "serve", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(
                "serve", lambda: process.poll() is not None or b"In another terminal" in (folder / "log").read_bytes()
            )
            assert process.poll() is None, (folder / "log").read_text()[-4000:]
            yield folder, f"http://127.0.0.1:{port}/api"
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130


@pytest.fixture
def api(served: tuple[Path, str]) -> Iterator[str]:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: served[1]}):
        yield served[1]


def runs_of(flow: str) -> list[str]:
    """Names of the final states of a flow's runs on the configured server."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName

    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])))
    return sorted(run.state.name for run in runs if run.state and run.state.is_final())


@pytest.mark.slow
def test_new_files_become_a_snapshot_and_one_model_without_a_hand(served: tuple[Path, str], api: str) -> None:

    folder, _ = served
    models = folder / "store.models"

    def trained(number: int) -> Callable[[], dict[str, Any] | None]:
        path = models / str(number) / "trained.json"
        return lambda: json.loads(path.read_text()) if path.is_file() else None

    first = wait_for("a model of the first snapshot", trained(1))
    assert (first["store"], first["samples"]) == (f"{folder / 'store'}@1", 12)
    add_pictures(folder / "data", "second")
    second = wait_for("a model of the second snapshot", trained(2))
    assert (second["store"], second["samples"]) == (f"{folder / 'store'}@2", 24)
    assert (models / "2" / "report.html").is_file()

    from prefect.events import Event

    # the same event once more, as after a restart; and some refreshes that find nothing
    payload = {"store": str(folder / "store"), "snapshot": 2, "samples": 24}
    event = Event(event=STORE_UPDATED, resource={"prefect.resource.id": "pseudodepth.store.store"}, payload=payload)
    httpx.post(f"{api}/events", json=[event.model_dump(mode="json")]).raise_for_status()
    wait_for("the third run", lambda: len(runs_of("train-liveness")) >= 3, 3 * MINUTES)
    assert runs_of("train-liveness") == ["Completed", "Completed", "Skipped"]
    assert Store(folder / "store").current().number == 2
    assert {path.name for path in models.iterdir()} == {"1", "2"}


@pytest.mark.slow
def test_a_deployment_is_started_by_its_name_alone(served: tuple[Path, str], api: str) -> None:
    folder, _ = served
    source = {"name": "folder", "root": str(folder / "data")}
    parameters = {"sources": [source], "store": str(folder / "other"), "dask": {"workers": 1}}
    started = start_deployment("build-depth", parameters, wait=True)
    assert started is not None
    assert (started.deployment, started.state) == ("build-depth/build-depth", "Completed")
    assert Store(folder / "other").current().counts["rows"] in (12, 24)
    with pytest.raises(BuildError, match="no such deployment"):
        start_deployment("build-death", {}, wait=False)
    with pytest.raises(BuildError, match=r"refused.*sources"):
        start_deployment("build-depth", {"sources": "x", "store": str(folder / "s")}, wait=False)


@pytest.mark.slow
def test_a_cancelled_run_stops_its_workers_and_the_next_one_continues(
    served: tuple[Path, str], api: str, simulated: Path
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelling

    folder, _ = served
    store = folder / "cancelled"
    parameters = {
        "sources": [{"name": "celeba-spoof", "root": str(simulated)}],
        "store": str(store),
        "config": {"shard_samples": 10},
        "dask": {"workers": 2},
    }
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("build-depth/build-depth")
        run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
        wait_for("a first shard", lambda: list(store.glob("shards/*.json")))
        assert dask_workers()
        client.set_flow_run_state(run.id, Cancelling())
        wait_for("the end of its workers", lambda: not dask_workers(), MINUTES)
        wait_for("its state", lambda: client.read_flow_run(run.id).state.is_cancelled(), MINUTES)
    finished = {path.stem for path in store.glob("shards/*.json")}
    assert not list(store.glob("snapshots/*"))
    again = start_deployment("build-depth", parameters, wait=True)
    assert again is not None
    assert again.state == "Completed"
    snapshot = Store(store).current()
    assert snapshot.counts["rows"] + snapshot.counts["rejects"] == 120
    assert finished <= {shard.name for shard in snapshot.shards}
    found = verify(str(store))
    assert (found.problems, found.orphans) == ([], [])


def dask_workers() -> list[psutil.Process]:
    """Worker processes below this one, whoever started them."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "multiprocessing-fork" in " ".join(child.cmdline()):
                found.append(child)
    return found


def test_without_an_api_the_flow_is_called_here_with_checked_parameters(tmp_path: Path, prefect_server: None) -> None:
    with pytest.raises(BuildError, match=r"build-depth: .*store: Field required"):
        call_here("build-depth", {"sources": []})
    with pytest.raises(BuildError, match="there are build-depth, evaluate"):
        call_here("build-death", {})


def test_parameters_are_json_or_text() -> None:
    assert parse_parameters(["a=3", 'b={"c": [1]}', "d=/data/x", "e="]) == {
        "a": 3,
        "b": {"c": [1]},
        "d": "/data/x",
        "e": "",
    }
    with pytest.raises(BuildError, match="'a': expected NAME=VALUE"):
        parse_parameters(["a"])


def test_every_deployment_names_a_flow_that_is_there() -> None:
    import importlib

    for name, entrypoint in entrypoints().items():
        module, _, attribute = entrypoint.partition(":")
        assert getattr(importlib.import_module(module), attribute).name == name
