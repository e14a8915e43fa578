"""A Prefect API for flows that are called in this process: the configured server, or a temporary one of our own."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from flows.interrupt import unaware_of_interrupts
from tasks.errors import BuildError

DRAIN_SECONDS = 10.0
START_SECONDS = 300.0  # the first one makes the database, a minute on a busy machine
_temporary: ContextVar[bool] = ContextVar("temporary", default=False)


def on_temporary_server() -> bool:
    """Whether flows called here report to a server of `prefect_api`'s own, which ends with it."""
    return _temporary.get()


@contextmanager
def prefect_api(*, configured: bool = True) -> Iterator[str]:
    """Yield the URL of the API that flows called inside will report to.

    With `PREFECT_API_URL` set nothing is started, unless `configured` is False: it does not answer. Otherwise one
    temporary server serves every flow called inside, and it is stopped only after it has written the records of their
    tasks: stopped at once it loses most of them. It takes as long to start as flows take to import, so import them
    inside: what asks it meanwhile waits.

    Raises:
        BuildError: where Prefect has no folder to write, and when the server has ended by itself.
    """
    from prefect.settings import (
        PREFECT_API_REQUEST_TIMEOUT,
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_HOME,
        temporary_settings,
    )

    known = PREFECT_API_URL.value()
    if configured and known:
        yield str(known)
        return
    while_temporary = {
        PREFECT_API_REQUEST_TIMEOUT: START_SECONDS,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,  # nobody listens, and each flow would wait a second for it at its end
    }
    home = Path(PREFECT_HOME.value())
    try:
        # Prefect makes this folder without its parents, and says so in a page of traceback
        home.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=home).close()
    except OSError as error:
        raise BuildError(
            f"{home}: cannot be written ({error}); set PREFECT_HOME to a folder for Prefect's database"
        ) from error
    mark = _temporary.set(True)
    try:
        with _temporary_server() as url, temporary_settings({PREFECT_API_URL: url, **while_temporary}):
            yield url
            _drain()
    finally:
        _temporary.reset(mark)


@contextmanager
def _temporary_server() -> Iterator[str]:
    """A server process until the block ends; it ends too when this process is killed.

    Prefect has a class for that, which imports the whole server here as well: 1.7 s of CPU.
    """
    from prefect.settings import get_current_settings

    ours = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    ours |= get_current_settings().to_environment_variables(exclude_unset=True)
    with socket.create_server(("127.0.0.1", 0)) as listening, unaware_of_interrupts():
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
        server = subprocess.Popen(
            # not `-m flows...`: the working folder may have a package `flows` of its own
            [sys.executable, "-P", str(Path(__file__).with_name("temporary_server.py")), str(listening.fileno())],
            stdin=subprocess.PIPE,  # it ends with us
            pass_fds=[listening.fileno()],
            env=os.environ | ours,
        )
    try:
        yield url
    except Exception as error:
        if server.poll() is not None:
            raise BuildError(
                f"Prefect's temporary server ended by itself, with status {server.returncode}; with "
                "PREFECT_SERVER_LOGGING_LEVEL=ERROR it says why"
            ) from error
        raise
    finally:
        server.terminate()
        try:
            server.wait(timeout=5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _drain() -> None:
    """Wait until the server shows no unfinished task run, at most `DRAIN_SECONDS`."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterState, TaskRunFilterStateType
    from prefect.client.schemas.objects import StateType

    unfinished = TaskRunFilter(
        state=TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING]))
    )
    started = time.monotonic()
    with get_client(sync_client=True) as client:
        while time.monotonic() - started < DRAIN_SECONDS:
            if not client.read_task_runs(task_run_filter=unfinished, limit=1):
                return
            time.sleep(0.2)
