"""The temporary Prefect server: flows find it, and it leaves with whoever started it."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

# without the server of the other tests, which is one in their settings, not in the environment
START = """
import sys
from flows.settings import prepare_environment
prepare_environment()
from flows.api import prefect_api
"""
RECORDED = """
with prefect_api() as url:
    from prefect import flow, task
    from prefect.client.orchestration import get_client
    square = task(lambda number: number**2)
    total = flow(lambda: sum(square.map(range(3)).result()), name="total")
    print(total(), flush=True)
with prefect_api(), get_client(sync_client=True) as client:
    runs = client.read_flow_runs() + client.read_task_runs()
    print(sorted(run.state_name for run in runs))
"""


def started(code: str, home: Path) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return subprocess.Popen(
        [sys.executable, "-P", "-c", START + code],
        env=environment | {"PREFECT_HOME": str(home)},
        cwd=home.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_a_flow_may_run_at_once_and_the_records_of_its_tasks_are_kept(tmp_path: Path) -> None:
    # the database is made while the flow waits; a folder `flows` of the user's is none of the server's business
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/__init__.py").write_text("raise ImportError('not ours')")
    with started(RECORDED, tmp_path / "home") as process:
        lines = process.communicate(timeout=300)[0].splitlines()
    assert lines == ["5", str(["Completed"] * 4)]


def test_a_server_does_not_outlive_a_process_that_was_killed(tmp_path: Path) -> None:
    with started(
        "with prefect_api() as url:\n    print(url, flush=True)\n    sys.stdin.read()", tmp_path / "home"
    ) as process:
        address = urlsplit(process.stdout.readline())
        children = psutil.Process(process.pid).children(recursive=True)
        assert any("temporary_server" in " ".join(child.cmdline()) for child in children)
        process.kill()
    assert not psutil.wait_procs(children, timeout=60)[1]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname, address.port))
