"""One build of a store at a time, over all machines that share a Prefect server: two would do the same work twice.

They would do no harm: the second to commit is put on top of the first. So without a server of their own (a temporary
one knows of nobody else) builds do not wait for each other.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from flows.api import on_temporary_server

LEASE_SECONDS = 60.0  # a run that was killed holds its place this long at most


@contextmanager
def one_build(store: str) -> Iterator[None]:
    """Hold the store's global concurrency limit on the configured server; waits while another run holds it."""
    if on_temporary_server():
        yield
        return
    from prefect.client.orchestration import get_client
    from prefect.concurrency.sync import concurrency

    name = f"pseudodepth-build-{hashlib.sha256(store.encode()).hexdigest()[:12]}"
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(name, 1)
    # a server that restarts must not end the build that holds the place
    with concurrency(name, lease_duration=LEASE_SECONDS, strict=True, raise_on_lease_renewal_failure=False):
        yield
