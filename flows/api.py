"""A Prefect API for flows that are called in this process: the configured server, or a temporary one of our own."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from flows.interrupt import unaware_of_interrupts
from tasks.errors import BuildError

DRAIN_SECONDS = 10.0
_temporary: ContextVar[bool] = ContextVar("temporary", default=False)


def on_temporary_server() -> bool:
    """Whether flows called here report to a server of `prefect_api`'s own, which ends with it."""
    return _temporary.get()


@contextmanager
def prefect_api(*, configured: bool = True) -> Iterator[str]:
    """Yield the URL of the API that flows called inside will report to.

    With `PREFECT_API_URL` set nothing is started, unless `configured` is False: it does not answer. Otherwise one
    temporary server serves every flow called inside, and it is stopped only after it has written the records of their
    tasks: stopped at once it loses most of them.
    """
    from prefect.server.api.server import SubprocessASGIServer  # not public API: the version is pinned, a test calls it
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    url = PREFECT_API_URL.value()
    if configured and url:
        yield str(url)
        return
    home = Path(PREFECT_HOME.value())
    try:
        # Prefect makes this folder without its parents, and then waits 20 s for a server that could not start
        home.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=home).close()
    except OSError as error:
        raise BuildError(
            f"{home}: cannot be written ({error}); set PREFECT_HOME to a folder for Prefect's database"
        ) from error
    server = SubprocessASGIServer()
    with unaware_of_interrupts():
        server.start(timeout=120)
    mark = _temporary.set(True)
    try:
        with temporary_settings({PREFECT_API_URL: server.api_url}):
            yield server.api_url
            _drain()
    finally:
        _temporary.reset(mark)
        server.stop()


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
