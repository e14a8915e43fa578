"""A Prefect server, a worker and the deployments on this machine, until it is told to stop."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from urllib.error import URLError
from urllib.request import urlopen

from flows.deployments import POOL, deployments_file
from tasks.errors import BuildError

HEALTHY_SECONDS = 120.0
STOP_SECONDS = 20.0


def serve(host: str, port: int, tell: Callable[[str], None]) -> None:
    """Start the three, wait for Ctrl-C, stop them.

    Raises:
        BuildError: if one of them does not start, or ends by itself; it says which.
    """
    api = f"http://{host}:{port}/api"
    environment = os.environ | {
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_UI_API_URL": api,  # else the UI asks port 4200 whatever the port is
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_LOGGING_LEVEL": "INFO",
    }
    running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(name: str, *words: str) -> None:
        # sessions of their own: Ctrl-C reaches this process, which stops them in order
        command = [sys.executable, "-m", "prefect", *words]
        running.append((name, subprocess.Popen(command, env=environment, start_new_session=True)))

    def check() -> None:
        for name, process in running:
            if process.poll() is not None:
                raise BuildError(f"the {name} ended with code {process.returncode}; see its words above")

    try:
        start("server", "server", "start", "--host", host, "--port", str(port))
        _wait_until_healthy(f"{api}/health", check)
        for words in (
            ("work-pool", "create", POOL, "--type", "process", "--overwrite"),
            ("--no-prompt", "deploy", "--all", "--prefect-file", str(deployments_file())),
        ):
            if subprocess.run([sys.executable, "-m", "prefect", *words], env=environment, check=False).returncode:
                raise BuildError(f"`prefect {' '.join(words)}` failed; see its words above")
        start("worker", "worker", "start", "--pool", POOL)
        tell(f"Prefect at http://{host}:{port}. In another terminal: export PREFECT_API_URL={api}")
        tell("pseudodepth run build-depth -p ...    Ctrl-C here stops the worker and the server")
        while True:
            time.sleep(1)
            check()
    finally:
        for _, process in reversed(running):
            _stop(process)


def _wait_until_healthy(url: str, check: Callable[[], None]) -> None:
    deadline = time.monotonic() + HEALTHY_SECONDS
    while time.monotonic() < deadline:
        check()
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    raise BuildError(f"{url}: no answer after {HEALTHY_SECONDS:.0f} s; is another server on that port?")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """A Prefect worker may wait for its runs at the first signal; the second one ends it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
