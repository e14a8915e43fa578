"""A loopback S3 server for the tests of remote stores and datasets; one a run, for it takes two seconds to start."""

import pytest


@pytest.fixture(scope="session")
def _server():
    from tests.fixtures.object_store import s3_server  # a second to import, which most tests need not wait for

    with s3_server() as server:
        yield server


@pytest.fixture
def s3(_server, tmp_path, monkeypatch):
    """The server, without the faults of an earlier test; the cache is this test's own."""
    monkeypatch.setenv("PSEUDODEPTH_CACHE", str(tmp_path / "cache"))
    _server.faults.clear()
    _server.requests.clear()
    _server.delay = 0.0
    yield _server
    _server.before = lambda method, path: None
